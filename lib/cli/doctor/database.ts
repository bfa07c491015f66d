import type { Config } from "../../config/config.ts";
import { AppError, messageOf } from "../../core/errors.ts";
import { counted } from "../../core/units.ts";
import type { DatabaseHealth } from "../../store/health.ts";
import { bad, badBy, good, odd, type Verdict } from "./verdict.ts";

/** The database as far as it is known. */
export interface DatabaseCheck {
  readonly verdicts: Verdict[];
  /** Whether no daemon has ever been started with it. */
  readonly is_new: boolean;
}

const SUBJECT = "database";
/** How far the clocks may be apart, in milliseconds: receivers allow a signature five minutes. */
const MAX_AHEAD_MS = 2_000;
const DURABLE = ["on", "local", "remote_write", "remote_apply"];
const OLDEST = 15;

/** Whether the database answers, and is as this program needs it; `daemon_has_it` if a daemon says so. */
export async function checkDatabase(
  config: Pick<Config, "database" | "encryption_keys">,
  daemon_has_it: boolean,
): Promise<DatabaseCheck> {
  const { database, encryption_keys } = config;
  const health = await import("../../store/health.ts");
  const { SCHEMA_VERSION } = await import("../../store/migrations.ts");
  const judge = (found: DatabaseHealth): DatabaseCheck => ({
    verdicts: judgeDatabase(found, {
      schema_version: SCHEMA_VERSION,
      has_key: encryption_keys.length > 0 || database.kind === "embedded",
    }),
    is_new: found.schema_version === null,
  });
  if (database.kind === "server") {
    try {
      return judge(await health.inspectServer(database.address));
    } catch (error) {
      return { verdicts: [judgeServerError(error, database)], is_new: false };
    }
  }
  const { directory } = database;
  try {
    const found = await health.inspectEmbedded(directory);
    if (found !== undefined) return judge(found);
    const text = `embedded, not there yet: the first start makes it in ${directory}`;
    return { verdicts: [good(SUBJECT, text)], is_new: true };
  } catch (error) {
    // Its lock is what keeps it whole: the daemon that holds it has just said that it is well.
    if (daemon_has_it && error instanceof AppError && error.code === "conflict") {
      const text =
        `embedded in ${directory}, in the daemon's hands; it writes with fsync, and its ` +
        "clock is this machine's";
      return { verdicts: [good(SUBJECT, text)], is_new: false };
    }
    const remedy =
      "see docs/operations.md: free its disk, or restore a backup into another directory";
    return { verdicts: [badBy(SUBJECT, messageOf(error), remedy)], is_new: false };
  }
}

/** Remedies of failures whose message has none, by their codes. */
const REMEDIES: readonly (readonly [code: RegExp, remedy: string])[] = [
  [/^ECONNREFUSED$/, "start the server, or correct host and port in database"],
  [/^(ENOTFOUND|EAI_|ENODATA)/, "correct the host in database, or this machine's resolver"],
  [/^(CONNECT_TIMEOUT|ETIMEDOUT|EHOST|ENET)/, "check that it runs, and the firewalls in between"],
  [/^53300$/, "close other connections, or raise max_connections of the server, or of the role"],
  [/^57P03$/, "wait until the server has started, or start it"],
  [/^25006$/, "name the primary in database"],
  [/^42501$/, "grant the role the right to connect: grant connect on database"],
  [/^(PROTOCOL|08P01)$/, "correct host and port in database: something else listens there"],
];

function judgeServerError(
  error: unknown,
  { address }: Extract<Config["database"], { kind: "server" }>,
): Verdict {
  const code = String((error as { code?: unknown } | null)?.code ?? "");
  const known = REMEDIES.find(([pattern]) => pattern.test(code))?.[1];
  const remedy = known ?? "see the server's log";
  // Of several hosts, each has its own message.
  return known === undefined && address.hosts.length === 1
    ? badBy(SUBJECT, messageOf(error), remedy)
    : bad(SUBJECT, messageOf(error), remedy);
}

/** What this program brings along. */
interface Needs {
  readonly schema_version: number;
  /** Whether there is a key for sealed secrets. */
  readonly has_key: boolean;
}

