import jwt from 'jsonwebtoken';

const CHAT = 'http://localhost:7777';
/** The secret that both servers share. */
const { JWT_MASTER_SECRET = '' } = process.env;
/** UUIDs that the application has chosen: of the team that all users belong to, of itself, of a room. */
const TEAM = 'c3f1b7a2-6d5e-4f80-9a1b-2c3d4e5f6071';
const APPLICATION = '1f2e3d4c-5b6a-4798-8a9b-0c1d2e3f4a5b';
const ROOM = '6a7b8c9d-0e1f-4a2b-8c3d-4e5f60718293';

/** A token for a user; who has it is that user. */
export function tokenFor({ userUUID, name }, levelOnEntity = 0) {
  const claims = { userUUID, name, entityUUID: TEAM, levelOnEntity };
  return jwt.sign(claims, JWT_MASTER_SECRET, { expiresIn: '15 min' });
}

/** Makes the room, unless it is there. All of the team may read and write in it. */
export async function makeRoom() {
  const token = tokenFor({ userUUID: APPLICATION }, 100);
  const answer = await fetch(`${CHAT}/rooms/${ROOM}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      name: 'Team',
      type: 'group',
      rules: [{ entityUUID: TEAM, permissions: 'rw', level: 0 }],
    }),
  });
  const { meta, content } = await answer.json();
  if (!answer.ok) throw new Error(`no room: ${meta.reason} ${meta.detail ?? ''}`);
  return content.room;
}
