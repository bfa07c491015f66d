import type { JSX } from "hono/jsx/jsx-runtime";
import { Submit } from "../components/all.ts";

/** The form with which an operator signs in. */
export function LoginPage(
  { environment, next, error }: {
    readonly environment: string;
    /** Path and query of the page that follows. */
    readonly next: string;
    readonly error: string | null;
  },
): JSX.Element {
  return (
    <>
      <p>
        <strong>bookme-webhooks</strong> <span class="note">{environment}</span>
      </p>
      <h1>Sign in with a token</h1>
      <form method="post" action="/dashboard/login">
        <input type="hidden" name="next" value={next} />
        <label for="token">Admin or viewer token</label>
        <input
          id="token"
          name="token"
          type="password"
          autocomplete="off"
          required
          autofocus
          aria-describedby={error === null ? "token-note" : "token-error token-note"}
          aria-invalid={error === null ? undefined : "true"}
        />
        {error === null ? null : <p class="error" id="token-error" role="alert">{error}</p>}
        <p class="note" id="token-note">
          One of <code>admin.tokens</code> in the configuration. It is exchanged for a session and
          {" "}
          not kept in the browser.
        </p>
        <Submit label="Sign in" />
      </form>
      <p class="note">
        Looking for your salon’s webhooks? Open them in BookMe under Settings, Integrations,
        Webhooks. That link signs you in.
      </p>
    </>
  );
}
