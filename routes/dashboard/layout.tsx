import type { Context } from "hono";
import type { JSX } from "hono/jsx/jsx-runtime";
import { ASSETS } from "./assets.ts";
import type { PageEnv, Visit } from "./visit.ts";

/** The entry of the sidebar that a page belongs to. */
export type Nav =
  | "overview"
  | "endpoints"
  | "deliveries"
  | "test"
  | "verify"
  | "replays"
  | "alerts"
  | "audit"
  | "event-types"
  | "help"
  | null;

/** What a page is called, and what it is about. */
export interface Head {
  readonly title: string;
  readonly nav: Nav;
  readonly status?: PageStatus;
  /** Which messages of the stream concern the page; left out, none. */
  readonly live?: { readonly deliveries?: boolean; readonly endpoint?: string };
}

/** Statuses that pages answer with. */
export type PageStatus =
  | 200
  | 400
  | 403
  | 404
  | 405
  | 409
  | 413
  | 415
  | 421
  | 422
  | 429
  | 500
  | 503;

/** A page of somebody who is signed in. */
export async function page(
  c: Context<PageEnv>,
  visit: Visit,
  { title, status = 200 }: Head,
  body: JSX.Element,
): Promise<Response> {
  const { house } = visit;
  return await html(
    c,
    status,
    title,
    <>
      <nav>
        <a href={house.base}>Overview</a> <a href={`${house.base}/endpoints`}>Endpoints</a>{" "}
        <a href={`${house.base}/deliveries`}>Deliveries</a> {visit.name}
        <form method="post" action={`${house.base}/logout`}>
          <input type="hidden" name="csrf" value={visit.csrf} />
          <button type="submit">Sign out</button>
        </form>
      </nav>
      <main>{body}</main>
    </>,
  );
}

/** A page without sidebar: for somebody who is not signed in, or when nothing more is known. */
export async function barePage(
  c: Context<PageEnv>,
  { title, status = 200 }: Pick<Head, "title" | "status">,
  body: JSX.Element,
): Promise<Response> {
  return await html(c, status, title, <main class="bare">{body}</main>);
}

async function html(
  c: Context<PageEnv>,
  status: PageStatus,
  title: string,
  body: JSX.Element,
): Promise<Response> {
  const document = (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>{title}</title>
        {ASSETS.filter(({ type }) => type.startsWith("text/css")).map(({ path }) => (
          <link rel="stylesheet" href={path} />
        ))}
      </head>
      <body>{body}</body>
    </html>
  );
  return c.html(`<!doctype html>${await document.toString()}`, status);
}
