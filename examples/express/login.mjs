import { randomBytes, randomUUID, scryptSync, timingSafeEqual } from 'node:crypto';

// Your application has a login already. This one is small: its users and sessions are in memory.
const salt = randomBytes(16);
const hash = (password) => scryptSync(password, salt, 32);

const users = [
  { userUUID: '5b0c2a1e-7f3d-4a69-9c84-0d1e2f3a4b5c', name: 'Ana', password: hash('ana-password') },
  {
    userUUID: '8e4d6f70-1a2b-4c3d-8e9f-a0b1c2d3e4f5',
    name: 'Bruno',
    password: hash('bruno-password'),
  },
];
const sessions = new Map();

/** Answers `POST /login` with a session's cookie. */
export function login(request, response) {
  const { name, password } = request.body ?? {};
  const user = users.find((user) => user.name === name);
  if (user === undefined || !timingSafeEqual(hash(String(password)), user.password)) {
    response.sendStatus(401);
    return;
  }
  const session = randomUUID();
  sessions.set(session, user);
  response.cookie('session', session, { httpOnly: true, sameSite: 'lax' }).sendStatus(204);
}

/** Puts the user of the session into `request.user`, or answers 401. */
export function requireUser(request, response, next) {
  const [, session] = /(?:^|; )session=([^;]+)/.exec(request.headers.cookie ?? '') ?? [];
  request.user = sessions.get(session);
  if (request.user === undefined) response.sendStatus(401);
  else next();
}
