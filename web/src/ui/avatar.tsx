import { useState } from 'preact/hooks';

interface Props {
  /** What the colour follows from: always the same for the same user or room. */
  readonly id: string;
  readonly name: string;
  readonly picture?: string | null | undefined;
  readonly isOnline?: boolean | undefined;
  readonly isLarge?: boolean;
}

/** A hue of an id, in degrees: the same on every device. */
export function hueOf(id: string): number {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  // Twelve that can be told apart.
  return (hash % 12) * 30;
}

/** The first letters of at most two words. */
function initialsOf(name: string): string {
  const words = name.split(/[\s-]+/u).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const letters = words.slice(0, 2).map((word) => /[\p{L}\p{N}]/u.exec(word)?.[0] ?? '');
  return letters.join('').toUpperCase() || '#';
}

/** A picture, or initials in a colour. It is decoration: the name stands beside it. */
export function Avatar({ id, name, picture, isOnline, isLarge = false }: Props) {
  const [failed, setFailed] = useState<string>();
  const isPicture = typeof picture === 'string' && picture !== failed;
  return (
    <span class={`avatar${isLarge ? ' large' : ''}`} style={{ '--hue': hueOf(id) }} aria-hidden>
      {isPicture ? (
        <img
          src={picture}
          alt=""
          referrerpolicy="no-referrer"
          onError={() => {
            setFailed(picture);
          }}
        />
      ) : (
        initialsOf(name)
      )}
      {isOnline === true && <span class="presence" />}
    </span>
  );
}
