import assert from "node:assert/strict";
import type { Sql } from "postgres";
import { type PutAlert, putAlert, stopJudging } from "./alerts.ts";
import { ENCRYPTION_KEY } from "./checked.ts";
import { ADMIN, endpoint, startDaemon, type TestDaemon, VIEWER } from "./daemon.ts";
import { server } from "./databases.ts";
import { connectTo } from "./postgres.ts";
import { type Answer, type Received, type Receiver, startReceiver } from "./receiver.ts";
import { type TravelDatabase, travelDatabase } from "./travel.ts";
import { until } from "./wait.ts";

/*
 * A house for looking at: a day of an installation in which something of everything happened, and one of a
 * business in it. All of it went through the daemon, with the database's clock put forward between. Only the
 * names of the receivers are not real: these listen on loopback, so their URLs are changed at the end.
 */

/** What pages can be opened at. */
export interface DashboardHouse extends AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly database: TravelDatabase;
  /** Of the house's database. */
  readonly sql: Sql;
  readonly receiver: Receiver;
  /** Ids of endpoints, by description, and `ledger` and `warehouse`, which are the file's. */
  readonly endpoints: Readonly<Record<string, string>>;
  /** Ids of deliveries, one of each kind. */
  readonly deliveries: {
    readonly failed: string;
    readonly waiting: string;
    readonly delivered: string;
    readonly retried: string;
    readonly paused: string;
    readonly cancelled: string;
    readonly tested: string;
    readonly erased: string;
    readonly arrived: string;
    readonly missing: string;
  };
  readonly events: { readonly posted: string; readonly erased: string; readonly tested: string };
  readonly replays: { readonly done: string; readonly running: string };
  /** Tokens of portal links: of a business with endpoints, and one without. */
  readonly portal: { readonly bella: string; readonly empty: string };
  /** Takes the database away, until `reconnect`. */
  cutOff(): Promise<void>;
  reconnect(): Promise<void>;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** It ends here by the database's clock: a Thursday, 15:31 in Vienna. */
export const HOUSE_NOW = Date.parse("2026-11-26T14:31:00Z");

const BELLA = { id: "bus_123", name: "Bella Hair Salon", slug: "bella-hair-salon" };
const NORD = { id: "bus_204", name: "Studio Nord", slug: "studio-nord" };
const SERVICES = ["Haircut & Style", "Beard Trim", "Hair Color", "Cut & Colour", "Blow-dry"];
const CUSTOMERS = [
  "Mara Lindqvist",
  "John Doe",
  "Anna Gruber",
  "Søren Ødegård",
  "李小龙",
  "Zoë Dubois",
];

/** Bookings in each of the 24 hours before the last one. */
const HOURLY = [
  14,
  16,
  18,
  20,
  17,
  12,
  8,
  4,
  2,
  1,
  1,
  1,
  1,
  2,
  3,
  5,
  9,
  12,
  15,
  17,
  18,
  16,
  15,
  16,
];

/** How receivers are at the moment. */
interface Weather {
  crm: "well" | "other secret";
  loyalty: "well" | "shaky";
  /** Requests to it while it was shaky: it refuses every third, whatever else is sent meanwhile. */
  loyalty_asked: number;
  ledger: "well" | "broken";
  till: "well" | "down";
}

