/** What an examination finds at an endpoint's URL, and what that means to its operator. */

import { hostPort } from "./address.ts";
import type { Certificate } from "./certificates.ts";
import { counted } from "./units.ts";

/** How good a thing is: `!` is worth a look, `✗` keeps something from working. */
export type Mark = "✓" | "!" | "✗";

/** A verdict with its remedy, which is null only if nothing needs one. */
export interface Finding {
  readonly mark: Mark;
  readonly text: string;
  readonly remedy: string | null;
}

/** An error of the system or of TLS. */
export interface Trouble {
  /** `ECONNREFUSED`; empty if there is none. */
  readonly code: string;
  readonly message: string;
}

/** What answers at a port: TLS, HTTP without it, silence, or something else that says `said`. */
export type Spoken = "tls" | "http" | "nothing" | { readonly said: string };

/** What an examination found, in the order in which a delivery would. Absent members were not reached. */
export interface Examination {
  readonly https: boolean;
  readonly host: string;
  readonly port: number;
  /** Why the URL is not allowed at all. */
  readonly mistake?: string;
  readonly dns?: Trouble;
  readonly addresses: readonly string[];
  /** Addresses that the rules forbid: one is enough to block all. */
  readonly refused: readonly { readonly address: string; readonly rule: string }[];
  /** Set if no address is of the family of `delivery.source_address`. */
  readonly source_address?: string;
  /** Addresses that took no connection. */
  readonly lost: readonly { readonly address: string; readonly trouble: Trouble }[];
  /** The address that did. */
  readonly reached?: string;
  readonly spoken?: Spoken;
  /** Why the handshake, or trust in the certificate, failed. */
  readonly tls?: Trouble;
  /** The certificates shown, the server's own first. */
  readonly chain: readonly Certificate[];
  /** Whether the own certificate is for the host. */
  readonly is_for_host: boolean;
  /** The endpoint's own, which is shown to a server that demands one. */
  readonly client_certificate: Certificate | null;
}

/** Certificates are renewed a month before they expire, as a rule. */
export const FEW_DAYS = 21;
const DAY_MS = 86_400_000;

/** What a look at a receiver found, as it is kept. */
export function judgeCheck(found: Examination, now_ms: number) {
  const findings = judgeExamination(found, now_ms);
  return {
    ok: findings.every(({ mark }) => mark !== "✗"),
    findings,
    /** In milliseconds since 1970; null if none was seen. */
    certificate_ends_at: found.chain[0]?.valid_to ?? null,
  };
}

/** The verdicts on an examination: each fault with its remedy, or one that says that all is well. */
export function judgeExamination(found: Examination, now_ms: number): readonly Finding[] {
  const unreachable = judgeRoute(found);
  if (unreachable !== undefined) return [unreachable];
  const { https, spoken, lost } = found;
  const notes = lost.map(({ address, trouble }) => `${address} ${inWords(trouble)}`);
  if (!https) {
    const wrong = judgePlain(found);
    if (wrong !== undefined) return [wrong];
    const text = [where(found), "takes connections, without TLS", ...notes].join("; ");
    return [lost.length === 0 ? well(text) : partly(text)];
  }
  if (spoken !== undefined && spoken !== "tls") return [judgeNoTls(found, spoken)];
  const faults = judgeTls(found, now_ms);
  const own = judgeClientCertificate(found, now_ms);
  if (faults.length > 0) return [...faults, ...own.filter(({ mark }) => mark !== "✓")];
  const [{ valid_to } = { valid_to: now_ms }] = found.chain;
  const days = daysUntil(valid_to, now_ms);
  const expiry = `TLS, its certificate ${expiryOf(valid_to, now_ms)}`;
  const text = [where(found), expiry, ...notes].join("; ");
  const server = days <= FEW_DAYS
    ? warn(text, "have its owner renew it before that day")
    : lost.length === 0
    ? well(text)
    : partly(text);
  return [server, ...own];
}

/** Whole days until a time, rounded down. */
export function daysUntil(at_ms: number, now_ms: number): number {
  return Math.floor((at_ms - now_ms) / DAY_MS);
}

function well(text: string): Finding {
  return { mark: "✓", text, remedy: null };
}

function warn(text: string, remedy: string): Finding {
  return { mark: "!", text, remedy };
}

