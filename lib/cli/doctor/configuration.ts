import type { Config } from "../../config/config.ts";
import { type ConfigMistake, formatMistake } from "../../config/error.ts";
import { type Exposed, findExposed } from "../../config/exposure.ts";
import { inspectConfig } from "../../config/load.ts";
import { certificatesIn, readCertificate } from "../../core/certificates.ts";
import { expiryOf, isExpiringSoon } from "../../core/examination.ts";
import { PLATFORM } from "../../core/platform.ts";
import { validityMistakes } from "../../core/tls_settings.ts";
import { bad, badBy, good, odd, type Verdict } from "./verdict.ts";

/** A configuration as far as it is valid. */
export interface Known {
  readonly path: string;
  /** Undefined if the file cannot be read at all. Sections with mistakes have their defaults. */
  readonly config: Config | undefined;
  readonly mistakes: readonly ConfigMistake[];
  /** Whether all that these sections depend on is valid. */
  isSound(...sections: readonly string[]): boolean;
}

/** Reads a configuration file with its mistakes. */
export function readKnown(path: string, env: (name: string) => string | undefined): Known {
  const { config, mistakes } = inspectConfig(path, env);
  const unsound = new Set(mistakes.map((mistake) => /^[a-z_]*/.exec(mistake.path)?.[0]));
  return {
    path,
    config,
    mistakes,
    isSound: (...sections) =>
      config !== undefined && !["", "environment", ...sections].some((name) => unsound.has(name)),
  };
}

/** The mistakes that `check` finds, each with its place. */
export function checkConfiguration({ path, mistakes }: Known): Verdict[] {
  const subject = "configuration";
  if (mistakes.length === 0) return [good(subject, `${path} is valid`)];
  return mistakes
    .toSorted((a, b) => a.line - b.line || a.column - b.column)
    .map((mistake) => badBy(subject, formatMistake(path, mistake), remedyOf(path, mistake)));
}

function remedyOf(path: string, { line, message }: ConfigMistake): string {
  if (/\((EACCES|EPERM)\)|no permission/.test(message)) {
    return "let this user read it, or run this as the daemon's user";
  }
  return `correct line ${line} of ${path}`;
}

/** Verdicts on settings that are valid, and yet worth a second thought. */
export function checkPosture(known: Known): Verdict[] {
  const { config, path } = known;
  if (config === undefined) return [];
  return [
    ...known.isSound("ingest", "secrets") ? [checkSigning(config)] : [],
    ...checkExposed(findExposed(path)),
    ...known.isSound("server")
      ? [
        ...checkCertificate(config.server, Date.now()),
        ...checkPort(config.server.listen.port, privilegesHere()),
      ]
      : [],
  ];
}

function checkSigning({ environment, ingest }: Config): Verdict {
  const subject = "ingest.secret";
  if (ingest.secrets.length > 0) return good(subject, "posts must be signed");
  if (environment === "development") {
    return good(subject, "posts are not signed, which is for development only");
  }
  return odd(
    subject,
    "posts are not signed: whoever can send from ip_ranges.production can make events",
    "set ingest.secret to a secret that BookMe signs with (`bookme-webhooks secret` makes one)",
  );
}

function checkExposed(exposed: readonly Exposed[]): Verdict[] {
  return exposed.map(({ path, mode }) =>
    odd("secrets", `everyone on this machine may read ${path} (mode ${mode})`, `chmod 600 ${path}`)
  );
}

/** Clients refuse a certificate that is not valid, BookMe's among them. */
export function checkCertificate({ tls }: Config["server"], now_ms: number): Verdict[] {
  if (tls === null) return [];
  const subject = "server.tls";
  const [mistake] = validityMistakes({ cert: tls.cert }, now_ms);
  const [own] = certificatesIn(tls.cert).map(readCertificate);
  const remedy = "put a new certificate and its key into the files of server.tls, then reload";
  if (mistake !== undefined || own === undefined) {
    return [bad(subject, `the certificate is not valid: ${mistake?.message}`, remedy)];
  }
  const text = `the certificate of ${own.names.join(", ") || own.subject} ` +
    expiryOf(own.valid_to, now_ms);
  return [isExpiringSoon(own.valid_to, now_ms) ? odd(subject, text, remedy) : good(subject, text)];
}

/** What of this process bears on the ports that it may listen on. */
export interface Privileges {
  readonly is_root: boolean;
  /** The first port that needs no privilege. */
  readonly unprivileged_from: number;
}

/** Undefined if this process may not ask, or ports take no privilege here. */
function privilegesHere(): Privileges | undefined {
  if (!PLATFORM.has_privileged_ports) return undefined;
  if (Deno.permissions.querySync({ name: "sys", kind: "uid" }).state !== "granted") {
    return undefined;
  }
  let unprivileged_from = 1024;
  try {
    const path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    unprivileged_from = Number(Deno.readTextFileSync(path));
  } catch {
    // Not Linux, or no permission to read it: then it is the usual one.
  }
  return { is_root: Deno.uid() === 0, unprivileged_from };
}

/** Whether a daemon of this user may listen on a port, as far as that is known. */
export function checkPort(port: number, privileges: Privileges | undefined): Verdict[] {
  if (privileges === undefined) return [];
  const { is_root, unprivileged_from } = privileges;
  if (port === 0 || port >= unprivileged_from || is_root) return [];
  return [odd(
    "server.listen",
    `port ${port} is below ${unprivileged_from}, so it takes a privilege to listen there`,
    "choose a higher port behind a proxy, or give the daemon CAP_NET_BIND_SERVICE",
  )];
}
