FROM node:24-slim AS build
WORKDIR /app
# Before the sources, so that a change of them does not install again. The script `prepare` would build
# from sources that are not here yet.
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
# If the checkout was made under umask 077, the user `node` could not read its files.
RUN npm run build && rm -f dist/.tsbuildinfo && chmod -R a+rX .sequelizerc package.json migrations

FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:24-slim
# `docker run` alone refuses to start without a secret and a database; compose takes NODE_ENV from .env.
ENV NODE_ENV=production
# Otherwise `npm run createJWT` asks the registry for a newer npm.
ENV npm_config_update_notifier=false
WORKDIR /app
# A new volume that is mounted here gets the owner of the folder. Everything else belongs to root, so the process
# can't change it.
RUN mkdir -m 700 data && chown node:node data
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/.sequelizerc /app/package.json ./
COPY --from=build /app/migrations migrations
COPY --from=build /app/dist dist
USER node
EXPOSE 7777
# Not /readyz: Swarm replaces unhealthy containers, which does not help if the database is down. By node, as the slim
# image has no curl.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "require('node:http').get({ host: (process.env.HOST || 'localhost').replace(/^\\[|\\]$/g, ''), port: process.env.PORT || 7777, path: '/healthz' }, (res) => process.exit(res.statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
# Not `npm start`: as process 1 node gets SIGTERM itself.
CMD ["node", "dist/src/main.js"]
