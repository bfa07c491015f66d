import type { Sql } from "postgres";
import { openDatabase } from "../../lib/store/database.ts";
import { readDatabaseUrl } from "../../lib/config/database.ts";
import { freePort } from "../harness/postgres.ts";
import { type Process, startProcess, tail, until } from "../harness/processes.ts";
import { BODY_PARTS, businessOf, NUMBER_DIGITS, SECRET } from "../workload.ts";
import {
  type Backlog,
  type Contender,
  type Prepared,
  readAttempts,
  type Setup,
} from "./contender.ts";

/** Ours on a PostgreSQL server, as `deno task start` runs it. */
export const bookme: Contender = {
  name: "bookme-webhooks",
  ours: true,
  prepare: (setup) => prepare(setup, { url: setup.database.url }),
};

/** Ours with the database in its own process. */
export const embedded: Contender = {
  name: "bookme-webhooks embedded",
  ours: true,
  prepare: (setup) => prepare(setup, { directory: `${setup.directory}/data` }),
};

/** The same, while Prometheus scrapes it fifteen times as often as by default. */
export const scraped: Contender = {
  name: "bookme-webhooks scraped",
  ours: true,
  prepare: (setup) =>
    prepare(setup, { url: setup.database.url }, { admin: { public: ["metrics"] } }, (port) => {
      const ticker = setInterval(async () => {
        const response = await fetch(`http://127.0.0.1:${port}/metrics`);
        if (response.status !== 200) throw new Error(`A scrape got ${response.status}`);
        await response.text();
      }, 1_000);
      return () => clearInterval(ticker);
    }),
};

/** The same, with these variables of Deno's OpenTelemetry exporter in its environment. */
export function traced(name: string, env: Environment): Contender {
  return {
    name,
    ours: true,
    prepare: (setup) => prepare(setup, { url: setup.database.url }, { env }),
  };
}

type Environment = Readonly<Record<string, string>>;

/** What a configuration, or the environment, may say beside the defaults. */
export interface Extra {
  readonly env?: Environment;
  readonly delivery?: Readonly<Record<string, unknown>>;
  /** Of each endpoint. */
  readonly endpoint?: Readonly<Record<string, unknown>>;
  readonly admin?: Readonly<Record<string, unknown>>;
  readonly encryption_key?: string;
  readonly retention?: Readonly<Record<string, string>>;
}

export type DatabaseOption = { readonly url: string } | { readonly directory: string };

/** Writes a configuration (JSON is YAML, without what is undefined) and answers its path. The rest is the default. */
export function writeConfig(
  setup: Pick<Setup, "directory" | "urls" | "owed" | "authority">,
  database: DatabaseOption,
  port: number,
  extra: Extra = {},
): string {
  const config = {
    environment: "development",
    server: { listen: `127.0.0.1:${port}` },
    database,
    secrets: { bench: SECRET },
    delivery: extra.delivery,
    admin: extra.admin,
    encryption_key: extra.encryption_key,
    retention: extra.retention,
    endpoints: setup.urls.map((url, i) => ({
      id: `e${i}`,
      url,
      secret: "bench",
      events: ["*"],
      ...(setup.owed === "one" ? { businesses: [businessOf(i)] } : {}),
      ...(setup.authority === undefined ? {} : { tls: { ca: `file:${setup.authority}` } }),
      ...extra.endpoint,
    })),
  };
  const path = `${setup.directory}/config-${port}.yaml`;
  Deno.writeTextFileSync(path, JSON.stringify(config, null, 1));
  return path;
}

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const PERMISSIONS = ["net", "read", "write", "env", "sys"].map((name) => `--allow-${name}`);

/** Starts the daemon as `deno task start` does, or an executable of it, without waiting for anything. */
export function launch(
  config: string,
  directory: string,
  { env = {}, executable }: {
    readonly env?: Environment | undefined;
    readonly executable?: string | undefined;
  },
): Process {
  const run = executable === undefined ? ["run", "--frozen", ...PERMISSIONS, MAIN] : [];
  const args = [...run, "serve", "--config", config];
  const log = `${directory}/bookme-webhooks.log`;
  return startProcess(executable ?? Deno.execPath(), args, { log, env });
}