/** The verdicts on a database that answers. */
export function judgeDatabase(health: DatabaseHealth, needs: Needs): Verdict[] {
  const { version, round_trip_ms, encoding } = health;
  if (Number.parseInt(version) < OLDEST) {
    const text = `PostgreSQL ${version} is too old`;
    return [bad(SUBJECT, text, `use ${OLDEST} or later`)];
  }
  if (encoding !== "UTF8") {
    const remedy = "make one in UTF8, and name it in database: createdb -E UTF8 -T template0 NAME";
    return [bad(SUBJECT, `its encoding is ${encoding}`, remedy)];
  }
  if (health.unusable !== null) return [badBy(SUBJECT, health.unusable, "")];
  return [
    good(SUBJECT, `PostgreSQL ${version} answers in ${round_trip_ms} ms`),
    ...judgeRights(health),
    judgeSchema(health, needs.schema_version),
    ...judgeDurability(health),
    ...judgeSealed(health, needs),
    judgeClock(health),
  ];
}

function judgeRights(health: DatabaseHealth) {
  const { role, schema, may_create, forbidden, owner, schema_version } = health;
  const subject = "rights";
  if (forbidden.length > 0) {
    const more = forbidden.length > 3 ? ` and ${forbidden.length - 3} more` : "";
    return [bad(
      subject,
      `the role ${role} may not read and write ${forbidden.slice(0, 3).join(", ")}${more}`,
      `connect as their owner, or grant all on all tables in schema ${inSql(schema)} to ${
        inSql(role)
      }`,
    )];
  }
  if (owner !== null) {
    return [bad(
      subject,
      `the role ${role} does not own the table events, so it cannot make its partitions of next week`,
      `connect as its owner, or grant ${inSql(owner)} to ${inSql(role)}`,
    )];
  }
  if (schema === null) {
    return [
      bad(subject, "no schema of the search_path exists", "create one, or correct search_path"),
    ];
  }
  if (schema_version !== null || may_create) return [];
  return [bad(
    subject,
    `the role ${role} may not create tables in the schema ${schema}`,
    `grant create on schema ${inSql(schema)} to ${inSql(role)}`,
  )];
}

/** A name as SQL has it: quoted if it must be. */
function inSql(name: string | null): string {
  const text = name ?? "";
  return /^[a-z_][a-z0-9_]*$/.test(text) ? text : `"${text.replaceAll('"', '""')}"`;
}

function judgeSchema(
  { schema_version: found, forbidden }: DatabaseHealth,
  known: number,
): Verdict {
  const subject = "schema";
  if (found === known) return good(subject, `version ${found}`);
  if (forbidden.length > 0) {
    return odd(subject, "its version cannot be read", "see the line on rights");
  }
  if (found !== null && found > known) {
    const text = `version ${found} is newer than this program, which knows ${known}`;
    return bad(subject, text, "run the newer program");
  }
  const text = found === null ? "not there yet" : `version ${found} of ${known}`;
  return odd(subject, text, "the next start migrates it, as `migrate` does");
}

function judgeDurability(health: DatabaseHealth): Verdict[] {
  const subject = "durability";
  const settings = ["fsync", "full_page_writes"] as const;
  const off = settings.filter((name) => !DURABLE.includes(health[name]));
  if (off.length === 0) return [good(subject, settings.map((name) => `${name} on`).join(", "))];
  return off.map((name) =>
    odd(
      subject,
      `${name} is ${health[name]}: a crash of the machine can lose events that were acknowledged`,
      `alter system set ${name} = on; select pg_reload_conf()`,
    )
  );
}

function judgeSealed({ sealed }: DatabaseHealth, { has_key }: Needs): Verdict[] {
  if (sealed === 0 || has_key) return [];
  return [bad(
    "encryption_key",
    `none is configured, and the secrets of ${counted(sealed, "endpoint")} are sealed under one`,
    "set encryption_key to the key that sealed them",
  )];
}

function judgeClock({ ahead_ms, round_trip_ms }: DatabaseHealth): Verdict {
  const subject = "clock";
  const off_ms = Math.round(ahead_ms);
  if (Math.abs(off_ms) <= MAX_AHEAD_MS + round_trip_ms) {
    return good(subject, `within ${Math.max(1, Math.abs(off_ms))} ms of the database's`);
  }
  return odd(
    subject,
    `the database's is ${Math.abs(off_ms)} ms ${off_ms > 0 ? "ahead of" : "behind"} this machine's`,
    "synchronise both (NTP); receivers refuse signatures that are five minutes off",
  );
}
