FROM node:24-slim AS build
WORKDIR /app
# Before the sources, so that a change of them does not install again. The script `prepare` would build
# from sources that are not here yet.
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
# If the checkout was made under umask 077, the user `node` could not read its files.
RUN npm run build && rm -f dist/.tsbuildinfo && chmod -R a+rX package.json migrations deploy \
  && chmod +x dist/src/cli/main.js

FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# Types and source maps are for developers: some 20 MB.
RUN npm ci --omit=dev --ignore-scripts \
  && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.[cm]ts' \) -delete

FROM node:24-slim
# The server refuses to start without a secret and a database.
ENV NODE_ENV=production
WORKDIR /app
# A new volume that is mounted here gets the owner of the folder. Everything else belongs to root, so the process
# can't change it.
RUN mkdir -m 700 data && chown node:node data && ln -s /app/dist/src/cli/main.js /usr/local/bin/nano-messaging
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/package.json ./
COPY --from=build /app/migrations migrations
COPY --from=build /app/deploy/healthcheck.sh deploy/
COPY --from=build /app/dist dist
USER node
EXPOSE 7777
# Not /readyz: Swarm replaces unhealthy containers, which does not help if the database is down.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["bash", "deploy/healthcheck.sh"]
# Not `npm start`: as process 1 node gets SIGTERM itself.
CMD ["node", "dist/src/main.js"]
