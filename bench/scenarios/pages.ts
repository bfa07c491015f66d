import type { Sql } from "postgres";
import { openLink, signIn, type Visitor } from "../../tests/support/visitor.ts";
import { deliveryId, eventId } from "../../lib/core/ids.ts";
import { bookme, startDaemon } from "../contenders/bookme.ts";
import { countHistory, loadHistory } from "../contenders/history.ts";
import { type Bench, withRun } from "../harness/bench.ts";
import { median, quantile } from "../harness/stats.ts";
import { label } from "./growth.ts";

const ENDPOINTS = 10;
const TOKEN = "admin-token-of-the-bench-0123";
const WARM_UP = 5;
/** The business that opens the portal, and owns an endpoint. */
const BUSINESS = "bus_7";

/** A page: its name, and its path the nth time. */
interface Page {
  readonly name: string;
  readonly path: (nth: number) => string;
  /** Where an operator or a business reads it. */
  readonly visitor: {
    get(path: string): Promise<{ readonly status: number; readonly text: string }>;
  };
  /** How often it is asked for, where a business may not more often. */
  readonly at_most?: number;
}

/**
 * How long each page of the dashboard and of the portal takes with 10 million deliveries of the last 24 hours at
 * ten endpoints, one of them failing, and 1,000 more endpoints: signed in as a browser does, one page at a time.
 */
export async function pages(bench: Bench): Promise<void> {
  const deliveries = bench.quick ? 100_000 : 10_000_000;
  await withRun(bench, bookme, { answering: ENDPOINTS, owed: "all" }, async (run) => {
    const { sql, url } = run.database;
    await loadHistory(sql, deliveries / ENDPOINTS);
    await countHistory(run.database);
    await addEndpoints(sql);
    await failLately(sql);
    await run.database.settle();
    bench.log(`${label(deliveries)} deliveries loaded`);
    const key = `${run.setup.directory}/encryption.key`;
    Deno.writeTextFileSync(key, btoa("k".repeat(32)), { mode: 0o600 });
    const daemon = await startDaemon(run.setup, { url }, {
      admin: { tokens: [{ name: "bench", token: TOKEN, role: "admin" }] },
      encryption_key: `file:${key}`,
    });
    try {
      const origin = `http://127.0.0.1:${daemon.port}`;
      await visitAll(bench, await pagesAt(origin, sql));
    } finally {
      await daemon.process.stop();
    }
  });
}

/** Endpoints that deliver a little all the time, with nothing but their rollups. */
export async function addEndpoints(sql: Sql): Promise<void> {
  await sql.unsafe(`
    with made as (
      insert into endpoints (id, source, url, events, settings, created_at)
      select 'more_' || n, 'api', 'http://127.0.0.1:9/' || n, '{service.updated}',
        '{"timeout_ms":null,"retry_ms":null,"concurrency":null,"rate_limit_per_s":null,"unsigned":true,"traceparent":false,
          "description":null,"headers":[],"tls":null}', now() - interval '10 days'
      from generate_series(1, 1000) n returning *
    ), versions as (
      insert into endpoint_versions (endpoint_no, version, url, headers, events)
      select no, version, url, '[]', events from made
    ), runs as (
      insert into endpoint_runs (endpoint_no, last_success_at) select no, now() from made
    )
    insert into attempt_stats (span, starts_at, endpoint_no, outcome, attempts, response, first_attempt,
      delivered)
    select s.span, at, no, outcome, 3, '[60,1,1,1]', '[20,1,1,1]', '[60,1,1,1]'
    from made cross join (values ('delivered'), ('http_5xx')) o (outcome)
    cross join (values ('minute', 60, '1 min'::interval), ('ten_minutes', 36, '10 min'),
      ('hour', 72, '1 h'), ('day', 30, '1 d')) s (span, spans, length)
    cross join generate_series(0, s.spans - 1) n
    cross join lateral (select date_bin(s.length, now(), 'epoch') - n * s.length as at) t
    where outcome = 'delivered' or no % 100 = 0`);
}

