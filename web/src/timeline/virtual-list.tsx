import type { ComponentChildren, Ref, VNode } from 'preact';
import { useImperativeHandle, useLayoutEffect, useMemo, useReducer, useRef } from 'preact/hooks';
import { Heights, type Key } from './heights.js';

/** What the list shows: its first and last visible rows, and whether it is at its end. */
export interface Visible {
  readonly first: number;
  readonly last: number;
  readonly isAtEnd: boolean;
}

export interface VirtualListHandle {
  scrollToEnd: () => void;
  /** Brings a row to a third of the height. */
  scrollTo: (key: Key) => void;
  /** Focuses a row, which is brought into view. */
  focus: (index: number) => void;
}

interface Props<Item> {
  readonly label: string;
  readonly items: readonly Item[];
  readonly keyOf: (item: Item) => Key;
  readonly row: (item: Item, index: number) => VNode;
  /** Where the list begins: at a row, or without one at its end. */
  readonly startAt?: Key | undefined;
  /** What stands above the rows. Its height does not change. */
  readonly head: ComponentChildren;
  readonly onVisible: (visible: Visible) => void;
  readonly onKeyDown: (event: KeyboardEvent, index: number) => void;
  readonly handle: Ref<VirtualListHandle>;
}

/** Of a message of one line with its name. */
const ESTIMATE_PX = 56;
/** Rows are rendered so far outside of what is visible: about a flick of a finger. */
const OVERSCAN_PX = 800;
/** With less than this rendered, it is time to render others: not at every row that goes by. */
const LEAST_OVERSCAN_PX = 400;
/** A list that is so near to its end follows it. */
const NEAR_END_PX = 48;

/** What stays in its place while rows come and go: the end, or the distance of a row from the top. */
type Anchor = 'end' | { readonly key: Key; readonly top: number };

/**
 * A list that renders the rows that are visible, whatever number there is. Rows are measured as they are shown; what the
 * user sees stays in its place when rows above are loaded, measured, or change.
 */