function fault(text: string, remedy: string): Finding {
  return { mark: "✗", text, remedy };
}

function partly(text: string): Finding {
  return warn(text, "have its owner repair that address, or take it out of DNS");
}

function where({ host, port, addresses }: Examination): string {
  const place = hostPort(host.replace(/^\[|\]$/g, ""), port);
  return addresses.includes(host) ? place : `${place} is ${addresses.join(", ")}`;
}

// --- URL, DNS, addresses, connection ---------------------------------------------------------------------

function judgeRoute(found: Examination): Finding | undefined {
  const { mistake, dns, host, addresses, refused, source_address, lost, reached } = found;
  if (mistake !== undefined) return fault(mistake, "change its url");
  if (dns !== undefined) return judgeDns(host, dns);
  const [first] = refused;
  if (first !== undefined) {
    // A rule may have its remedy with it.
    const each = refused
      .map(({ address, rule }) => `${address} is not allowed: ${rule.split("; ")[0]}`)
      .join("; ");
    const others = addresses.length - refused.length;
    const all = others > 0 ? `; nothing is sent to its other ${others} either` : "";
    const named = addresses.includes(host) ? "" : `${host}: `;
    return fault(named + each + all, remedyOfRule(first.rule));
  }
  if (source_address !== undefined) {
    return fault(
      `${where(found)}, none of the family of delivery.source_address ${source_address}`,
      "remove delivery.source_address, or choose one of the same family",
    );
  }
  return reached === undefined ? judgeLost(found, lost) : undefined;
}

function judgeDns(host: string, { code, message }: Trouble): Finding {
  if (/NOTFOUND|NODATA|NONAME/.test(code)) {
    return fault(
      `DNS has no address for ${host} (${code})`,
      "correct the host in its url, or its DNS",
    );
  }
  return fault(
    `DNS gives no answer for ${host} (${code || message})`,
    "check this machine's resolver (/etc/resolv.conf) and that it reaches it",
  );
}

function remedyOfRule(rule: string): string {
  if (rule.startsWith("loopback")) {
    return "put a reverse proxy with a public or listed address in front of it, and name that in its url";
  }
  if (rule.includes("plain http")) return "write https:// in its url";
  if (rule.includes("allow_networks")) {
    return "add its network to delivery.allow_networks, or correct its DNS";
  }
  return "correct its url or its DNS, so that it leads to the receiver";
}

function judgeLost(found: Examination, lost: Examination["lost"]): Finding {
  const notes = lost.map(({ address, trouble }) =>
    lost.length > 1 ? `${address} ${inWords(trouble)}` : `it ${inWords(trouble)}`
  );
  const text = [where(found), ...notes].join("; ");
  const is_ipv6_only = lost.every(({ address, trouble }) =>
    address.includes(":") && NO_ROUTE.has(trouble.code)
  );
  if (is_ipv6_only) {
    return fault(
      `${text}; it has IPv6 addresses only`,
      "give this machine IPv6, or have the receiver's owner add an IPv4 address to its DNS",
    );
  }
  const codes = new Set(lost.map(({ trouble }) => trouble.code));
  const [code = ""] = codes;
  return fault(
    text,
    codes.size === 1 && code === "ECONNREFUSED"
      ? "start the receiver, or correct the port in its url"
      : lost.every(({ trouble }) => isUnbound(trouble))
      ? "correct delivery.source_address"
      : "check that it runs, that routes lead there, and that its firewall lets this machine in",
  );
}

const NO_ROUTE = new Set(["ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL"]);

function isUnbound({ message }: Trouble): boolean {
  return message.startsWith("bind ");
}

const CONNECTING: Readonly<Record<string, string>> = {
  ECONNREFUSED: "refuses connections",
  ECONNRESET: "resets connections",
  ETIMEDOUT: "does not answer",
  EHOSTUNREACH: "cannot be reached: there is no route to it",
  ENETUNREACH: "cannot be reached: there is no route to it",
  EADDRNOTAVAIL: "cannot be reached from this machine's addresses",
};

function inWords(trouble: Trouble): string {
  const { code, message } = trouble;
  if (isUnbound(trouble)) return `cannot be reached from delivery.source_address (${code})`;
  return CONNECTING[code] ?? `cannot be connected to: ${message}`;
}

// --- what answers -----------------------------------------------------------------------------------------

