import { isIP } from "node:net";
import { addressRules, type Config } from "../../config/config.ts";
import { ConfigError } from "../../config/error.ts";
import { loadConfig } from "../../config/load.ts";
import { cidrContains } from "../../core/address.ts";
import { AppError, messageOf } from "../../core/errors.ts";
import { isObject } from "../../core/json.ts";
import { formatSize } from "../../core/units.ts";
import { freeBytes } from "../../store/disk.ts";
import { limitOf, lowDisk } from "../../disk.ts";
import { VERSION } from "../../core/version.ts";
import type { Endpoint, Stats } from "../../admin/shown.ts";
import { type Api, API_OPTIONS, type ApiValues, openApi } from "../daemon_api/client.ts";
import { command } from "../command.ts";
import { checkDaemons } from "./daemons.ts";
import { examine, type Examined, type Verdict } from "./endpoints.ts";
import { checkRefused } from "./refused.ts";
import { send } from "../daemon_api/request.ts";
import { type Io, paletteOf, printable } from "../terminal.ts";

/** How far the clocks may be apart, in milliseconds: receivers allow a signature five minutes. */
const MAX_AHEAD_MS = 2_000;
const DURABLE = ["on", "local", "remote_write", "remote_apply"];

export const doctor = command({
  name: "doctor",
  summary: "Checks database, daemon, and each endpoint's DNS, address and TLS",
  about:
    `Runs check, then prints a line for each thing outside: ✓ good, ! worth a look, ✗ broken, with
the remedy. Changes nothing, and sends nothing to an endpoint but a TLS handshake. Exits with 1 if
something is broken.`,
  options: { json: { type: "boolean", about: "Print the verdicts as JSON" }, ...API_OPTIONS },
  examples: [
    ["bookme-webhooks doctor", "Before the first start, and if nothing arrives"],
    ["bookme-webhooks doctor --json | jq '.data[] | select(.mark == \"✗\")'", "Only the broken"],
  ],
  async run({ io, values }) {
    const config = loadConfig(values.config, io.env);
    const verdicts: Verdict[] = [];
    const say = (...found: Verdict[]) => {
      verdicts.push(...found);
      if (!values.json) { for (const one of found) tell(io, one); }
    };
    say({ mark: "✓", subject: "configuration", text: `${values.config} is valid` });
    say({ mark: "✓", subject: "version", text: `${VERSION}, on Deno ${Deno.version.deno}` });
    const daemon = await checkDaemon(io, config, values);
    const database = await checkDatabase(
      config,
      daemon.api !== undefined || daemon.has_database === true,
    );
    say(...(daemon.absent && database.is_new ? [notStarted(values)] : daemon.verdicts));
    say(...database.verdicts, checkDisk(config));
    say(...checkAddresses(config));
    const patients = await patientsOf(config, daemon.api);
    if (daemon.api !== undefined) {
      say(...await checkDaemons(daemon.api));
      say(await checkRefused(daemon.api), await checkBusinesses(daemon.api, patients));
    }
    for await (const verdict of examineAll(config, patients)) say(verdict);
    if (values.json) io.out(JSON.stringify({ data: verdicts, next_cursor: null }, null, 2));
    return verdicts.some(({ mark }) => mark === "✗") ? 1 : 0;
  },
});

function tell(io: Io, { mark, subject, text, remedy }: Verdict): void {
  const { green, yellow, red, bold } = paletteOf(io);
  const paint = { "✓": green, "!": yellow, "✗": red }[mark];
  const more = remedy === undefined ? "" : `; ${remedy}`;
  io.out(`${paint(mark)} ${bold(printable(subject))}: ${printable(text + more)}`);
}

// --- the daemon ------------------------------------------------------------------------------------

interface DaemonCheck {
  readonly verdicts: Verdict[];
  readonly api?: Api;
  /** Whether none answers where this configuration has it, or it has made no token yet. */
  readonly absent?: boolean;
  /** Whether one that is not ready says that its database is well. */
  readonly has_database?: boolean;
}

