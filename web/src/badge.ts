import { useEffect } from 'preact/hooks';
import type { RoomRow } from '../../src/client/index.js';
import { titleOf } from './chat-context.js';
import { t } from './i18n/text.js';
import mark from './favicon.svg';

const SIZE = 64;
const MOST = 99;

/** Shows the number of unread messages, and the room, in the title and the icon of the tab. */
export function useBadge(rooms: readonly RoomRow[], roomId: number | undefined): void {
  const unread = Math.min(
    rooms.reduce((sum, room) => sum + room.unread, 0),
    MOST,
  );
  const room = rooms.find(({ id }) => id === roomId);
  const title = room === undefined ? t('product') : `${titleOf(room)} · ${t('product')}`;

  useEffect(() => {
    document.title = unread === 0 ? title : `(${unread}) ${title}`;
    return () => {
      document.title = t('product');
    };
  }, [title, unread]);

  useEffect(() => {
    let isCurrent = true;
    drawIcon(unread).then(
      (url) => {
        if (isCurrent) document.querySelector('link[rel=icon]')?.setAttribute('href', url);
      },
      () => {
        // The icon can't be loaded: it stays as it is.
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [unread]);
}

/** The icon with a number on it, as a URL. */
async function drawIcon(unread: number): Promise<string> {
  if (unread === 0) return mark;
  const canvas = document.createElement('canvas');
  canvas.width = SIZE;
  canvas.height = SIZE;
  const context = canvas.getContext('2d');
  if (context === null) return mark;
  const image = new Image();
  image.src = mark;
  await image.decode();
  context.drawImage(image, 0, 0, SIZE, SIZE);
  context.fillStyle = '#e5484d';
  context.beginPath();
  context.arc(SIZE * 0.66, SIZE * 0.66, SIZE * 0.34, 0, 2 * Math.PI);
  context.fill();
  context.fillStyle = '#fff';
  context.font = `600 ${unread > 9 ? 28 : 36}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillText(String(unread), SIZE * 0.66, SIZE * 0.69);
  return canvas.toDataURL();
}