/** The last endpoint has rejected everything for half an hour, since its secret was changed. */
export async function failLately(sql: Sql): Promise<void> {
  await sql.unsafe(`
    with failing as materialized (
      select no, id from endpoints where id = 'e9'
    ), back as (
      delete from ended_deliveries d using failing
      where d.endpoint_no = no and d.id >= first_id_at((
        select received_at from events order by events.id desc limit 1) - interval '30 min')
      returning d.*
    ), pending as (
      insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, attempts, counted,
        last_outcome, last_status, last_attempt_at)
      select id, event_of(id), endpoint_no, created_at, now() + interval '6 h' + (created_at - now()), 2,
        2, 'http_4xx', 401, last_attempt_at
      from back
    ), gone as (
      delete from attempts a using back where a.delivery_id = back.id
    ), logged as (
      insert into audit (at, actor, action, object, before, after)
      select now() - interval '31 min', 'the configuration file', 'endpoint.updated', id,
        '{"url": "u"}', '{"url": "u", "credentials": "changed"}' from failing
    )
    update endpoint_runs r set last_success_at = f.at - interval '1 min', failing_since = f.at,
      last_failure_at = now()
    from failing, (select min(started_at) as at from back) f where r.endpoint_no = failing.no`);
  await sql.unsafe(`
    insert into attempts (delivery_id, number, endpoint_no, outcome, status, ended_at, endpoint_version,
      started_at, address, request_timestamp, request_signature, request_webhook_signature, response_head,
      response_body)
    select p.id, number, p.endpoint_no, 'http_4xx', 401, p.created_at + number * interval '1 s', 1,
      p.created_at + number * interval '1 s' - interval '30 ms', '127.0.0.1:8080', 1, sha256('1'), sha256('2'),
      e'HTTP/1.1 401 Unauthorized\\r\\nContent-Type: text/plain\\r\\n\\r\\n', 'invalid signature'
    from pending_deliveries p cross join generate_series(1, 2) number`);
}

/** Makes the business's endpoint through its link, and gives it the deliveries of its events. */
async function moveIn(origin: string, sql: Sql): Promise<Visitor> {
  const post = async (path: string, token: string, body: unknown) => {
    const response = await fetch(`${origin}/api/${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`);
    return answer;
  };
  const { token } = await post("portal-links", TOKEN, { business: BUSINESS });
  await post("endpoints", token, { url: "https://example.com/hook", events: ["booking.*"] });
  await sql`
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
      last_outcome, last_status, last_attempt_at, endpoint_version, started_at, response_truncated)
    select delivery_of(e.id, n.no), n.no, e.received_at, e.received_at,
      case when e.failed then 'failed' else 'delivered' end, 1, 1,
      case when e.failed then 'http_5xx' else 'delivered' end, case when e.failed then 503 else 200 end,
      e.received_at, n.version, e.received_at, false
    from (
      select *, row_number() over (order by id) % 20 = 0 as failed from events where business = ${BUSINESS}
    ) e cross join endpoints n where n.owner = ${BUSINESS}`;
  await sql.unsafe("analyze");
  return await openLink(origin, token);
}

export async function pagesAt(origin: string, sql: Sql): Promise<Page[]> {
  const operator = await signIn(origin, TOKEN);
  const business = await moveIn(origin, sql);
  const ids = async (where: string) =>
    (await sql.unsafe<{ id: string }[]>(`
      select id from ended_deliveries where ${where} order by random() limit 200`)).map(({ id }) =>
      id
    );
  const own = "endpoint_no in (select no from endpoints where owner is not null)";
  const failed = await ids(`status = 'failed' and endpoint_no <= ${ENDPOINTS}`);
  const owned = await ids(own);
  const waiting = (await sql<{ id: string }[]>`select id from pending_deliveries limit 200`)
    .map(({ id }) => id);
  const [{ id: endpoint = "" } = {}] = await sql<{ id: string }[]>`
    select id from endpoints where owner = ${BUSINESS}`;
  const names = await sql<{ confirmation: string; subject: string }[]>`
    select confirmation, subject from events where business = ${BUSINESS} limit 200`;
  const scraper = {
    async get(path: string) {
      const headers = { authorization: `Bearer ${TOKEN}` };
      const response = await fetch(origin + path, { headers });
      return { status: response.status, text: await response.text() };
    },
  };
  return [
    // With 500 endpoints of their own series, and the database read each time it is 15 s later.
    { name: "/metrics", path: () => "/metrics", visitor: scraper },
    ...pagesOf("dashboard", operator, {
      endpoints: ["e3", "e9"],
      deliveries: [failed, waiting],
      names,
    }),
    ...pagesOf("portal", business, { endpoints: [endpoint], deliveries: [owned], names }),
  ];
}

/** What the paths of a house name. */
interface Names {
  readonly endpoints: readonly string[];
  /** UUIDs, of several kinds. */
  readonly deliveries: readonly (readonly string[])[];
  readonly names: readonly { readonly confirmation: string; readonly subject: string }[];
}