async function checkDaemon(io: Io, config: Config, values: ApiValues): Promise<DaemonCheck> {
  const subject = "daemon";
  const bad = (text: string, absent = false): DaemonCheck => ({
    verdicts: [{ mark: "✗", subject, text }],
    absent: absent && values.url === undefined,
  });
  if (values.url === undefined && config.server.listen.port === 0) {
    const text = "server.listen takes any free port, so it is not known where to look";
    return { verdicts: [{ mark: "!", subject, text, remedy: "name it with --url" }] };
  }
  let api: Api;
  try {
    api = await openApi(io, values);
  } catch (error) {
    const no_token_yet = error instanceof ConfigError && config.database.kind === "embedded";
    return bad(messageOf(error), no_token_yet);
  }
  try {
    const { status, body } = await send(`${api.url}/readyz`);
    const said: unknown = JSON.parse(body);
    const checks = isObject(said) && isObject(said["checks"]) ? said["checks"] : {};
    const wrong = Object.values(checks).filter((check) => check !== "ok").join("; ");
    if (status !== 200) {
      return {
        ...bad(`${api.url} is not ready: ${wrong || `status ${status}`}`),
        has_database: checks["database"] === "ok",
      };
    }
    await api.get("endpoints", { limit: "1" });
    const text = `${api.url} is ready, and takes the token ${api.token_name}`;
    return { verdicts: [{ mark: "✓", subject, text }, await checkVersion(api)], api };
  } catch (error) {
    return error instanceof AppError && error.code === "unavailable"
      ? bad(`${error.message}; ${startIt(values)}`, true)
      : bad(messageOf(error));
  }
}

// Where nothing was ever started, that no daemon answers is no fault.
function notStarted(values: ApiValues): Verdict {
  return { mark: "!", subject: "daemon", text: "not started yet", remedy: startIt(values) };
}

function startIt({ config }: ApiValues): string {
  return `start it with \`bookme-webhooks --config ${config}\``;
}

async function checkVersion(api: Api): Promise<Verdict> {
  const subject = "daemon's version";
  const { body } = await send(`${api.url}/livez`);
  const said: unknown = JSON.parse(body);
  const version = isObject(said) ? String(said["version"]) : "unknown";
  if (version === VERSION) return { mark: "✓", subject, text: version };
  return {
    mark: "!",
    subject,
    text: `${version}, this is ${VERSION}`,
    remedy: "restart the older one",
  };
}

// --- the database ----------------------------------------------------------------------------------

interface DatabaseCheck {
  readonly verdicts: Verdict[];
  /** Whether no daemon has ever been started with it. */
  readonly is_new: boolean;
}

async function checkDatabase(config: Config, daemon_runs: boolean): Promise<DatabaseCheck> {
  const { database } = config;
  const subject = "database";
  const health = await import("../../store/health.ts");
  try {
    if (database.kind === "server") return judge(await health.inspectServer(database.address));
    const found = await health.inspectEmbedded(database.directory);
    if (found !== undefined) return judge(found);
    const text = `embedded, not there yet: the first start makes it in ${database.directory}`;
    return { verdicts: [{ mark: "✓", subject, text }], is_new: true };
  } catch (error) {
    // Its lock is what keeps it whole: the daemon that holds it has just said that it is well.
    if (daemon_runs && error instanceof AppError && error.code === "conflict") {
      const text = `embedded in ${
        database.kind === "embedded" ? database.directory : ""
      }, in the daemon's hands; it writes with fsync, and its clock is this machine's`;
      return { verdicts: [{ mark: "✓", subject, text }], is_new: false };
    }
    const remedy = database.kind === "server"
      ? "check database.url and that it is running"
      : undefined;
    const text = messageOf(error);
    const verdict: Verdict = {
      mark: "✗",
      subject,
      text,
      ...(remedy === undefined ? {} : { remedy }),
    };
    return { verdicts: [verdict], is_new: false };
  }
}

