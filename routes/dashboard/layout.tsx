import type { Context } from "hono";
import type { JSX } from "hono/jsx/jsx-runtime";
import { VERSION } from "../../lib/core/version.ts";
import { ASSETS } from "./assets.ts";
import type { OpenAlerts } from "../../lib/admin/alerts.ts";
import { headline } from "../../lib/core/alerting/words.ts";
import { State } from "./components/state.tsx";
import { Moment, TimedText } from "./components/time.tsx";
import { number } from "./verdicts/verdict.ts";
import type { House, PageEnv, Visit } from "./visit.ts";

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

/** Which messages of the stream concern a page. */
export interface Live {
  /** Everything that happens to deliveries and events. */
  readonly deliveries?: boolean;
  /** Changes of endpoints. */
  readonly endpoints?: boolean;
  readonly replays?: boolean;
  readonly alerts?: boolean;
  /** Only what concerns this endpoint. */
  readonly endpoint?: string;
  /** Only what names this id: of a delivery, an event or a replay. */
  readonly id?: string;
}

/** Title, status and topic of a page. */
export interface Head {
  readonly title: string;
  readonly nav: Nav;
  readonly status?: PageStatus;
  /** Left out: nothing on it changes by itself. */
  readonly live?: Live;
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
  { title, nav, status = 200, live }: Head,
  body: JSX.Element,
): Promise<Response> {
  const { house } = visit;
  const open = await c.get("alerts") ?? null;
  const says_alerts = nav === "alerts" || nav === "overview" && house.audience === "operator";
  // The answer to a post, or to a mistake, is not what its address shows.
  const seen = c.req.method === "GET" && status === 200 ? live : undefined;
  return await html(
    c,
    { title: `${title} · ${brandOf(house)}`, status, base: house.base },
    <>
      <a class="skip" href="#main">Skip to the content</a>
      <Side visit={visit} nav={nav} open={open} />
      <Top visit={visit} query={nav === "deliveries" ? c.req.query("q") : undefined} />
      <main
        id="main"
        data-live-kinds={seen === undefined ? undefined : kindsOf(seen)}
        data-live-endpoint={seen?.endpoint}
        data-live-id={seen?.id}
      >
        {open === null || says_alerts ? null : <Banner visit={visit} open={open} />}
        {body}
      </main>
      <Keys />
    </>,
  );
}

/** A page without sidebar: for somebody who is not signed in, or when nothing more is known. */
export async function barePage(
  c: Context<PageEnv>,
  { title, status = 200 }: Pick<Head, "title" | "status">,
  body: JSX.Element,
): Promise<Response> {
  return await html(c, { title, status, bare: true }, <main id="main">{body}</main>);
}

function kindsOf({ deliveries, endpoints, replays, alerts, endpoint, id }: Live): string {
  const kinds = [
    ...(deliveries || id !== undefined ? ["delivery", "event"] : []),
    ...(endpoints || endpoint !== undefined ? ["endpoint"] : []),
    ...(replays || id !== undefined ? ["replay"] : []),
    ...(alerts ? ["alert"] : []),
  ];
  return kinds.join(" ");
}

function brandOf({ audience }: House): string {
  return audience === "operator" ? "bookme-webhooks" : "BookMe";
}

type Entry = readonly [nav: NonNullable<Nav>, path: string, label: string];

/** The sidebar in groups. */
function groupsOf({ audience }: House): readonly (readonly Entry[])[] {
  const is_operator = audience === "operator";
  return [
    [
      ["overview", "", "Overview"],
      ["endpoints", "/endpoints", "Endpoints"],
      ["deliveries", "/deliveries", "Deliveries"],
    ],
    [
      ["test", "/test", "Test"],
      ["replays", "/replays", "Replays"],
      ["verify", "/verify", "Signature checker"],
    ],
    [
      ["alerts", "/alerts", "Alerts"],
      ...(is_operator ? [["audit", "/audit", "Audit"] as const] : []),
    ],
    [
      ["event-types", "/event-types", "Event types"],
      ["help", "/help", is_operator ? "Help for receivers" : "Help"],
    ],
  ];
}

/** The worst alert that nobody looks after, on each page. */
function Banner({ visit, open }: { readonly visit: Visit; readonly open: OpenAlerts }) {
  const { worst: [worst], loud, exact } = open;
  if (worst === undefined || worst.is_quiet) return null;
  const { base, audience } = visit.house;
  return (
    <aside class="banner" aria-label="Alert">
      <p>
        <State kind="failed" word="Alert" /> <TimedText text={headline(worst.spoken, audience)} />.
        {" "}
        <a href={`${base}/alerts`}>{loud === 1 ? "See it" : `See all ${number(loud, exact)}`}</a>
      </p>
    </aside>
  );
}

