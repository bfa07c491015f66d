import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { Sql } from "postgres";
import { deliveryUuid, firstUuidAt } from "../../lib/core/ids.ts";
import { bookmeValue, makeSigner, standardValue } from "../../lib/core/signature.ts";
import { NO_PHASES, type Outcome } from "../../lib/core/outcome.ts";
import type { Endings } from "../../lib/store/fragments.ts";
import { claim, type Claimed } from "../../lib/store/claims.ts";
import type { Database } from "../../lib/store/database.ts";
import { cancel } from "../../lib/store/deliveries.ts";
import { loadFleet } from "../../lib/store/endpoints.ts";
import { storeEvents } from "../../lib/store/events.ts";
import { attemptsOf } from "../../lib/store/reports/deliveries.ts";
import { type Owed, pendingStats } from "../../lib/store/reports/stats.ts";
import { record, type Result } from "../../lib/store/results.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { PLAIN_SETTINGS, storeEndpoints } from "../support/file.ts";
import { until } from "../support/wait.ts";

const EVENT = firstUuidAt(Date.UTC(2026, 10, 24));

/** Stores an event for one endpoint and claims its delivery. */
async function claimOne(db: Database): Promise<Claimed> {
  const fields = { url: "http://127.0.0.1:9/", events: ["*"], businesses: null };
  await storeEndpoints(db, [{ id: "a", ...fields, settings: PLAIN_SETTINGS }]);
  const { endpoints: [{ no } = { no: 0 }], revision } = await loadFleet(db.admin);
  const event = {
    uuid: EVENT,
    type: "booking.created",
    business: null,
    subject: null,
    confirmation: null,
    test: false,
    key: null,
    digest: null,
    trace: null,
    payload: "{}",
  };
  const delivery = { event_uuid: EVENT, endpoint_no: no, wait_ms: 0, leased: false };
  const deliveries = [{ ...delivery, uuid: deliveryUuid(EVENT, no) }];
  const term = { ms: 60_000, holder: 1 };
  assert.equal(await storeEvents(db, [event], deliveries, revision, term), "stored");
  const room = { endpoint_no: no, room: 1, max_attempts: 7, floor: "0" };
  const [claimed] = await claim(
    db.engine,
    [{ ...room, concurrency: null, interval_us: null }],
    term,
  );
  assert.ok(claimed !== undefined);
  return claimed;
}

const REFUSED: Outcome = {
  outcome: "http_5xx",
  status: 503,
  cause: "Answered 503",
  duration_ms: 20,
  phases: { dns_ms: 1.0009, connect_ms: 2, tls_ms: 3, waiting_ms: 4.5, reused: false },
  certificate_ends_at: Date.UTC(2027, 0, 2),
  retry_after_ms: null,
  address: "127.0.0.1:9",
  response: { head: "HTTP/1.1 503 No", body: Buffer.from([0, 1, 255]), truncated: true },
};

function result(
  lease: Claimed,
  verdict: "retry" | "failed",
  more: Partial<Result> = {},
): Result {
  const decision = verdict === "retry"
    ? { verdict, counts: true, wait_ms: 60_000 } as const
    : { verdict, counts: true } as const;
  const nothing = { sent: null, ended_at: 0, promise: 0 };
  return { lease, endpoint_version: 1, outcome: REFUSED, decision, ...nothing, ...more };
}

/** Numbers of attempts: those in rows of their own, and those in rows of ended deliveries. */
async function places(db: Database) {
  const [row] = await db.admin`
    select (select json_agg(number) from attempts) as apart,
      (select json_agg(attempts) from ended_deliveries where started_at is not null) as folded,
      (select json_agg(number order by number) from attempts_all) as "all"`;
  return { ...row };
}

