import type { Context } from "hono";
import { pathAndQuery } from "./session.ts";
import type { PageEnv } from "./visit.ts";

/**
 * Has the browser ask for the same page again, from here: it leaves out the cookie when a link on another site, in
 * a chat or a mail, leads to a page.
 */
export function arrived(c: Context<PageEnv>): Response | Promise<Response> {
  const here = pathAndQuery(c);
  return c.html(
    "<!doctype html>" + (
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta http-equiv="refresh" content={`0; url=${here}`} />
          <title>Opening</title>
        </head>
        <body>
          <p>
            <a href={here}>Open the page</a>
          </p>
        </body>
      </html>
    ),
  );
}