function Side({ visit, nav, open }: {
  readonly visit: Visit;
  readonly nav: Nav;
  readonly open: OpenAlerts | null;
}) {
  const { house, name, environment, may_write, link_ends_at } = visit;
  const is_operator = house.audience === "operator";
  return (
    <header class="side">
      <div class="inner">
        <p class="brand">
          <a href={house.base}>
            <strong>{brandOf(house)}</strong>
            <span>{is_operator ? environment : name}</span>
          </a>
          <button class="button plain menu" type="button" popovertarget="menu">Menu</button>
        </p>
        <div class="menu" id="menu" popover="auto">
          <nav aria-label="Main">
            {groupsOf(house).map((group) => (
              <ul>
                {group.map(([entry, path, label]) => (
                  <li>
                    <a href={house.base + path} aria-current={entry === nav ? "page" : undefined}>
                      {label}
                      {entry === "alerts" && open !== null && open.count > 0
                        ? <span class="count">{` ${number(open.count, open.exact)}`}</span>
                        : null}
                    </a>
                  </li>
                ))}
              </ul>
            ))}
          </nav>
          <div class="foot">
            {link_ends_at === null ? <p>{`${name}, ${may_write ? "admin" : "viewer"}`}</p> : (
              <p>
                Signed in with a link that expires on <Moment at={link_ends_at} style="minute" />
              </p>
            )}
            <form method="post" action={`${house.base}/logout`}>
              <input type="hidden" name="csrf" value={visit.csrf} />
              <button class="linklike" type="submit">Sign out</button>
              <button class="linklike js" type="button" data-keys>Keys</button>
            </form>
            {is_operator ? <p>{VERSION}</p> : null}
          </div>
        </div>
      </div>
    </header>
  );
}

function Top(
  { visit, query = "" }: { readonly visit: Visit; readonly query?: string | undefined },
) {
  const { base, audience } = visit.house;
  return (
    <div class="top" role="region" aria-label="Search and times">
      <form class="search" role="search" action={`${base}/search`}>
        <input
          type="search"
          name="q"
          value={query}
          aria-label="Search"
          placeholder={audience === "operator"
            ? "Id, confirmation number, URL or status:failed"
            : "Confirmation number, like BK7X9M2P"}
          autocomplete="off"
          spellcheck={false}
          maxlength={500}
        />
        <kbd class="js" aria-hidden="true">/</kbd>
      </form>
      <p class="switches">
        <span id="live" class="js" role="status"></span>
        <span id="zone">Times in UTC</span>
      </p>
    </div>
  );
}

const KEYS: readonly (readonly [string, string])[] = [
  ["/", "Search"],
  ["j", "Next row"],
  ["k", "Previous row"],
  ["o", "Open the row"],
  ["r", "Retry the delivery"],
  ["p", "Pause or resume live updates"],
  ["?", "This list"],
];

function Keys() {
  return (
    <dialog id="keys" aria-labelledby="keys-title">
      <h2 id="keys-title">Keys</h2>
      <dl>
        {KEYS.map(([key, what]) => (
          <div>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <label class="check">
          <input type="checkbox" id="keys-off" />
          <span>Turn these keys off in this browser</span>
        </label>
        <button class="button plain" type="submit">Close</button>
      </form>
    </dialog>
  );
}

async function html(
  c: Context<PageEnv>,
  { title, status, base, bare = false }: {
    readonly title: string;
    readonly status: PageStatus;
    readonly base?: string;
    readonly bare?: boolean;
  },
  body: JSX.Element,
): Promise<Response> {
  const document = (
    <html lang="en" data-base={base}>
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{title}</title>
        <link rel="icon" href={ICON} />
        {ASSETS.map(({ path, type }) =>
          type.startsWith("text/css")
            ? <link rel="stylesheet" href={path} />
            // The page waits for it, so that times are not seen to change.
            : <script src={path} defer blocking="render"></script>
        )}
      </head>
      <body class={bare ? "bare" : undefined}>{body}</body>
    </html>
  );
  return c.html(`<!doctype html>${await document.toString()}`, status);
}

/** A ring around a disc, as an address: no further request. */
const ICON = "data:image/svg+xml," +
  encodeURIComponent(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">' +
      '<circle cx="8" cy="8" r="6.5" fill="none" stroke="#1b50b8" stroke-width="2"/>' +
      '<circle cx="8" cy="8" r="3" fill="#1b50b8"/></svg>',
  );