function pagesOf(house: "dashboard" | "portal", visitor: Visitor, known: Names): Page[] {
  const page = (path: string | ((nth: number) => string), name = String(path)): Page => ({
    name: `/${house}${name}`,
    path: (nth) => `/${house}${typeof path === "string" ? path : path(nth)}`,
    visitor,
  });
  const one = <T>(list: readonly T[], nth: number): T => {
    const found = list[nth % list.length];
    if (found === undefined) throw new Error(`Nothing is stored for the pages of the ${house}`);
    return found;
  };
  const [endpoint = ""] = known.endpoints;
  const eventOf = (uuid: string) => eventId(`${uuid.slice(0, 28)}00000000`);
  return [
    page("", " (overview)"),
    page("/endpoints"),
    ...known.endpoints.map((id, nth) => page(`/endpoints/${id}`, `/endpoints/:id (${nth + 1})`)),
    ...[
      ...["", "?status=attention", "?status=failed", "?status=waiting", "?status=overdue"],
      ...[
        "?status=delivered",
        "?status=tests",
        "?status=all",
        "?type=booking.created",
        "?code=503",
      ],
      ...["?code=418", "?reason=http_5xx&status=failed", "?type=service.updated&since=all"],
    ].map((query) => page(`/deliveries${query}`)),
    page(`/deliveries?endpoint=${endpoint}`, "/deliveries?endpoint="),
    page(
      `/deliveries?endpoint=${endpoint}&status=failed&code=5xx`,
      "/deliveries?endpoint=&status=&code=",
    ),
    ...known.deliveries.flatMap((uuids, kind) => [
      page((nth) => `/deliveries/${deliveryId(one(uuids, nth))}`, `/deliveries/:id (${kind + 1})`),
      page((nth) => `/events/${eventOf(one(uuids, nth))}`, `/events/:id (${kind + 1})`),
    ]),
    page(
      (nth) => `/search?q=${one(known.names, nth).confirmation}`,
      "/search?q= (confirmation number)",
    ),
    page((nth) => `/search?q=${one(known.names, nth).subject}`, "/search?q= (appointment)"),
    page("/search?q=BK00000000", "/search?q= (nothing)"),
    page("/search?q=status:failed%20code:503", "/search?q= (qualifiers)"),
    ...[
      "/test",
      "/verify",
      "/replays",
      "/replays/new",
      // A business has none.
      ...(house === "dashboard" ? ["/alerts"] : []),
      "/audit",
      "/event-types",
      "/help",
    ].map((
      path,
    ) => page(path)),
    {
      ...page(`/replays/new?status=failed&endpoint=${endpoint}`, "/replays/new?status=&endpoint="),
      at_most: 50,
    },
    page("/audit?action=endpoint.paused"),
  ];
}

/** Reports the times of all pages. Throws if some are not answered as pages are, with their names. */
export async function visitAll(bench: Bench, all: readonly Page[]): Promise<void> {
  const mistakes: string[] = [];
  for (const page of all) {
    try {
      const times = Math.min(bench.quick ? 20 : 200, page.at_most ?? Infinity);
      report(bench, page.name, await visit(page, times));
    } catch (error) {
      mistakes.push(error instanceof Error ? error.message : String(error));
    }
  }
  if (mistakes.length > 0) throw new Error(mistakes.join("\n"));
}

/** The times of a page, in milliseconds. Throws if it is not answered as a page is, or a jump. */
async function visit({ name, path, visitor }: Page, times: number): Promise<number[]> {
  const found: number[] = [];
  for (let nth = -WARM_UP; nth < times; nth++) {
    const from = performance.now();
    const { status, text } = await visitor.get(path(Math.abs(nth)));
    if (nth >= 0) found.push(performance.now() - from);
    if (status !== 200 && status !== 303) {
      throw new Error(
        `${name}: ${status} ${text.replace(/<[^>]*>/g, " ").replace(/\s+/g, " ").slice(0, 200)}`,
      );
    }
  }
  return found;
}

function report(bench: Bench, name: string, times: readonly number[]): void {
  const values = { p50: median(times), p99: quantile(times, 0.99) };
  for (const [metric, value] of Object.entries(values)) {
    bench.add({
      scenario: "pages",
      variant: name,
      contender: bookme.name,
      metric,
      unit: "ms",
      value,
    });
  }
  bench.log(`${name}: p50 ${values.p50.toFixed(1)} ms, p99 ${values.p99.toFixed(1)} ms`);
}