function judgePlain(found: Examination): Finding | undefined {
  const { spoken } = found;
  if (spoken === "tls") {
    return fault(`${where(found)}; it speaks TLS there`, "write https:// in its url");
  }
  return typeof spoken === "object"
    ? fault(
      `${where(found)}; no HTTP server: it says ${JSON.stringify(spoken.said)}`,
      "correct the port in its url",
    )
    : undefined;
}

function judgeNoTls(found: Examination, spoken: Exclude<Spoken, "tls">): Finding {
  const place = where(found);
  if (spoken === "http") {
    return fault(
      `${place}; it speaks plain HTTP there, not TLS`,
      "correct the port in its url, or write http:// (allowed for loopback in development and for " +
        "delivery.allow_networks)",
    );
  }
  if (spoken === "nothing") {
    const is_silent = found.tls?.code === "ETIMEDOUT";
    return fault(
      `${place}; it ${
        is_silent ? "does not answer the TLS handshake" : "hangs up during the TLS handshake"
      }`,
      "check that this port speaks TLS; if it speaks plain HTTP, correct the port, or write http://",
    );
  }
  return fault(
    `${place}; it speaks no TLS there: it says ${JSON.stringify(spoken.said)}`,
    "correct the port in its url",
  );
}

// --- TLS --------------------------------------------------------------------------------------------------

function judgeTls(found: Examination, now_ms: number): Finding[] {
  const { tls, chain, host, is_for_host } = found;
  const place = where(found);
  const [own] = chain;
  if (own === undefined) return [judgeHandshake(found, tls)];
  const faults = chain.flatMap((one, at) => {
    const whose = at === 0
      ? "its certificate"
      : `its intermediate certificate ${show(one.subject)}`;
    return judgeDates(one, whose, now_ms).map(({ text, remedy }) =>
      fault(`${place}; ${text}`, remedy)
    );
  });
  if (!is_for_host) {
    faults.push(fault(
      `${place}; its certificate is for ${namesOf(own)}, not for ${host}`,
      "name one of these in its url, or have its owner get a certificate for " + host,
    ));
  }
  if (tls === undefined || faults.length > 0) return faults;
  if (/^ERR_SSL.*ALERT/.test(tls.code)) return [judgeHandshake(found, tls)];
  return [judgeTrust(found, own, tls)];
}

function judgeDates(
  { valid_from, valid_to }: Certificate,
  whose: string,
  now_ms: number,
): { text: string; remedy: string }[] {
  if (valid_to < now_ms) {
    return [{ text: `${whose} expired on ${dateOf(valid_to)}`, remedy: "have its owner renew it" }];
  }
  if (valid_from <= now_ms) return [];
  return [{
    text: `${whose} is not valid before ${dateOf(valid_from)}`,
    remedy: "check this machine's clock; if it is right, have its owner serve a valid one",
  }];
}

function judgeTrust(found: Examination, own: Certificate, { code, message }: Trouble): Finding {
  const { chain } = found;
  const place = where(found);
  const top = chain.at(-1) ?? own;
  if (own.subject === own.issuer) {
    return fault(
      `${place}; its certificate is self-signed`,
      "have its owner get one from an authority, or trust this one: put it into tls.ca",
    );
  }
  if (/^(UNABLE|SELF_SIGNED|CERT_)/.test(code) && chain.length === 1) {
    return own.names_issuer
      ? fault(
        `${place}; it sends no intermediate certificate: that of ${show(own.issuer)} is missing`,
        "have its owner serve the whole chain (often called fullchain.pem)",
      )
      : fault(
        `${place}; its certificate comes from an unknown authority, ${show(own.issuer)}`,
        "put that authority's certificate into tls.ca; if it is an intermediate one, have its owner " +
          "serve the whole chain",
      );
  }
  if (/^(UNABLE|SELF_SIGNED|CERT_)/.test(code)) {
    return fault(
      `${place}; its certificate comes from an unknown authority, ${show(top.issuer)}`,
      "put that authority's certificate into tls.ca",
    );
  }
  return fault(`${place}; its certificate is not trusted: ${message}`, "have its owner correct it");
}

