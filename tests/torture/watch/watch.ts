import type { Sql } from "postgres";
import { eventId } from "../../../lib/core/ids.ts";
import { stopJudging } from "../../support/alerts.ts";
import { until } from "../../support/wait.ts";
import { originOf } from "../client.ts";
import type { Violation } from "../ledger.ts";
import type { Random } from "../random.ts";
import type { Receiver } from "../receivers.ts";
import { changeSchema } from "../rows.ts";
import {
  type Chat,
  freeNotices,
  isTold,
  readAlarms,
  startChat,
  startLeaving,
  unannounced,
  WRITE_NOTICES,
} from "./alarms.ts";
import { ask, type Asking, Unanswered } from "./browser.ts";
import { type Known, readErasures, startErasing, unerased } from "./erasing.ts";
import { openOnlookers, type Shown } from "./onlookers.ts";
import type { Watched } from "./watched.ts";
import { type Made, makeWeeks, readWeeks, startContest, undropped, WRITE_DROPS } from "./weeks.ts";

/** An event that was acknowledged. */
export interface Posted extends Known {
  readonly business: string;
  /** A text that is in its payload and in the answers to its deliveries, and nowhere else. */
  readonly mark: string;
}

/** All that goes on besides deliveries: onlookers, alerts, erasures, and weeks that become old. */
export interface Watch {
  /** Members of every daemon's configuration. */
  readonly sections: Readonly<Record<string, unknown>>;
  /** Makes old weeks and begins to write changes down, once the schema is there. */
  prepare(): Promise<void>;
  start(): void;
  /** Ends what it does to daemons, and waits until all of that has come to its end. */
  settle(within_ms: number): Promise<void>;
  /** Goes through all pages once more, then nobody looks any more. */
  leave(within_ms: number): Promise<void>;
  /** Ends leases of notices: see `freeNotices`. */
  free(holders: readonly string[], age_ms: number | null): Promise<void>;
  /** Deliveries that were cancelled long ago, and may have been retried, or purged. */
  readonly by_hand: ReadonlySet<string>;
  read(): Promise<Watched>;
  close(): Promise<void>;
}

export interface WatchOptions {
  readonly sql: Sql;
  readonly random: Random;
  readonly daemons: readonly Shown[];
  readonly posted: () => readonly Posted[];
  /** Of the endpoint `leaver`. */
  readonly receiver: Receiver;
  readonly token: string;
  /** What no answer may have, besides. */
  readonly secrets: readonly string[];
  /** Whether daemons look for old weeks every few seconds. */
  readonly is_hasty: boolean;
  /** Endpoints that fail to the end. */
  readonly failing: () => readonly string[];
  /** Endpoints that may be retired. */
  readonly retirable: () => readonly string[];
  readonly find: (violation: Violation) => void;
}

/** Ids of the latest events that onlookers ask for. */
const LATEST = 50;

