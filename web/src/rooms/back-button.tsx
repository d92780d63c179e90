import { t } from '../i18n/text.js';
import { navigate } from '../route.js';
import { IconButton } from '../ui/icon.js';

/** On a phone, the way from a room to the list. */
export function BackButton() {
  return (
    <IconButton
      class="back"
      icon="back"
      label={t('rooms.back')}
      onClick={() => {
        navigate({});
      }}
    />
  );
}