onBoth("record() keeps every attempt as it was, wherever it puts it", async (database) => {
  await using db = await database.open();
  const lease = await claimOne(db);
  const body = Buffer.from("{}");
  const [first, second] = ["whsec_" + "a".repeat(32), "an old secret of 30 characters"].map(
    makeSigner,
  );
  assert.ok(first !== undefined && second !== undefined);
  const signature = first.bookme(body);
  const webhook_signature = [first, second].map((s) => s.standard("evt_1", 7, body)).join(" ");
  const sent = { timestamp_s: 7, signature, webhook_signature };
  const shown = async () => {
    const rows = await attemptsOf(db.admin, "everything", lease.uuid);
    return rows.map((row) => ({
      number: row.number,
      outcome: row.outcome,
      status: row.status,
      cause: row.cause,
      address: row.address,
      duration_ms: row.duration_ms,
      phases: [row.dns_ms, row.connect_ms, row.tls_ms, row.waiting_ms, row.connection_reused],
      certificate_ends_at: row.certificate_ends_at?.toISOString(),
      timestamp_s: row.request_timestamp,
      signature: bookmeValue(row.request_signature),
      webhook_signature: standardValue(row.request_webhook_signature),
      head: row.response_head,
      body: row.response_body === null ? null : [...row.response_body],
      truncated: row.response_truncated,
    }));
  };
  const known = {
    outcome: "http_5xx",
    status: 503,
    cause: "Answered 503",
    address: "127.0.0.1:9",
    duration_ms: 20,
    phases: [1, 2, 3, 4.5, false],
    certificate_ends_at: "2027-01-02T00:00:00.000Z",
    head: "HTTP/1.1 503 No",
    body: [0, 1, 255],
    truncated: true,
  };
  const one = { ...known, number: 1, timestamp_s: "7", signature, webhook_signature };
  const two = {
    ...known,
    number: 2,
    timestamp_s: null,
    signature: "",
    webhook_signature: "",
    phases: [null, null, null, 2_147_483.647, true],
    certificate_ends_at: undefined,
  };
  await record(db.engine, [result(lease, "retry", { sent })], 0);
  assert.deepEqual(await shown(), [one]);
  assert.deepEqual(await places(db), { apart: [1], folded: null, all: [1] });
  await db.admin`update pending_deliveries set leased_until = now() + interval '1 minute'`;
  const again = { ...lease, attempts: 1, counted: 1 };
  // Of a machine that slept for a month.
  const phases = { ...NO_PHASES, waiting_ms: 30 * 86_400_000, reused: true };
  const outcome = { ...REFUSED, phases, certificate_ends_at: null };
  await record(db.engine, [result(again, "failed", { outcome })], 0);
  assert.deepEqual(await shown(), [one, two]);
  assert.deepEqual(await places(db), { apart: [1], folded: [2], all: [1, 2] });
});

onServer("a cancel that waited for record() takes its attempt along", async (database) => {
  await using db = await database.open();
  await using other = await database.open();
  const lease = await claimOne(db);
  const change = {
    actor: { name: "ops", address: null },
    action: "delivery.cancelled",
    object: "a delivery",
  };
  let cancelling: Promise<Endings> | undefined;
  await other.admin.begin(async (tx) => {
    await record(tx as unknown as Sql, [result(lease, "retry")], 0);
    cancelling = cancel(db.admin, lease.uuid, "By hand", change);
    await until("the cancel waits for the delivery's row", async () => {
      const [row] = await db.engine<{ waits: boolean }[]>`
        select exists (
          select from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'
        ) as waits`;
      return row?.waits;
    });
  });
  assert.deepEqual(await cancelling, {
    found: 1,
    ended: [{ endpoint_no: lease.endpoint_no, status: "cancelled", count: 1 }],
  });
  assert.deepEqual(await places(db), { apart: null, folded: [1], all: [1] });
});

onServer("a renewed delivery's age counts from its renewal", async (database) => {
  await using db = await database.open();
  const lease = await claimOne(db);
  await db.admin`update pending_deliveries
    set created_at = now() - interval '3 days', renewed_at = now() - interval '5 s'`;
  const [{ oldest_ms }] = await pendingStats(db.admin, "everything", undefined) as [Owed];
  assert.ok(oldest_ms !== null && oldest_ms >= 5_000 && oldest_ms < 3_600_000);
  await record(db.engine, [result(lease, "failed")], 0);
  const [{ age_ms } = { age_ms: 0 }] = await db.admin<{ age_ms: number }[]>`
    select ages_ms[1] as age_ms from uncounted_attempts`;
  assert.ok(age_ms >= 5_000 && age_ms < 3_600_000, `${age_ms} ms is not since the renewal`);
  // Lists and filters go by the event's time.
  const [ended] = await db.admin`
    select created_at < now() - interval '2 days' as is_old from ended_deliveries`;
  assert.equal(ended?.["is_old"], true);
});
