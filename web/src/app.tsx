import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Chat } from './chat.js';
import type { TextKey } from './i18n/en.js';
import { navigate } from './route.js';
import { forgetSession, restoreSession, type Session } from './session/session.js';
import { SignIn } from './session/sign-in.js';
import { ToastProvider } from './ui/toasts.js';

/** The page: signed in, or not. */
export function App() {
  const [session, setSession] = useState<Session | undefined>(restoreSession);
  const [notice, setNotice] = useState<TextKey>();

  const isLoaded = useRef(false);
  useLayoutEffect(() => {
    // What had the focus is gone: a keyboard and a screen reader go on where the screen begins.
    if (isLoaded.current && document.activeElement === document.body) {
      document.querySelector('main')?.focus();
    }
    isLoaded.current = true;
  }, [session]);

  function signOut(why?: TextKey): void {
    forgetSession();
    // Whoever signs in again goes on where they were.
    if (why === undefined) navigate({});
    setNotice(why);
    setSession(undefined);
  }

  return (
    <ToastProvider>
      {session === undefined ? (
        <SignIn notice={notice} onSignedIn={setSession} />
      ) : (
        <Chat session={session} onSignedOut={signOut} />
      )}
    </ToastProvider>
  );
}
