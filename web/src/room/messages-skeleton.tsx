import { t } from '../i18n/text.js';

const WIDTHS = [64, 38, 52, 70, 44, 58];

/** Stands for messages that are loaded. */
export function MessagesSkeleton() {
  return (
    <div class="timeline-frame">
      <div class="skeleton-messages" role="status" aria-label={t('room.loading')}>
        {WIDTHS.map((width) => (
          <div key={width} class="skeleton-message" style={{ width: `${width}%` }} />
        ))}
      </div>
    </div>
  );
}