async function judge(
  health: Awaited<ReturnType<typeof import("../../store/health.ts").inspectServer>>,
): Promise<DatabaseCheck> {
  const { SCHEMA_VERSION } = await import("../../store/migrations.ts");
  const { version, schema_version, ahead_ms, round_trip_ms } = health;
  const major = Number.parseInt(version);
  const verdicts: Verdict[] = [
    major >= 15
      ? {
        mark: "✓",
        subject: "database",
        text: `PostgreSQL ${version} answers in ${round_trip_ms} ms`,
      }
      : {
        mark: "✗",
        subject: "database",
        text: `PostgreSQL ${version} is too old`,
        remedy: "use 15 or later",
      },
    schemaVerdict(schema_version, SCHEMA_VERSION),
    ...durabilityVerdicts(health),
  ];
  const off_ms = Math.round(ahead_ms);
  const exact = Math.abs(off_ms) <= MAX_AHEAD_MS + round_trip_ms;
  verdicts.push(
    exact
      ? {
        mark: "✓",
        subject: "clock",
        text: `within ${Math.max(1, Math.abs(off_ms))} ms of the database's`,
      }
      : {
        mark: "!",
        subject: "clock",
        text: `the database's is ${Math.abs(off_ms)} ms ${
          off_ms > 0 ? "ahead of" : "behind"
        } this machine's`,
        remedy: "synchronise both (NTP); receivers refuse signatures that are five minutes off",
      },
  );
  return { verdicts, is_new: schema_version === null };
}

function schemaVerdict(found: number | null, known: number): Verdict {
  const subject = "schema";
  if (found === known) return { mark: "✓", subject, text: `version ${found}` };
  if (found !== null && found > known) {
    const text = `version ${found} is newer than this program, which knows ${known}`;
    return { mark: "✗", subject, text, remedy: "run the newer program" };
  }
  const text = found === null ? "not there yet" : `version ${found} of ${known}`;
  return { mark: "!", subject, text, remedy: "the next start migrates it, as `migrate` does" };
}

function durabilityVerdicts(health: {
  readonly fsync: string;
  readonly full_page_writes: string;
}): Verdict[] {
  const settings = ["fsync", "full_page_writes"] as const;
  const off = settings.filter((name) => !DURABLE.includes(health[name]));
  if (off.length === 0) {
    return [{
      mark: "✓",
      subject: "durability",
      text: settings.map((name) => `${name} on`).join(", "),
    }];
  }
  return off.map((name) => ({
    mark: "!",
    subject: "durability",
    text: `${name} is ${
      health[name]
    }: a crash of the machine can lose events that were acknowledged`,
    remedy: `alter system set ${name} = on; select pg_reload_conf()`,
  }));
}

// --- the disk

/** Whether the embedded database's disk has room. `measure` gives the free bytes of a directory. */
export function checkDisk(
  { database }: Pick<Config, "database">,
  measure: (directory: string) => number = freeBytes,
): Verdict {
  const subject = "disk";
  if (database.kind === "server") {
    const text = "the server's cannot be seen from here; watch its free space there";
    return { mark: "✓", subject, text };
  }
  const { directory } = database;
  const min_free_bytes = limitOf(database.min_free_bytes);
  try {
    const free_bytes = measure(directory);
    const remedy = "free some space, or move database.directory to a larger disk";
    if (free_bytes < min_free_bytes) {
      return { mark: "✗", subject, text: lowDisk(directory, free_bytes, min_free_bytes), remedy };
    }
    const text = `${formatSize(free_bytes)} free for ${directory}; ingest stops below ` +
      `${formatSize(min_free_bytes)} (database.min_free)`;
    const tight = free_bytes < 2 * min_free_bytes;
    return { mark: tight ? "!" : "✓", subject, text, ...(tight ? { remedy } : {}) };
  } catch (error) {
    const text = `the free space of ${directory} cannot be read: ${messageOf(error)}`;
    return { mark: "!", subject, text };
  }
}

// --- this machine's addresses ----------------------------------------------------------------------

