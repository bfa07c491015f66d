import type { JSX } from "hono/jsx/jsx-runtime";
import { Moment, Submit } from "../components/all.ts";

function Brand() {
  return (
    <p>
      <strong>BookMe</strong>
    </p>
  );
}

/** Says that only a link leads into the portal. */
export function NeedsLinkPage(): JSX.Element {
  return (
    <>
      <Brand />
      <h1>Open your link</h1>
      <p>
        Your session has ended, or you have not opened your link in this browser. Nothing was{" "}
        changed. Open the link again in BookMe under Settings, Integrations, Webhooks.
      </p>
    </>
  );
}

/** Says that a link leads nowhere any more, if it ever did. */
export function LinkEndedPage(): JSX.Element {
  return (
    <>
      <Brand />
      <h1>This link has ended</h1>
      <p>
        It has expired, was revoked, or was not copied as a whole. Ask for a new one in BookMe under
        {" "}
        Settings, Integrations, Webhooks.
      </p>
    </>
  );
}

/** Names the business of a link, and has its button: opening the page alone does nothing. */
export function OpenLinkPage(
  { business, expires_at }: { readonly business: string; readonly expires_at: string },
): JSX.Element {
  return (
    <>
      <Brand />
      <h1>Webhooks of {business}</h1>
      <p>
        This link is good until <Moment at={expires_at} style="minute" />. Whoever has{" "}
        it can change these webhooks; do not pass it on.
      </p>
      <form method="post">
        <Submit label="Open" />
      </form>
    </>
  );
}