/** Waits until it says that it is ready. */
export async function waitReady(process: Process, port: number): Promise<void> {
  let ended: number | undefined;
  process.ended.then((code) => ended = code);
  await until("The daemon is ready", 60_000, async () => {
    if (ended !== undefined) throw new Error(`The daemon ended (${ended}):\n${tail(process.log)}`);
    try {
      // Its own timeout: what comes between binding and serving may never be answered.
      const response = await fetch(`http://127.0.0.1:${port}/readyz`, {
        signal: AbortSignal.timeout(250),
      });
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }, 5);
}

/** Starts the daemon and waits until it is ready. */
export async function startDaemon(
  setup: Setup,
  database: DatabaseOption,
  extra: Extra = {},
): Promise<{ process: Process; port: number }> {
  const port = freePort();
  const process = launch(writeConfig(setup, database, port, extra), setup.directory, extra);
  await waitReady(process, port);
  return { process, port };
}

/** `follow` does something with the daemon's port until its result is called. */
async function prepare(
  setup: Setup,
  database: DatabaseOption,
  extra: Extra = {},
  follow: (port: number) => () => void = () => () => {},
): Promise<Prepared> {
  // The first start makes the tables and stores the endpoints.
  await (await startDaemon(setup, database, extra)).process.stop();
  const on_server = "url" in database;
  const withSql = on_server
    ? <T>(use: (sql: Sql) => Promise<T>) => use(setup.database.sql)
    : <T>(use: (sql: Sql) => Promise<T>) => withEmbedded(database.directory, use);
  return {
    load: (backlog) => withSql((sql) => load(sql, backlog)),
    async start() {
      const { process, port } = await startDaemon(setup, database, extra);
      const leave = follow(port);
      const stop = async (patience_ms?: number) => {
        leave();
        await process.stop(patience_ms);
      };
      return { process, port, stop };
    },
    async finished() {
      if (!on_server) return undefined;
      const [row] = await setup.database.sql<{ due: boolean }[]>`
        select exists (select from pending_deliveries where due_at <= now()) as due`;
      return row?.due === false;
    },
    attempts: () => withSql((sql) => readAttempts(sql, ATTEMPTS)),
  };
}

// While the daemon is stopped, its directory is opened the way it does it.
async function withEmbedded<T>(directory: string, use: (sql: Sql) => Promise<T>): Promise<T> {
  const db = await openDatabase({ database: { kind: "embedded", directory } });
  try {
    return await use(db.admin);
  } finally {
    await db.close();
  }
}

/** A server's database, opened the way the daemon does it. */
export function openServer(url: string) {
  const around = { directory: "/", env: () => undefined, production: false };
  const address = readDatabaseUrl(url, around);
  return openDatabase({ database: { kind: "server", address, connect_timeout_ms: 60_000 } });
}

// Ids as the daemon makes them: in the order of time, all of one week, the event's last 32 bits free for the endpoint.
const UUID = (number: string, last = "'00000000'") =>
  `('0190' || lpad(to_hex(${number} / 65536), 4, '0') || lpad(to_hex(${number} % 65536), 4, '0') ||
    '700080000000' || ${last})::uuid`;

/** Stores a backlog, in portions so that it works embedded too. */
export async function load(sql: Sql, backlog: Backlog): Promise<void> {
  const { first, events, endpoints: [from, to], shape, later } = backlog;
  const width = to - from;
  const portion = shape === "fan" ? 2_000 : 20_000;
  const business = shape === "spread"
    ? `'bus_' || (${from} + (n - ${first}) % ${width})`
    : "'bus_any'";
  const owed = shape === "spread"
    ? `e.id = 'e' || (${from} + (n - ${first}) % ${width})`
    : `substr(e.id, 2)::int between ${from} and ${to - 1}`;
  const due = later === "half"
    ? "case when n % 2 = 0 then now() else now() + interval '1 hour' end"
    : "now()";
  await sql.unsafe(`select make_partitions(${UUID("0")})`);
  for (let at = first; at < first + events; at += portion) {
    const numbers = `generate_series(${at}, ${Math.min(at + portion, first + events) - 1}) n`;
    await sql.unsafe(`
      insert into events (id, type, business, subject, confirmation, received_at, payload)
      select ${UUID("n")}, 'booking.created', ${business}, 'apt_789', 'BK7X9M2P', now(),
        ${quote(BODY_PARTS.before)} || ${business} || ${quote(BODY_PARTS.middle)} ||
        lpad(n::text, ${NUMBER_DIGITS}, '0') || ${quote(BODY_PARTS.after)}
      from ${numbers}`);
    await sql.unsafe(`
      insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
      select ${UUID("n", "lpad(to_hex(e.no), 8, '0')")}, ${UUID("n")}, e.no, now(),
        ${due} - interval '10 minutes' + n * interval '100 us'
      from ${numbers} join endpoints e on ${owed}
      order by n, e.no`);
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

const ATTEMPTS = `
  select substr(n.id, 2)::int as endpoint, string_agg(x.number::text, ',' order by x.number) as numbers
  from (
    select a.endpoint_no,
      substr(e.payload, length(e.payload) - 10, ${NUMBER_DIGITS})::int as number
    from attempts_all a
    join events e on e.id = event_of(a.delivery_id)
  ) x
  join endpoints n on n.no = x.endpoint_no
  group by n.id`;
