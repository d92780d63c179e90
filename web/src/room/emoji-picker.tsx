import { useLayoutEffect, useRef } from 'preact/hooks';
import { useFocusReturn } from '../hooks.js';
import { t } from '../i18n/text.js';

interface Props {
  readonly onPick: (emoji: string) => void;
  readonly onClose: () => void;
}

const COLUMNS = 8;
const MARGIN_PX = 8;
/** What people answer with, by how often they do. */
const EMOJIS = Array.from(
  '👍❤😂🎉😮😢🙏🔥👏✅👀🚀💯🤔😍😅🥳🙌💪👎😎😴🤯😭🤝👌✨⭐💡⚡🐛🍀☕🍕🎂🏆❌❓❗👋',
);
const STEPS: Readonly<Record<string, number>> = {
  ArrowRight: 1,
  ArrowLeft: -1,
  ArrowDown: COLUMNS,
  ArrowUp: -COLUMNS,
};

/** A few emojis in a grid, which the arrows go through. */
export function EmojiPicker({ onPick, onClose }: Props) {
  const grid = useRef<HTMLDivElement>(null);

  useFocusReturn();
  // Not once it is painted: the next key may come before that.
  useLayoutEffect(() => {
    if (grid.current !== null) keepInside(grid.current);
    grid.current?.querySelector('button')?.focus({ preventScroll: true });
  }, []);

  function pressed(event: KeyboardEvent): void {
    const buttons = [...(grid.current?.querySelectorAll('button') ?? [])];
    const step = STEPS[event.key];
    if (event.key === 'Escape') onClose();
    else if (step === undefined) return;
    const at = buttons.indexOf(event.target as HTMLButtonElement);
    buttons[at + (step ?? 0)]?.focus();
    event.preventDefault();
    // The list behind has arrows, too.
    event.stopPropagation();
  }

  return (
    <div
      ref={grid}
      class="emoji-picker"
      role="group"
      aria-label={t('emoji.label')}
      onKeyDown={pressed}
      onFocusOut={(event) => {
        const isInside = grid.current?.contains(event.relatedTarget as Node | null) === true;
        if (event.relatedTarget !== null && !isInside) onClose();
      }}
    >
      {EMOJIS.map((emoji, index) => (
        <button
          key={emoji}
          type="button"
          tabIndex={index === 0 ? 0 : -1}
          onClick={() => {
            onPick(emoji);
          }}
        >
          {emoji}
        </button>
      ))}
    </div>
  );
}

/** Moves the grid to where all of it is visible: above the actions if there is no place below them. */
function keepInside(grid: HTMLElement): void {
  const own = grid.getBoundingClientRect();
  const list = grid.closest('.timeline')?.getBoundingClientRect();
  if (list === undefined) return;
  const x = Math.min(0, list.right - MARGIN_PX - own.right) || Math.max(0, list.left - own.left);
  const actions = grid.parentElement?.offsetHeight ?? 0;
  const above = -(own.height + actions + MARGIN_PX);
  const hasPlace = own.top + above > list.top;
  const y = hasPlace ? above : list.bottom - MARGIN_PX - own.bottom;
  grid.style.translate = `${x}px ${own.bottom > list.bottom ? y : 0}px`;
}
