import { render } from 'preact';
import { App } from './app.js';
import { language } from './i18n/text.js';
import './styles/tokens.css';
import './styles/base.css';
import './styles/controls.css';
import './styles/avatar.css';
import './styles/overlays.css';
import './styles/sign-in.css';
import './styles/layout.css';
import './styles/rooms.css';
import './styles/timeline.css';
import './styles/message.css';
import './styles/composer.css';
import './styles/details.css';

document.documentElement.lang = language;
const root = document.querySelector('#app');
if (root !== null) render(<App />, root);
