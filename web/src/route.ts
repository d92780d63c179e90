import { useEffect, useState } from 'preact/hooks';

/** What the page shows, as its address says: `#/rooms/5`, or `#/rooms/5/120` for a message in it. */
export interface Route {
  readonly roomId?: number | undefined;
  /** Number of a message. */
  readonly seq?: number | undefined;
}

const ROUTE = /^#\/rooms\/([1-9]\d{0,9})(?:\/([1-9]\d{0,14}))?$/;

function readRoute(): Route {
  const [, roomId, seq] = ROUTE.exec(location.hash) ?? [];
  return {
    ...(roomId !== undefined && { roomId: Number(roomId) }),
    ...(seq !== undefined && { seq: Number(seq) }),
  };
}

function hashOf({ roomId, seq }: Route): string {
  if (roomId === undefined) return '#/';
  return `#/rooms/${roomId}${seq === undefined ? '' : `/${seq}`}`;
}

/** Shows something at once; the browser's "back" comes back from something else, unless it is replaced. */
export function navigate(route: Route, { replace = false } = {}): void {
  const hash = hashOf(route);
  if (hash !== location.hash) {
    if (replace) history.replaceState(history.state, '', hash);
    else history.pushState(null, '', hash);
  }
  // The browser tells nobody of this.
  dispatchEvent(new PopStateEvent('popstate'));
}

/** Another object at each visit, also of the place where the user is. */
export function useRoute(): Route {
  const [route, setRoute] = useState(readRoute);
  useEffect(() => {
    const update = (): void => {
      setRoute(readRoute());
    };
    // Unlike `hashchange`, it also tells of a link to where one is.
    addEventListener('popstate', update);
    return () => {
      removeEventListener('popstate', update);
    };
  }, []);
  return route;
}