/** Builds it, in about half a minute. */
export async function buildDashboardHouse(): Promise<DashboardHouse> {
  const database = await travelDatabase(server);
  const sql = connectTo(database.url.split("?")[0] ?? "");
  const weather: Weather = {
    crm: "well",
    loyalty: "well",
    loyalty_asked: 0,
    ledger: "well",
    till: "well",
  };
  const receiver = await startReceiver((request) => answer(weather, request));
  let daemon: TestDaemon | undefined;
  const close = async () => {
    await daemon?.[Symbol.asyncDispose]();
    await receiver[Symbol.asyncDispose]();
    await sql.end();
    await database.drop();
  };
  try {
    await database.forward(HOUSE_NOW - Date.now() - 26 * HOUR);
    daemon = await startDaemon({
      database: { url: database.url },
      encryption_key: ENCRYPTION_KEY,
      admin: {
        tokens: [
          { name: "anna", token: ADMIN, role: "admin" },
          { name: "wallboard", token: VIEWER, role: "viewer" },
        ],
      },
      alerts: {
        chat: [{ kind: "slack", url: `${receiver.url}/slack` }],
        mail: { smtp: "smtp://127.0.0.1:9", from: "hooks@example.com", to: ["ops@example.com"] },
      },
      events: [{ name: "booking.moved", description: "A booking is moved to another time." }],
      endpoints: [
        endpoint("ledger", `${receiver.url}/ledger`, {
          events: ["booking.completed", "booking.cancelled", "booking.created"],
          retry: ["0s", "1m", "5m"],
        }),
        endpoint("warehouse", `${receiver.url}/warehouse`, { events: ["booking.*", "service.*"] }),
      ],
    });
    // What is open is put there in the end: otherwise it would depend on when the job has its turn.
    await stopJudging(sql);
    const live = makeLiving(daemon, database, receiver, weather);
    const lived = await liveThrough(live);
    await rename(sql, live.ids);
    await stopClock(sql);
    await alarm(sql, lived);
    return {
      ...lived,
      daemon,
      database,
      sql,
      receiver,
      cutOff: () => admit(database, false),
      async reconnect() {
        await admit(database, true);
        await until("it is ready again", () => isReady(live.daemon));
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function answer(weather: Weather, { path, body }: Received): Answer {
  const json = (status: number, value: unknown) => ({
    status,
    headers: { "Content-Type": "application/json", Server: "nginx" },
    body: JSON.stringify(value),
  });
  const refused = json(401, { error: "invalid signature", key: "k-2025-03" });
  if (path === "/crm") {
    return weather.crm === "well" ? json(200, { ok: true }) : refused;
  }
  if (path === "/loyalty" && weather.loyalty === "shaky" && ++weather.loyalty_asked % 3 === 0) {
    return { status: 503, headers: { "Retry-After": "60" }, body: "upstream connect error" };
  }
  if (path === "/ledger" && weather.ledger === "broken") {
    const page = `<html><body><h1>500</h1><p>ledger: ${body.length} bytes</p></body></html>`;
    return { status: 500, headers: { "Content-Type": "text/html" }, body: page };
  }
  if (path === "/till" && weather.till === "down") return "reset";
  return json(200, { received: true });
}

/** A daemon whose clock is put forward while things happen. */
type Living = ReturnType<typeof makeLiving>;

function makeLiving(
  daemon: TestDaemon,
  database: TravelDatabase,
  receiver: Receiver,
  weather: Weather,
) {
  const ids: Record<string, string> = { ledger: "ledger", warehouse: "warehouse" };
  let made = 0;
  // deno-lint-ignore no-explicit-any
  const ask = async (method: string, path: string, body: unknown = {}): Promise<any> => {
    const response = await fetch(`${daemon.url}/api/${path}`, {
      method,
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
      ...(method === "GET" ? {} : { body: JSON.stringify(body) }),
    });
    const answered = await response.json();
    assert.ok(response.ok, `${method} ${path}: ${JSON.stringify(answered)}`);
    return answered;
  };
  const now = async (): Promise<number> => {
    const { ms } = await database.row("select (extract(epoch from now()) * 1000)::float8 as ms");
    return ms;
  };
  const settle = async () => {
    await until("all that is due was sent", async () => {
      const { open } = await database.row(`
        select count(*)::int as open from pending_deliveries p join endpoints n on n.no = p.endpoint_no
        where n.paused_at is null and p.due_at <= now()`);
      return open === 0;
    });
  };
  const post = async (events: unknown): Promise<string | undefined> => {
    const { status, body } = await daemon.post(events);
    assert.equal(status, 202, JSON.stringify(body));
    return body.id;
  };
  return {
    daemon,
    weather,
    ids,
    /** Calls the API as an operator. */
    ask,
    now,
    settle,
    async make(name: string, path: string, events: string[], more: Record<string, unknown> = {}) {
      const url = `${receiver.url}/${path}`;
      const { id } = await ask("POST", "endpoints", { url, events, description: name, ...more });
      ids[name] = id;
    },
    /** What is due is sent, and the clock put forward. */
    async pass(by_ms: number): Promise<void> {
      await settle();
      await database.forward(by_ms);
      await settle();
    },
    /** Posts as many events as that, of all types, for both businesses. */
    async bookings(count: number): Promise<void> {
      const at = await now();
      await post(Array.from({ length: count }, () => event(++made, at)));
    },
    /** Posts a new booking at the business, by its number. */
    async book(id: string, confirmationNumber: string): Promise<string> {
      const timestamp = textOf(await now());
      return await post(booking({ id, confirmationNumber, nth: 1, timestamp })) ?? "";
    },
    delivery: (event: string, name: string) => daemon.deliveryId(event, ids[name]),
  };
}

/** As BookMe writes times. */
function textOf(time: number): string {
  return new Date(time).toISOString().replace(/\.\d+/, "");
}

function event(nth: number, now: number): unknown {
  const timestamp = textOf(now);
  const id = `apt_${51_000 + nth - nth % 4}`;
  const confirmationNumber = confirmation(nth - nth % 4);
  switch (nth % 4) {
    case 1:
      return booking({ id, confirmationNumber, nth, timestamp });
    case 2:
      return change("booking.confirmed", timestamp, {
        id,
        confirmationNumber,
        status: "confirmed",
      });
    case 3:
      return nth % 3 === 0
        ? change("booking.cancelled", timestamp, {
          id,
          confirmationNumber,
          status: "cancelled",
          cancelledBy: "customer",
          cancellationReason: "Customer request",
        })
        : change("booking.completed", timestamp, { id, confirmationNumber, status: "completed" });
    default:
      return nth % 5 === 0
        ? {
          event: "service.updated",
          timestamp,
          data: {
            service: { id: "svc_789", businessId: BELLA.id, updatedFields: ["price"] },
          },
        }
        : booking({ id: `${id}b`, confirmationNumber: confirmation(nth), nth, timestamp });
  }
}

function change(event: string, timestamp: string, appointment: Record<string, unknown>): unknown {
  return { event, timestamp, data: { appointment } };
}

function booking(
  { id, confirmationNumber, nth, timestamp }: {
    id: string;
    confirmationNumber: string;
    nth: number;
    timestamp: string;
  },
): unknown {
  const name = CUSTOMERS[nth % CUSTOMERS.length] ?? "";
  return {
    event: "booking.created",
    timestamp,
    data: {
      appointment: {
        id,
        confirmationNumber,
        business: nth % 3 === 0 ? NORD : BELLA,
        service: {
          id: "svc_981",
          name: SERVICES[nth % SERVICES.length],
          duration: 90,
          price: 11_900,
        },
        customer: { name, email: `c${nth}@example.net`, phone: "+43-660-555-0148" },
        appointmentDate: "2026-12-02",
        startTime: "09:30",
        endTime: "11:00",
        status: "pending",
        notes: nth % 5 === 0 ? "Allergic to ammonia" : "",
        createdAt: timestamp,
      },
    },
  };
}

/** Like BK7X9M2P, and the same each time. */
function confirmation(nth: number): string {
  const letters = "ABCDEFGHJKMNPQRSTUVWXYZ23456789";
  let text = "";
  for (let at = 0, rest = (nth * 48_271) % 2_147_483_647; at < 6; at++) {
    text += letters[rest % letters.length];
    rest = (rest * 16_807 + at) % 2_147_483_647;
  }
  return `BK${text}`;
}

type Lived = Pick<DashboardHouse, "endpoints" | "deliveries" | "events" | "replays" | "portal">;

async function liveThrough(live: Living): Promise<Lived> {
  await moveIn(live);
  const cancelling = await theDay(live);
  const erased = await erase(live);
  const last = await theLastHours(live);
  const { replays, portal, tested } = await finish(live);
  const missing = await live.delivery(last.till, "Till");
  return {
    endpoints: live.ids,
    deliveries: {
      failed: await live.delivery(last.first_refused, "crm"),
      waiting: await live.delivery(last.last_refused, "crm"),
      delivered: await live.delivery(last.first_refused, "calendar-sync"),
      retried: await live.delivery(cancelling.retried, "ledger"),
      paused: await live.delivery(last.first_refused, "waitlist"),
      cancelled: cancelling.cancelled,
      tested: tested.delivery,
      erased: erased.delivery,
      arrived: await live.delivery(last.first_refused, "Website"),
      missing,
    },
    events: { posted: last.first_refused, erased: erased.event, tested: tested.event },
    replays,
    portal,
  };
}

async function moveIn(live: Living): Promise<void> {
  const bookings = ["booking.*"];
  await live.make("crm", "crm", bookings, {
    retry_ms: [0, MINUTE, 5 * MINUTE, 15 * MINUTE, 20 * MINUTE, 20 * MINUTE, 15 * MINUTE],
    headers: { "X-Tenant": "bella" },
  });
  await live.make("loyalty", "loyalty", ["booking.created", "booking.completed"]);
  await live.make("waitlist", "waitlist", ["booking.cancelled", "booking.created"]);
  await live.make("calendar-sync", "calendar", bookings);
  await live.make("sms-reminders", "sms", ["booking.created", "booking.confirmed"]);
  await live.make("ops-alerts", "ops", ["business.created"]);
  await live.make("old-newsletter", "old", ["booking.created"]);
  const businesses = [BELLA.id];
  await live.make("Website", "website", ["booking.*"], { businesses });
  await live.make("Till", "till", ["booking.created", "booking.completed"], {
    businesses,
    retry_ms: [0, MINUTE, 30 * MINUTE],
  });
  await live.make("Newsletter", "newsletter", ["booking.created"], { businesses });
}

async function theDay(live: Living): Promise<{ retried: string; cancelled: string }> {
  let retried = "";
  let cancelled = "";
  for (const [hour, count] of HOURLY.entries()) {
    if (hour === 3) live.weather.ledger = "broken";
    await live.bookings(count);
    if (hour === 3) retried = await live.book("apt_49003", "BK3R8D1L");
    await live.pass(4 * MINUTE);
    live.weather.ledger = "well";
    if (hour === 5) {
      await live.ask("PATCH", `endpoints/${live.ids.loyalty}`, { timeout_ms: 20_000 });
    }
    if (hour === 9) {
      const reason = "their maintenance, until Monday";
      await live.ask("POST", `endpoints/${live.ids.waitlist}/pause`, { reason });
    }
    if (hour === 18) {
      await live.ask("POST", `endpoints/${live.ids["old-newsletter"]}/pause`, {
        reason: "replaced",
      });
      cancelled = await live.book("apt_49002", "BK9C2W7H");
      await live.ask("DELETE", `endpoints/${live.ids["old-newsletter"]}`);
    }
    if (hour === 19) live.weather.loyalty = "shaky";
    await live.pass(56 * MINUTE);
  }
  return { retried, cancelled: await live.delivery(cancelled, "old-newsletter") };
}

/** The data of one customer. */
async function erase(live: Living): Promise<{ event: string; delivery: string }> {
  const event = await live.book("apt_49001", "BK5E0T4Y");
  await live.settle();
  const delivery = await live.delivery(event, "calendar-sync");
  await live.ask("POST", "erasures", { subject: "apt_49001" });
  await until("it is erased", async () => {
    const { erased_at } = await live.ask("GET", `events/${event}`);
    return erased_at !== null;
  });
  return { event, delivery };
}

/** Since half past one: crm has a secret that it does not know, and a till is down. */
async function theLastHours(live: Living) {
  const left = HOUSE_NOW - 95 * MINUTE - await live.now();
  assert.ok(left > 0, `${left}`);
  await live.pass(left);
  await live.ask("POST", `endpoints/${live.ids.crm}/rotate`, { overlap: "24h" });
  live.weather.crm = "other secret";
  live.weather.till = "down";
  await live.pass(3 * MINUTE);
  const first_refused = await live.book("apt_51877", "BK4T8Q1Z");
  // A little more than the waits of crm, which vary.
  for (const minutes of [1, 5, 15, 20, 20, 15]) {
    await live.pass(1.11 * minutes * MINUTE + 2_000);
    await live.bookings(6);
  }
  await live.settle();
  const last_refused = await live.book("apt_51999", "BK7X9M2P");
  live.weather.till = "well";
  await live.pass(MINUTE + 2_000);
  return { first_refused, last_refused, till: first_refused };
}

async function finish(live: Living) {
  const { id: done } = await live.ask("POST", "replays", {
    endpoint: "ledger",
    since: "2026-11-25T12:00:00Z",
    status: "failed",
  });
  const tested = await live.ask("POST", `endpoints/${live.ids["calendar-sync"]}/test`, {
    event: "booking.created",
  });
  const { id: running } = await live.ask("POST", "replays", {
    endpoint: live.ids["calendar-sync"],
    since: "2026-11-25T12:00:00Z",
    status: "delivered",
    rate: "1/m",
  });
  const { token: bella } = await live.ask("POST", "portal-links", {
    business: BELLA.id,
    expires_in: "7d",
  });
  const { token: empty } = await live.ask("POST", "portal-links", { business: "bus_900" });
  await live.pass(Math.max(0, HOUSE_NOW - await live.now()));
  return {
    replays: { done, running },
    portal: { bella, empty },
    tested: { event: tested.event_id, delivery: tested.delivery.id },
  };
}

/** From now on it is always the same time: pages look the same, and nothing happens by itself. */
async function stopClock(sql: Sql): Promise<void> {
  const now = new Date(HOUSE_NOW).toISOString();
  await sql.unsafe(`
    create or replace function travel.now() returns timestamptz language sql stable
      return timestamptz '${now}'`);
}

/** Open, acknowledged, snoozed and ended alerts, of the operator and of the business. */
async function alarm(sql: Sql, { endpoints, deliveries }: Lived): Promise<void> {
  const of = (name: string) => endpoints[name] ?? assert.fail(name);
  const ahead = (minutes: number) => HOUSE_NOW + minutes * MINUTE;
  const window_ms = 15 * MINUTE;
  const told = { slack: true, mail: true };
  const put: readonly PutAlert[] = [
    { kind: "ingest_silent", began: 1_260, ended: { ago: 1_210, reason: "cleared" }, told },
    {
      kind: "endpoint_failing",
      endpoint: "ledger",
      began: 1_265,
      ended: { ago: 1_240, reason: "delivered" },
    },
    {
      kind: "endpoint_gone",
      endpoint: of("loyalty"),
      began: 900,
      ended: { ago: 840, reason: "resumed" },
    },
    {
      kind: "certificate_ending",
      endpoint: of("sms-reminders"),
      began: 540,
      details: { certificate_ends_at: ahead(9 * 24 * 60) },
      acknowledged_by: "anna",
      told,
    },
    {
      kind: "disk_low",
      subject: "hooks-2",
      began: 300,
      details: { free_bytes: 734_003_200, min_free_bytes: 536_870_912 },
      snoozed: 420,
      told,
    },
    {
      kind: "endpoint_failing",
      endpoint: of("crm"),
      began: 92,
      details: {
        window_ms,
        attempts: 24,
        failed: 24,
        reason: "http_4xx",
        code: 401,
        waiting: 31,
        exhausted_at: ahead(12),
        example_delivery_id: deliveries.failed,
      },
      told: { slack: true, mail: false },
    },
    {
      kind: "endpoint_failing",
      endpoint: of("Till"),
      began: 92,
      ended: { ago: 2, reason: "delivered" },
      details: { attempts: 14, failed: 14, reason: "connection" },
      told,
    },
    {
      kind: "check_failing",
      endpoint: of("Newsletter"),
      began: 74,
      acknowledged_by: "anna",
      told: { ...told, "business-mail": true },
    },
    {
      kind: "certificate_ending",
      endpoint: of("Website"),
      began: 41,
      details: { certificate_ends_at: ahead(9 * 24 * 60) },
      told: { ...told, "business-mail": true },
    },
  ];
  for (const alert of put) await putAlert(sql, alert);
}

async function isReady(daemon: TestDaemon): Promise<boolean> {
  const response = await fetch(`${daemon.url}/readyz`);
  await response.body?.cancel();
  return response.ok;
}

/** Lets nobody connect to the database, who loses their connections, or lets everybody in again. */
async function admit(database: TravelDatabase, is_open: boolean): Promise<void> {
  const name = new URL(database.url).pathname.slice(1);
  await using sql = connectTo(server.url("postgres"));
  await sql.unsafe(`alter database ${name} allow_connections ${is_open}`);
  if (!is_open) {
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${name}`;
  }
}

/** Where receivers would be, instead of on loopback; and the endpoints of the business become its own. */
async function rename(sql: Sql, ids: Readonly<Record<string, string>>): Promise<void> {
  const urls: Record<string, string> = {
    crm: "https://crm.example.com/webhooks/bookme",
    loyalty: "https://points.loyalty.example/hooks",
    waitlist: "https://waitlist.example.net/in",
    ledger: "https://api.ledger.example/v2/bookings",
    warehouse: "http://10.4.0.17/bookme",
    "calendar-sync": "https://sync.calendar.example/webhooks/bookme",
    "sms-reminders": "https://in.sms-gateway.example/bookme",
    "ops-alerts": "https://chat.example.com/hooks/T024BE7LD",
    Website: "https://bellahair.example/wp-json/bookme/v1/webhook",
    Till: "https://sync.till.example/bookme",
    Newsletter: "https://in.newsletter.example/hooks/bella",
  };
  for (const [name, url] of Object.entries(urls)) {
    const [row] = await sql<{ no: number }[]>`
      update endpoints set url = ${url} where id = ${ids[name] ?? ""} returning no`;
    assert.ok(row !== undefined, name);
    await sql`update endpoint_versions set url = ${url} where endpoint_no = ${row.no}`;
  }
  // As their handshakes would have shown; three are near their ends.
  const days =
    sql`case (endpoint_no * 7919) % 9 when 0 then 9 when 1 then 33 else 44 + endpoint_no * 7 end`;
  const address = sql`'203.0.113.' || (20 + endpoint_no) || ':443'`;
  for (const table of ["attempts", "ended_deliveries"]) {
    await sql`
      update ${sql(table)} set address = ${address},
        certificate_ends_at = to_timestamp(${HOUSE_NOW / 1000}) + ${days} * interval '1 day',
        dns_us = 1200 + waiting_us % 900, connect_us = 11300 + waiting_us % 3000,
        tls_us = 24200 + waiting_us % 5000, waiting_us = 30000 + waiting_us, connection_reused = false
      where waiting_us is not null`;
  }
  for (const name of ["Website", "Till", "Newsletter"]) {
    await sql`update endpoints set owner = ${BELLA.id} where id = ${ids[name] ?? ""}`;
  }
}
