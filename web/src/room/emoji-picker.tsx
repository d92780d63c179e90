import { useEffect, useRef } from 'preact/hooks';
import { t } from '../i18n/text.js';

interface Props {
  readonly onPick: (emoji: string) => void;
  readonly onClose: () => void;
}

const COLUMNS = 8;
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

  useEffect(() => {
    const before = document.activeElement;
    grid.current?.querySelector('button')?.focus();
    return () => {
      if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    };
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
