import { useEffect, useState } from 'preact/hooks';
import type { TextKey } from '../i18n/en.js';
import { t } from '../i18n/text.js';
import { Avatar } from '../ui/avatar.js';
import { Logo } from '../ui/logo.js';
import { signInAs, signInByToken, SignInError, trialNames, type Session } from './session.js';

interface Props {
  /** Why the user is here again. */
  readonly notice: TextKey | undefined;
  readonly onSignedIn: (session: Session) => void;
}

/** Where one becomes somebody: by a token, or as one of three while the server is tried out. */
export function SignIn({ notice, onSignedIn }: Props) {
  const [token, setToken] = useState('');
  const [isBusy, setIsBusy] = useState(false);
  const [names, setNames] = useState<readonly string[]>([]);
  const [problem, setProblem] = useState(notice === undefined ? '' : t(notice));

  useEffect(() => {
    void trialNames().then(setNames);
  }, []);

  async function signIn(attempt: () => Promise<Session>): Promise<void> {
    setIsBusy(true);
    setProblem('');
    try {
      onSignedIn(await attempt());
    } catch (error) {
      const { key, detail } =
        error instanceof SignInError ? error : new SignInError('signIn.unreachable');
      setProblem(t(key, { detail }));
      setIsBusy(false);
    }
  }

  return (
    <main tabIndex={-1} class="sign-in">
      <div class="sign-in-card">
        <Logo />
        <h1>{t('signIn.title')}</h1>
        <p class="muted">{t('signIn.lead')}</p>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void signIn(() => signInByToken(token.trim()));
          }}
        >
          <label class="field">
            <span>{t('signIn.token')}</span>
            <textarea
              class="input mono"
              rows={3}
              required
              spellcheck={false}
              autocomplete="off"
              placeholder="eyJhbGciOiJIUzI1NiJ9…"
              aria-describedby="sign-in-problem"
              value={token}
              onInput={(event) => {
                setToken(event.currentTarget.value);
              }}
            />
          </label>
          <p id="sign-in-problem" class="problem" role="alert">
            {problem}
          </p>
          <button class="button primary wide" type="submit" disabled={isBusy}>
            {t('signIn.submit')}
          </button>
        </form>
        {names.length > 0 && (
          <section class="trial" aria-labelledby="trial-title">
            <h2 id="trial-title">{t('signIn.trial')}</h2>
            <div class="trial-names">
              {names.map((name) => (
                <button
                  key={name}
                  class="button trial-name"
                  type="button"
                  disabled={isBusy}
                  onClick={() => {
                    void signIn(() => signInAs(name));
                  }}
                >
                  <Avatar id={name} name={name} />
                  <span>{name}</span>
                </button>
              ))}
            </div>
            <p class="muted small">{t('signIn.trialNote')}</p>
          </section>
        )}
      </div>
    </main>
  );
}