/** Whether requests come from the ranges that receivers allow (`/ip-ranges`). */
export function checkAddresses(
  { delivery, environment, ip_ranges }: Pick<Config, "delivery" | "environment" | "ip_ranges">,
  own: readonly string[] = ownAddresses(),
): Verdict[] {
  const subject = "source address";
  const ranges = ip_ranges[environment];
  const listed = `ip_ranges.${environment} (${ranges.map(({ text }) => text).join(", ")})`;
  const inside = (address: string) => ranges.some((cidr) => cidrContains(cidr, address));
  const { source_address } = delivery;
  if (source_address !== null) {
    if (!own.includes(source_address)) {
      const text = `delivery.source_address ${source_address} is no address of this machine`;
      return [{ mark: "✗", subject, text, remedy: `this machine has ${own.join(", ")}` }];
    }
    return [
      inside(source_address)
        ? { mark: "✓", subject, text: `${source_address} lies in ${listed}` }
        : {
          mark: "!",
          subject,
          text: `delivery.source_address ${source_address} lies outside ${listed}`,
          remedy: "receivers that allow those networks only refuse it: correct one of the two",
        },
    ];
  }
  const fitting = own.filter(inside);
  if (fitting.length > 0) {
    return [{
      mark: "✓",
      subject,
      text: `${fitting.join(", ")} of this machine lies in ${listed}`,
    }];
  }
  return [{
    mark: "!",
    subject,
    text: `no address of this machine (${own.join(", ")}) lies in ${listed}`,
    remedy: "unless a NAT or proxy in front has one, receivers that allow those only refuse it",
  }];
}

function ownAddresses(): string[] {
  return Deno.networkInterfaces()
    .map(({ address }) => address)
    .filter((address) => isIP(address) !== 0 && !/^(127\.|::1$|fe80:)/i.test(address));
}

// --- the endpoints ---------------------------------------------------------------------------------

const AT_ONCE = 8;

/** An endpoint to examine, and whether it is owed some businesses' events only. */
interface Patient extends Examined {
  readonly is_picky: boolean;
}

/** The endpoints in force: those of the file, and those that the daemon knows besides. */
async function patientsOf(config: Config, api: Api | undefined): Promise<Patient[]> {
  const file = config.endpoints.map(({ id, url, tls, businesses }) => ({
    id,
    url,
    tls,
    is_picky: businesses !== null,
  }));
  if (api === undefined) return file;
  const { data } = await api.list<Endpoint>("endpoints", { source: "api" }, 10_000);
  return [
    ...file,
    ...data.map(({ id, url, businesses }) => ({
      id,
      url,
      tls: null,
      is_picky: businesses !== null,
    })),
  ];
}

/** Whether the last day's events have a known business, as endpoints with `businesses` need. */
async function checkBusinesses(api: Api, patients: readonly Patient[]): Promise<Verdict> {
  const subject = "businesses";
  const { events_without_business: count, events_without_business_exact: exact } = await api.get<
    Stats
  >("stats", { window: "24h" });
  if (count === 0) {
    return { mark: "✓", subject, text: "every event of the last 24 hours has a known one" };
  }
  const events = `${exact ? "" : "at least "}${count} ${count === 1 ? "event" : "events"}`;
  const text = `${events} of the last 24 hours without a known one`;
  const picky = patients.filter(({ is_picky }) => is_picky).length;
  if (picky === 0) return { mark: "✓", subject, text: `${text}; no endpoint asks for one` };
  return {
    mark: "!",
    subject,
    text: `${text}, not owed to the ${picky} ${
      picky === 1 ? "endpoint" : "endpoints"
    } with \`businesses\``,
    remedy: "let BookMe post them with a business member or the header X-BookMe-Business",
  };
}

async function* examineAll(
  config: Config,
  patients: readonly Examined[],
): AsyncGenerator<Verdict> {
  if (patients.length === 0) {
    yield {
      mark: "!",
      subject: "endpoints",
      text: "there are none",
      remedy: "add one to endpoints",
    };
  }
  const rules = addressRules(config);
  for (let at = 0; at < patients.length; at += AT_ONCE) {
    const some = patients.slice(at, at + AT_ONCE);
    yield* await Promise.all(some.map((one) => examine(one, rules)));
  }
}