/** How long the client certificate is valid: whether a receiver minds shows in the handshake. */
function judgeClientCertificate(
  { client_certificate: own }: Examination,
  now_ms: number,
): Finding[] {
  if (own === null) return [];
  const whose = `the client certificate ${show(own.subject)}`;
  if (own.valid_to < now_ms) {
    return [warn(
      `${whose} ${expiryOf(own.valid_to, now_ms)}`,
      "put a new one into tls.cert, and its key into tls.key",
    )];
  }
  if (own.valid_from > now_ms) {
    return [warn(
      `${whose} is not valid before ${dateOf(own.valid_from)}`,
      "check this machine's clock; if it is right, put a valid one into tls.cert",
    )];
  }
  const text = `${whose} ${expiryOf(own.valid_to, now_ms)}`;
  return [
    isExpiringSoon(own.valid_to, now_ms)
      ? warn(text, "put a new one into tls.cert before that day, and its key into tls.key")
      : well(text),
  ];
}

/** Alerts by which a server ends a handshake (RFC 8446, 6.2), in the words of Deno's TLS. */
function judgeHandshake(found: Examination, tls: Trouble | undefined): Finding {
  const place = where(found);
  const { code = "", message = "" } = tls ?? {};
  const alert = /alert: (\w+)/.exec(message)?.[1] ?? "";
  if (alert === "ProtocolVersion") {
    return fault(
      `${place}; it speaks no TLS newer than 1.1`,
      "have its owner turn on TLS 1.2 or 1.3",
    );
  }
  if (alert === "UnrecognisedName" || alert === "UnrecognizedName") {
    return fault(
      `${place}; it serves no host of the name ${found.host}`,
      "correct the host in its url, or have its owner add it",
    );
  }
  if (found.client_certificate !== null && CLIENT_ALERTS.test(alert)) {
    return fault(
      `${place}; it refuses the client certificate (${alert})`,
      "have its owner accept the certificate in tls.cert, or put another one there",
    );
  }
  if (found.client_certificate === null && CLIENT_ALERTS.test(alert)) {
    return fault(
      `${place}; it demands a client certificate`,
      "set tls.cert and tls.key of the endpoint",
    );
  }
  if (alert === "HandshakeFailure") {
    return fault(
      `${place}; it refuses the TLS handshake (${alert})`,
      found.client_certificate !== null
        ? "have its owner accept tls.cert, and turn on the ciphers of TLS 1.2 or 1.3"
        : "it may demand a client certificate: set tls.cert and tls.key; else have its owner turn on " +
          "the ciphers of TLS 1.2 or 1.3",
    );
  }
  if (code !== "" && !code.startsWith("ERR_")) {
    return fault(
      `${place}; it ${HANGING[code] ?? "hangs up"} during the TLS handshake`,
      found.client_certificate !== null
        ? "have its owner accept the certificate in tls.cert, or put another one there"
        : "it may demand a client certificate: set tls.cert and tls.key; else have its owner check its TLS",
    );
  }
  return fault(
    `${place}; the TLS handshake fails: ${message || code}`,
    "check tls.cert and tls.key, and have its owner check its TLS",
  );
}

const HANGING: Readonly<Record<string, string>> = { ETIMEDOUT: "falls silent" };

const CLIENT_ALERTS =
  /^(CertificateRequired|BadCertificate|UnsupportedCertificate|CertificateRevoked|CertificateExpired|CertificateUnknown|UnknownCA|AccessDenied|NoCertificate)$/;

function show(name: string): string {
  return JSON.stringify(name);
}

const MAX_NAMES = 5;

function namesOf({ names, subject }: Certificate): string {
  if (names.length === 0) return `no host (its subject is ${show(subject)})`;
  const more = names.length - MAX_NAMES;
  return names.slice(0, MAX_NAMES).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** When a certificate expires: `expires in 12 days (2026-12-10)`, or `expired on 2026-11-20`. */
export function expiryOf(valid_to: number, now_ms: number): string {
  if (valid_to < now_ms) return `expired on ${dateOf(valid_to)}`;
  return `expires in ${counted(daysUntil(valid_to, now_ms), "day")} (${dateOf(valid_to)})`;
}

/** Whether a certificate should be replaced now. */
export function isExpiringSoon(valid_to: number, now_ms: number): boolean {
  return daysUntil(valid_to, now_ms) <= FEW_DAYS;
}

function dateOf(at_ms: number): string {
  return new Date(at_ms).toISOString().slice(0, 10);
}