/** Opens it; nothing happens before it is started. */
export async function openWatch(options: WatchOptions): Promise<Watch> {
  const { sql, random, daemons, posted, receiver, token, find, failing } = options;
  const chat: Chat = await startChat(random.fork("chat"), receiver.hostname);
  const parts = random.fork("watch");
  const links = new Map<string, string>();
  let weeks: readonly Made[] = [];

  const call = async (path: string, asking: Asking = {}) => {
    const url = originOf(parts.pick(daemons)) + path;
    const headers = { authorization: `Bearer ${token}`, ...asking.headers };
    return await ask(url, { ...asking, headers }).catch(() => undefined);
  };
  const post = (path: string, body: unknown) =>
    call(path, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
  const statusOf = async (path: string, asking?: Asking) => (await call(path, asking))?.status;

  async function linkOf(business: string): Promise<string> {
    const answer = await post("/api/portal-links", { business, read_only: true });
    if (answer?.status !== 201) throw new Unanswered(`There is no link for ${business}`);
    const { token: link } = JSON.parse(answer.text);
    links.set(business, link);
    return link;
  }

  const onlookers = openOnlookers({
    daemons: () => daemons,
    random: random.fork("onlookers"),
    token,
    get secrets() {
      return [token, ...options.secrets, ...links.values()];
    },
    linkOf,
    eventsOf: (business, is_own) =>
      posted().slice(-LATEST).filter((one) => (one.business === business) === is_own)
        .map(({ event_id }) => eventId(event_id)),
    retirable: options.retirable,
    find,
  });
  const leaving = startLeaving(sql, receiver, random.fork("leaving"), statusOf);
  const erasing = startErasing(random.fork("erasing"), posted, async (body) => {
    const answer = await post("/api/erasures", body);
    if (answer?.status === 201) return JSON.parse(answer.text);
    if (answer !== undefined && answer.status !== 503 && answer.status !== 504) {
      const text = `an erasure was answered with ${answer.status}: ${answer.text.slice(0, 200)}`;
      find({ invariant: "J", text });
    }
    return undefined;
  });
  const contest = startContest(
    sql,
    () => weeks,
    random.fork("contest"),
    (path) => statusOf(path, { method: "POST" }),
  );
  const doers = [leaving, erasing, contest];

  return {
    sections: {
      encryption_key: "file:./encryption.key",
      alerts: {
        failure_rate: 0.5,
        window: "1m",
        min_attempts: 5,
        to: ["watcher"],
        chat: [{ kind: "slack", url: chat.url }],
      },
    },
    async prepare() {
      const app = await sql.reserve();
      try {
        await app`set role app`;
        weeks = await makeWeeks(app, random.fork("weeks"));
      } finally {
        await app`reset role`;
        app.release();
      }
      await changeSchema(sql, WRITE_NOTICES + WRITE_DROPS);
    },
    start() {
      onlookers.start();
      for (const doer of doers) doer.on = true;
    },
    async settle(within_ms) {
      for (const doer of doers) doer.on = false;
      const [is_acknowledged] = await Promise.all([erasing.stop(within_ms), contest.stop()]);
      if (!is_acknowledged) find({ invariant: "J", text: "an erasure is never acknowledged" });
      const comes = (
        invariant: Violation["invariant"],
        what: string,
        is: () => Promise<boolean>,
      ) => comesTo(find, invariant, what, within_ms, is);
      await Promise.all([
        comes("J", "all erasures have ended", async () => await unerased(sql) === 0),
        comes(
          "K",
          "old weeks are dropped",
          async () => !options.is_hasty || await undropped(sql, weeks) === 0,
        ),
        comes("H", "alerts say who fails, and nobody else", () => isTold(sql, failing())),
      ]);
    },
    async leave(within_ms) {
      await onlookers.look();
      await onlookers.stop();
      await leaving.stop();
      await stopJudging(sql);
      await comesTo(
        find,
        "H",
        "all notices are announced",
        within_ms,
        async () => await unannounced(sql) === 0,
      );
    },
    free: (holders, age_ms) => freeNotices(sql, holders, age_ms),
    get by_hand() {
      const cancelled = weeks.filter(({ kind }) => kind !== "owed");
      return new Set(cancelled.flatMap(({ deliveries }) => deliveries.map(({ id }) => id)));
    },
    async read() {
      const rows = await sql<{ id: string; business: string | null }[]>`
        select id, business from events`;
      const marks = posted().map(({ event_id, mark }) => ({ event_id, mark }));
      await sql`create table torture.marks (event_id uuid not null, mark text not null)`;
      await sql`
        insert into torture.marks select * from jsonb_to_recordset(${
        JSON.stringify(marks)
      }::text::jsonb) as m (event_id uuid, mark text)`;
      return {
        ...await readAlarms(sql),
        ...await readErasures(sql, erasing.asked),
        ...await readWeeks(sql, weeks, contest, options.is_hasty),
        chats: chat.seen,
        failing: failing(),
        readers: onlookers.readers,
        owners: new Map(rows.map(({ id, business }) => [eventId(id), business])),
      };
    },
    async close() {
      await Promise.all([leaving.stop(), erasing.stop(0), contest.stop()]);
      await onlookers.stop();
      await chat.close();
    },
  };
}

/** Waits for something that must come; else it is found. */
async function comesTo(
  find: WatchOptions["find"],
  invariant: Violation["invariant"],
  what: string,
  within_ms: number,
  is: () => Promise<boolean>,
): Promise<void> {
  await until(what, is, within_ms).catch(() => find({ invariant, text: `never: ${what}` }));
}
