import type { Context } from "hono";
import type { PageEnv } from "./visit.ts";

/**
 * Has the browser ask for the same page again, from here: it leaves out the cookie when a link on another site, in
 * a chat or a mail, leads to a page.
 */
export function arrived(c: Context<PageEnv>): Response | Promise<Response> {
  const { pathname, search } = new URL(c.req.url);
  return c.html(
    "<!doctype html>" + (
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta http-equiv="refresh" content={`0; url=${pathname}${search}`} />
          <title>Opening</title>
        </head>
        <body>
          <p>
            <a href={pathname + search}>Open the page</a>
          </p>
        </body>
      </html>
    ),
  );
}
