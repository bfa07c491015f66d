import { Buffer } from "node:buffer";
import type { DatabaseAddress } from "../../core/database_address.ts";
import { type Conversation, errorFields, message } from "./conversation.ts";
import type { Settings } from "../cluster.ts";
import { failure } from "./failure.ts";
import { refusal, type Welcome } from "./handshake.ts";

/** PostgreSQL's own default; the address may name another one. */
const SEARCH_PATH = '"$user", public';

/** Settings that the program relies on, whatever server, database or role say. */
const OURS: Settings = {
  DateStyle: "ISO, MDY",
  IntervalStyle: "postgres",
  TimeZone: "UTC",
  timezone_abbreviations: "Default",
  bytea_output: "hex",
  extra_float_digits: 1,
  lc_numeric: "C",
  array_nulls: "on",
  transform_null_equals: "off",
  standard_conforming_strings: "on",
  client_min_messages: "warning",
  exit_on_error: "off",
  row_security: "on",
  default_transaction_isolation: "read committed",
  default_transaction_read_only: "off",
  default_transaction_deferrable: "off",
  lock_timeout: 0,
  idle_in_transaction_session_timeout: 0,
  idle_session_timeout: 0,
  transaction_timeout: 0,
  jit: "off",
};

/** A setting that is unknown to PostgreSQL, and therefore the session's alone. */
export const TOKEN_SETTING = "bookme_webhooks.session";

/** How a session is prepared. */
export interface Preparation {
  /** In addition to those that every session has. */
  readonly settings: Settings;
  /** The value of `TOKEN_SETTING` that is set. */
  readonly token: string;
  /** Whether a token belongs to another open session of this process. */
  readonly isTaken: (token: string) => boolean;
  /** The channel to listen on. */
  readonly channel?: string;
  /** Whether it runs many small statements. */
  readonly busy?: boolean;
}

/**
 * Prepares a session that has just started: settings, and whether it accepts writes and is not shared.
 * They are statements, because PgBouncer refuses most settings in the startup message. Rejects with a
 * `Failure`.
 */
export async function prepareSession(
  talk: Conversation,
  { version }: Welcome,
  address: DatabaseAddress,
  { settings, token, isTaken, channel, busy = false }: Preparation,
): Promise<void> {
  const { statement_timeout = 0, ...others } = settings;
  const { search_path = SEARCH_PATH, ...options } = address.options;
  const statements = [
    // Alone and first: a time of a millisecond must not end what follows.
    `set statement_timeout = ${statement_timeout}`,
    ...(version >= 17 ? ["set transaction_timeout = 0"] : []),
    setAll({ ...options, ...OURS, ...others, search_path }),
    ADJUST,
    CHECK,
    `select set_config('${TOKEN_SETTING}', '${token}', false)`,
    ...(channel === undefined ? [] : [`listen ${channel}`]),
    ...(busy ? [WARM_UP] : []),
  ];
  talk.send(...statements.map((statement) => message("Q", statement)));
  let refused: Error | undefined;
  let checked: readonly (string | null)[] = [];
  for (let at = 0; at < statements.length;) {
    const { type, body } = await talk.next();
    if (type === "E") {
      const error = refusal(errorFields(body), address);
      // FATAL: the server closes, and gives no further answer.
      if (/^(FATAL|PANIC)$/.test(errorFields(body).S ?? "")) throw error;
      if (statements[at] !== WARM_UP) refused ??= error;
    }
    if (type === "D" && statements[at] === CHECK) checked = columnsOf(body);
    if (type === "Z") at++;
  }
  const [read_only, in_recovery, found] = checked;
  if (in_recovery === "t") throw failure("25006", "is a standby, which accepts no writes");
  if (refused !== undefined) throw refused;
  if (read_only === "on") throw failure("25006", "is read-only");
  if (found != null && found !== "" && isTaken(found)) throw pooled();
}

/** The failure of a pooler that gives one session to several connections. */
export function pooled() {
  return failure(
    "POOLED",
    "is a pooler that shares sessions between connections; set its pool_mode to session for this " +
      "database, or connect to PostgreSQL itself",
    true,
  );
}

// One statement for all that the server knows, quoted by PostgreSQL's rules for standard strings.
function setAll(settings: Settings): string {
  const rows = Object.entries(settings).map(([name, value]) =>
    `(${literal(name)}, ${literal(String(value))})`
  );
  return `select pg_catalog.set_config(name, value, false) from (values ${rows.join(", ")})
    wanted (name, value) where pg_catalog.current_setting(name, true) is not null`;
}

function literal(text: string): string {
  // E'' reads the same whatever standard_conforming_strings was.
  return `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}

// A commit that is acknowledged must be on disk, also on the synchronous standbys; remote_apply asks for
// more and stays. A session that plays a replica skips foreign keys; only superusers may change that.
const ADJUST = `select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit') <> 'remote_apply'
  union all select set_config('session_replication_role', 'origin', false)
    where current_setting('session_replication_role') <> 'origin'`;

const CHECK = `select current_setting('transaction_read_only'), pg_is_in_recovery(),
    current_setting('${TOKEN_SETTING}', true)`;

// glibc gives a backend's memory back to the system after each small statement, and a page fetched again
// costs more than a row. Having freed one large piece it keeps up to twice as much. Without it a session
// works as well, only slower; 30 MB would do no better. The inner piece is there because repeating one character four
// million times takes seven times as long, before the first event.
const WARM_UP =
  "select pg_catalog.octet_length(pg_catalog.repeat(pg_catalog.repeat('x', 2000), 2000))";

// The columns of a DataRow, in text format.
function columnsOf(body: Buffer): (string | null)[] {
  const columns: (string | null)[] = [];
  let at = 2;
  for (let left = body.readUInt16BE(0); left > 0; left--) {
    const length = body.readInt32BE(at);
    at += 4;
    columns.push(length < 0 ? null : body.toString("utf8", at, at + length));
    if (length > 0) at += length;
  }
  return columns;
}
