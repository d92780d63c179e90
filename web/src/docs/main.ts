import 'swagger-ui-dist/swagger-ui.css';
import './docs.css';
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js';

/** The viewer has a dark theme, by this class, but does not follow the system. */
const dark = matchMedia('(prefers-color-scheme: dark)');
const followSystem = (): void => {
  document.documentElement.classList.toggle('dark-mode', dark.matches);
};
dark.addEventListener('change', followSystem);
followSystem();

SwaggerUI({
  url: './openapi.json',
  domNode: document.querySelector('#docs'),
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  // Otherwise the document would be sent to a server of the viewer's makers.
  validatorUrl: null,
});
