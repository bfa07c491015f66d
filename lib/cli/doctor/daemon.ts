import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/error.ts";
import { AppError, messageOf } from "../../core/errors.ts";
import { isObject } from "../../core/json.ts";
import { VERSION } from "../../core/version.ts";
import { type Api, type ApiValues, openApi } from "../daemon_api/client.ts";
import { send } from "../daemon_api/request.ts";
import type { Io } from "../terminal.ts";
import type { Known } from "./configuration.ts";
import { bad, badBy, good, odd, type Verdict } from "./verdict.ts";

/** The daemon as far as it is known. */
export interface DaemonCheck {
  readonly verdicts: Verdict[];
  /** Its API, if it answers there. */
  readonly api?: Api;
  /** Whether none answers where this configuration has it, or it has made no token yet. */
  readonly absent?: boolean;
  /** Whether it says that its database is well. */
  readonly has_database?: boolean;
}

const SUBJECT = "daemon";
/** It looks at its database first. */
const PATIENCE_MS = 10_000;
const LATE = / within \d+ (s|min)$/;

/** Whether the daemon of this configuration, or at `--url`, is ready and accepts the token. */
export async function checkDaemon(io: Io, known: Known, values: ApiValues): Promise<DaemonCheck> {
  const { config } = known;
  if (values.url === undefined && config?.server.listen.port === 0 && known.isSound("server")) {
    const text = "server.listen takes any free port, so it is not known where the daemon is";
    return { verdicts: [odd(SUBJECT, text, "name it with --url; its log has the address")] };
  }
  let api: Api;
  try {
    api = await openApi(io, values);
  } catch (error) {
    const text = error instanceof ConfigError
      ? error.message.split("\n")[0] ?? ""
      : messageOf(error);
    const no_token_yet = error instanceof ConfigError &&
      known.isSound("admin", "database", "server") &&
      config?.database.kind === "embedded";
    return {
      verdicts: [badBy(SUBJECT, text, "name its address with --url and its token with --token")],
      absent: no_token_yet && values.url === undefined,
    };
  }
  try {
    return await examine(api, known, values);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const text = error.message.split("; ")[0] ?? error.message;
    if (error.code !== "unavailable") {
      return { verdicts: [badBy(SUBJECT, error.message, "see the daemon's log")] };
    }
    if (LATE.test(text)) {
      return { verdicts: [bad(SUBJECT, text, "see the daemon's log, and restart it if it hangs")] };
    }
    const remedy = values.url === undefined ? startIt(values) : "check --url, and start it there";
    return { verdicts: [bad(SUBJECT, text, remedy)], absent: values.url === undefined };
  }
}

async function examine(api: Api, known: Known, values: ApiValues): Promise<DaemonCheck> {
  const { status, body } = await send(`${api.url}/readyz`, {
    patience_ms: PATIENCE_MS,
    cert: api.cert,
  });
  const said = parse(body);
  const checks = isObject(said) && isObject(said["checks"]) ? said["checks"] : undefined;
  if (checks === undefined) {
    const text = `${api.url} answers, but is no bookme-webhooks daemon (status ${status})`;
    const remedy = values.url === undefined
      ? "stop the other program, or choose another port in server.listen"
      : "correct --url";
    return { verdicts: [bad(SUBJECT, text, remedy)] };
  }
  const has_database = checks["database"] === "ok";
  const verdicts = Object.entries(checks).flatMap(([part, check]) =>
    check === "ok" ? [] : [notReady(api, part, String(check), known)]
  );
  // Nothing can be asked of one without its database.
  if (!has_database) return { verdicts };
  await api.get("endpoints", { limit: "1" });
  if (verdicts.length === 0) {
    verdicts.push(good(SUBJECT, `${api.url} is ready, and takes the token ${api.token_name}`));
  }
  return { verdicts: [...verdicts, await checkVersion(api)], api, has_database };
}

function notReady(api: Api, part: string, check: string, { config }: Known): Verdict {
  return bad(SUBJECT, `${api.url} is not ready: ${check}`, remedyOf(part, check, config));
}

function remedyOf(part: string, check: string, config: Config | undefined): string {
  if (part === "disk") return "free some space, or lower database.min_free";
  if (part === "database") {
    return /no space|disk full|53100/i.test(check)
      ? "free some space on the database server's disk"
      : config?.database.kind === "server"
      ? "see the lines on the database; the daemon goes on by itself once it answers"
      : "see the daemon's log";
  }
  return /stopping/.test(check) ? "start it again" : "see the daemon's log, and restart it";
}

/** Where nothing was ever started, it is no fault that no daemon answers. */
export function notStarted(values: ApiValues): Verdict {
  return odd(SUBJECT, "not started yet", startIt(values));
}

function startIt({ config }: ApiValues): string {
  return `start it with \`bookme-webhooks --config ${config}\``;
}

async function checkVersion({ url, cert }: Api): Promise<Verdict> {
  const subject = "daemon's version";
  const said = parse((await send(`${url}/livez`, { cert })).body);
  const version = isObject(said) ? String(said["version"]) : "unknown";
  return version === VERSION
    ? good(subject, version)
    : odd(subject, `${version}, this is ${VERSION}`, "restart the older one");
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