export function VirtualList<Item>(props: Props<Item>) {
  const { label, items, keyOf, row, startAt, head, onVisible, onKeyDown, handle } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLOListElement>(null);
  const heights = useMemo(() => new Heights(ESTIMATE_PX), []);
  const anchor = useRef<Anchor>(startAt === undefined ? 'end' : { key: startAt, top: Number.NaN });
  const wanted = useRef<number | undefined>(undefined);
  // As it scrolls, only rows that come are rendered: the others are the same until the parent renders.
  const kept = useRef({ row, rows: new Map<number, VNode>() });
  const [, rerender] = useReducer((count: number) => count + 1, 0);

  const focused = focusedRow(body.current);
  const focusedKey = focused === undefined ? undefined : heights.keyOf(focused);
  const keys = useMemo(() => items.map(keyOf), [items]);
  const isOther = heights.setKeys(keys);
  const range = rangeOf(heights, anchor.current, scroller.current);

  /** Where the rows begin, below the head. */
  function originOf(): number {
    return body.current?.parentElement?.offsetTop ?? 0;
  }

  /** Scrolls to where the anchor is now. */
  function restore(): void {
    const element = scroller.current;
    if (element === null) return;
    let at = anchor.current;
    if (at !== 'end' && Number.isNaN(at.top)) {
      at = { key: at.key, top: element.clientHeight / 3 };
      anchor.current = at;
    }
    const index = at === 'end' ? -1 : heights.indexOf(at.key);
    const top =
      at === 'end' || index === -1
        ? element.scrollHeight
        : originOf() + heights.offsetOf(index) - at.top;
    element.scrollTop = top;
    // From here on it follows the end.
    if (distanceToEnd(element) < 2) anchor.current = 'end';
  }

  /** Measures what is rendered. @returns whether something has another height */
  function measure(): boolean {
    let isChanged = false;
    for (const child of body.current?.children ?? []) {
      const index = Number((child as HTMLElement).dataset['index']);
      const { height } = child.getBoundingClientRect();
      isChanged = heights.measure(index, height) || isChanged;
    }
    return isChanged;
  }

  function tell(): void {
    const element = scroller.current;
    if (element === null || heights.count === 0) return;
    const top = element.scrollTop - originOf();
    onVisible({
      first: heights.indexAt(top),
      last: heights.indexAt(top + element.clientHeight - 1),
      isAtEnd: distanceToEnd(element) < NEAR_END_PX,
    });
  }

  function settle(isOther: boolean): void {
    const isMeasured = measure();
    if (isMeasured || isOther) {
      setHeight();
      restore();
      const now = rangeOf(heights, anchor.current, scroller.current);
      if (isMeasured || now.start !== range.start || now.end !== range.end) rerender(undefined);
    }
    keepFocus();
    if (wanted.current !== undefined) {
      const child = body.current?.querySelector<HTMLElement>(`[data-index="${wanted.current}"]`);
      child?.focus({ preventScroll: true });
      if (child != null) wanted.current = undefined;
    }
    tell();
  }

  /** The row that had the focus may be rendered no more: the next one takes it if it is gone, else the list. */
  function keepFocus(): void {
    if (focusedKey === undefined || document.activeElement !== document.body) return;
    if (heights.indexOf(focusedKey) === -1) {
      wanted.current = Math.min(focused ?? 0, heights.count - 1);
    } else {
      scroller.current?.focus({ preventScroll: true });
    }
  }

  /** At once: what is scrolled to must be there. */
  function setHeight(): void {
    const box = body.current?.parentElement;
    if (box != null) box.style.height = `${heights.total}px`;
  }

  function scrolled(): void {
    const element = scroller.current;
    if (element === null) return;
    if (distanceToEnd(element) < 2) {
      anchor.current = 'end';
    } else {
      const top = element.scrollTop - originOf();
      const index = heights.indexAt(top);
      const key = heights.keyOf(index);
      if (key !== undefined) anchor.current = { key, top: heights.offsetOf(index) - top };
    }
    const least = rangeOf(heights, anchor.current, element, LEAST_OVERSCAN_PX);
    if (least.start < range.start || least.end > range.end) rerender(undefined);
    tell();
  }

  useLayoutEffect(() => {
    settle(isOther);
  });

  useLayoutEffect(() => {
    const element = scroller.current;
    const list = body.current;
    if (element === null || list === null) return undefined;
    let width = element.clientWidth;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth !== width) {
        width = element.clientWidth;
        heights.forget();
      }
      measure();
      setHeight();
      restore();
      rerender(undefined);
    });
    observer.observe(element);
    // A row that grows by itself.
    observer.observe(list);
    return () => {
      observer.disconnect();
    };
  }, []);

  useImperativeHandle(handle, () => ({
    scrollToEnd() {
      anchor.current = 'end';
      restore();
      rerender(undefined);
    },
    scrollTo(key) {
      anchor.current = { key, top: Number.NaN };
      restore();
      rerender(undefined);
    },
    focus(index) {
      const element = scroller.current;
      const key = heights.keyOf(index);
      if (element === null || key === undefined) return;
      const top = originOf() + heights.offsetOf(index) - element.scrollTop;
      const bottom = originOf() + heights.offsetOf(index + 1) - element.scrollTop;
      if (top < 0) anchor.current = { key, top: 8 };
      else if (bottom > element.clientHeight) {
        anchor.current = { key, top: element.clientHeight - (bottom - top) - 8 };
      }
      if (top < 0 || bottom > element.clientHeight) restore();
      wanted.current = index;
      rerender(undefined);
    },
  }));

  if (kept.current.row !== row) kept.current = { row, rows: new Map() };
  const rows = new Map<number, VNode>();
  for (const [place, item] of items.slice(range.start, range.end).entries()) {
    const index = range.start + place;
    rows.set(index, kept.current.rows.get(index) ?? row(item, index));
  }
  kept.current.rows = rows;
  return (
    <div
      ref={scroller}
      class="timeline"
      tabIndex={0}
      role="region"
      aria-label={label}
      onScroll={scrolled}
      onKeyDown={(event) => {
        const target = event.target as HTMLElement;
        const index = target.closest<HTMLElement>('[data-index]')?.dataset['index'];
        onKeyDown(event, index === undefined ? -1 : Number(index));
      }}
    >
      <div class="timeline-head">{head}</div>
      <div class="timeline-rows" style={{ height: `${heights.total}px` }}>
        <ol
          ref={body}
          class="timeline-body"
          style={{ transform: `translateY(${heights.offsetOf(range.start)}px)` }}
        >
          {[...rows.values()]}
        </ol>
      </div>
    </div>
  );
}

/** The index of the row in which the focus is, or a dialog of it. */
function focusedRow(body: HTMLElement | null): number | undefined {
  const focused = document.activeElement;
  if (focused === null || body?.contains(focused) !== true) return undefined;
  const index = focused.closest<HTMLElement>('[data-index]')?.dataset['index'];
  return index === undefined ? undefined : Number(index);
}

function distanceToEnd({ scrollHeight, scrollTop, clientHeight }: HTMLElement): number {
  return scrollHeight - scrollTop - clientHeight;
}

/** The rows to render: those that are visible by the anchor, and some around. */
function rangeOf(
  heights: Heights,
  anchor: Anchor,
  element: HTMLElement | null,
  overscan = OVERSCAN_PX,
): { readonly start: number; readonly end: number } {
  const height = element?.clientHeight ?? innerHeight;
  const index = anchor === 'end' ? -1 : heights.indexOf(anchor.key);
  let top: number;
  if (anchor === 'end' || index === -1) {
    top = heights.total - height;
  } else {
    top = heights.offsetOf(index) - (Number.isNaN(anchor.top) ? height / 3 : anchor.top);
  }
  const start = heights.indexAt(top - overscan);
  const end = Math.min(heights.count, heights.indexAt(top + height + overscan) + 1);
  return { start: heights.count === 0 ? 0 : start, end };
}
