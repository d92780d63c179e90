import express from 'express';
import { makeRoom, tokenFor } from './chat.mjs';
import { login, requireUser } from './login.mjs';

const room = await makeRoom();
const app = express();
app.use(express.static('public'), express.urlencoded());

app.post('/login', login);
app.get('/chat', requireUser, ({ user }, response) => {
  response.json({ room: room.id, token: tokenFor(user) });
});

app.listen(3000, () => console.log('http://localhost:3000'));
