/**
 * The part of the ledger that is not about deliveries: alerts and their notices, what onlookers were shown, erasures,
 * and old weeks. Times are milliseconds since 1970. Ids are UUIDs, but for those in answers, which are public.
 */
export interface Watched {
  readonly alerts: readonly AlertRow[];
  readonly notices: readonly NoticeRow[];
  /** Every change to a notice, in order. */
  readonly notice_changes: readonly NoticeChange[];
  /** Announcements that the chat got. */
  readonly chats: readonly ChatSeen[];
  /** Operational events in the database. */
  readonly told: readonly ToldRow[];
  /** Endpoints that fail to the end: each must have an open alert. */
  readonly failing: readonly string[];
  readonly readers: readonly Reader[];
  /** Public ids of the events of each business. */
  readonly owners: ReadonlyMap<string, string | null>;
  readonly erasures: readonly ErasureRow[];
  /** What is left of erased events: the mark of one, and where it was found. */
  readonly traces: readonly { readonly event_id: string; readonly place: string }[];
  readonly weeks: readonly Week[];
  readonly drops: readonly Drop[];
}

export interface AlertRow {
  /** `alr_…` */
  readonly id: string;
  readonly kind: string;
  readonly subject: string;
  readonly opened_at: number;
  readonly ended_at: number | null;
  /** Announcements so far. */
  readonly occasions: number;
}

export interface NoticeRow {
  readonly no: string;
  readonly alert_id: string;
  readonly occasion: number;
  readonly what: "began" | "reminded" | "ended";
  readonly target: string;
  readonly attempts: number;
  readonly is_done: boolean;
  /** Given up, since a later one arrived first. */
  readonly is_outdated: boolean;
}

/** A change to a notice, as a trigger saw it. */
export interface NoticeChange {
  readonly no: string;
  /** `freed`: its lease was brought to an end from outside. */
  readonly what: "claimed" | "done" | "postponed" | "outdated" | "given_up" | "freed";
  /** Which process wrote it, `d1.4`. */
  readonly writer: string;
  /** When its transaction began. */
  readonly at: number;
  readonly leased_before: number | null;
}

export interface ChatSeen {
  readonly alert_id: string;
  readonly what: NoticeRow["what"];
  readonly at: number;
}

/** An operational event. */
export interface ToldRow {
  readonly alert_id: string;
  readonly what: NoticeRow["what"];
  readonly deliveries: number;
}

/** What one who sees a single business was shown. */
export interface Reader {
  readonly business: string;
  /** Ids of events in its answers. */
  readonly events: ReadonlySet<string>;
  /** By which ways it saw something of its own: `api`, `pages`, `stream`. */
  readonly ways: ReadonlySet<string>;
  /** What it must not see, and where it did. */
  readonly foreign: readonly string[];
}

/** The ways by which each reader must have seen something of its own. */
export const WAYS = ["api", "pages", "stream"] as const;

export interface ErasureRow {
  readonly id: string;
  /** Whether it was answered with 201; else it is not known what it looked for. */
  readonly is_acknowledged: boolean;
  readonly state: "running" | "done" | "failed";
  readonly ended_at: number | null;
  /** The events that it had to erase. */
  readonly event_ids: readonly string[];
}

/** A week of long ago, made before daemons were struck. */
export interface Week {
  /** Its first day, as partitions are named by it: `20260713`. */
  readonly name: string;
  /** Whether it had to be dropped by the end: nothing in it was owed, and it was closed from the beginning. */
  readonly must_go: boolean;
  /** What it owes, all of it at one endpoint. */
  readonly owed: readonly OldDelivery[];
}

export interface OldDelivery {
  readonly id: string;
  /** SHA-256 of its payload, hexadecimal. */
  readonly hash: string;
}

/** A partition that was dropped, as an event trigger saw it. */
export interface Drop {
  readonly partition: string;
  /** Deliveries of its week that were pending just then. */
  readonly pending: number;
  readonly at: number;
}
