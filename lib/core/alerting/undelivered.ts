/** Why an announcement did not arrive, in our words: nothing that came back is quoted, and no URL. */

import { listed } from "../errors.ts";
import type { Outcome } from "../outcome.ts";
import { uncapitalised } from "../words.ts";

/** What became of an announcement. */
export type Sent = Delivered | Undelivered;

/** It arrived. */
export interface Delivered {
  readonly ok: true;
  /** Who did not get it, though others did: `mail.example.com refused ops@example.com (550)`. */
  readonly missed?: string | null;
}

/** Why it did not arrive. */
export interface Undelivered {
  readonly ok: false;
  /** `hooks.slack.com answered 404`. */
  readonly cause: string;
  /** What to do about it, without a full stop. */
  readonly remedy: string;
}

/** A request that got no answer, or one with another status than 2xx. */
export type Failed =
  | { readonly status: number }
  | { readonly reason: Exclude<Outcome["outcome"], "delivered">; readonly cause: string };

const LASTS = "If that lasts, look at its status page";
const NETWORK = "Check the network and the firewall of this machine";
const ALLOWED = "Allow its network in delivery.allow_networks, or use another address";

/** What makes a new URL, by the kind of chat. */
const NEW_URL = {
  slack:
    "Make a new incoming webhook in Slack (api.slack.com/apps), put its URL into alerts.chat and reload",
  teams:
    'Make a new workflow "Post to a channel when a webhook request is received" in Teams, put its URL ' +
    "into alerts.chat and reload",
} as const;

/** Why a chat did not take a message. `host` is that of its URL, which is no secret. */
export function chatFailure(
  kind: keyof typeof NEW_URL,
  host: string,
  failed: Failed,
): Undelivered {
  if (!("status" in failed)) return requestFailure(host, failed);
  const { status } = failed;
  const say = (what: string, remedy: string): Undelivered => ({
    ok: false,
    cause: `${host} answered ${status}${what}`,
    remedy,
  });
  if (status >= 300 && status < 400) {
    return say(", a redirect, which is not followed", NEW_URL[kind]);
  }
  switch (status) {
    case 400:
      return kind === "slack"
        ? say(": it refuses the message, or the app's user is gone", NEW_URL[kind])
        : say(
          ": the workflow refuses the message",
          `${NEW_URL[kind]}; it must post an Adaptive Card`,
        );
    case 401:
    case 403:
    case 404:
    case 410:
      return say(": the URL was revoked, or its channel is gone", NEW_URL[kind]);
    case 429:
      return say(": it gets too many messages", LASTS);
    default:
      return status >= 500 ? say(": it has an error of its own", LASTS) : say("", NEW_URL[kind]);
  }
}

/** Why a request got no answer. The receiver's own words, in a certificate or instead of HTTP, are left out. */
export function requestFailure(
  host: string,
  { reason, cause }: Extract<Failed, { readonly cause: string }>,
): Undelivered {
  const code = coded(/^[A-Z][A-Z\d_]+/.exec(cause)?.[0] ?? null);
  switch (reason) {
    case "blocked":
      return { ok: false, cause, remedy: ALLOWED };
    case "dns":
      return {
        ok: false,
        cause: `${host} has no address${code}`,
        remedy: `${NETWORK}, and its DNS`,
      };
    case "timeout":
      return { ok: false, cause: `${host} did not answer in time`, remedy: NETWORK };
    case "tls":
      return {
        ok: false,
        cause: `${host} has no certificate that is trusted${code}`,
        remedy: "Check the host's name; a proxy that opens TLS is not supported",
      };
    case "protocol":
      return { ok: false, cause: `${host} does not speak HTTP`, remedy: "Check the URL" };
    case "interrupted":
      return { ok: false, cause: "The daemon was stopping", remedy: "Try again" };
    default:
      return { ok: false, cause: `No connection to ${host}${code}`, remedy: NETWORK };
  }
}

/** A mail that failed, as nodemailer says it. */
export interface MailFailed {
  readonly code: string;
  /** Of the server's last answer, if that was the reason. */
  readonly status: number | null;
  /** The code of the connection's failure: `ECONNREFUSED`, `DEPTH_ZERO_SELF_SIGNED_CERT`. */
  readonly system: string | null;
}

/** Which recipients a mail server refused, while it took the mail for others; null if none. */
export function refusedRecipients(
  host: string,
  refused: readonly { readonly recipient: string; readonly status: number | null }[],
): string | null {
  if (refused.length === 0) return null;
  const names = refused.map(({ recipient, status }) => `${recipient}${coded(status)}`);
  return `${host} refused ${listed(names)}`;
}

/** Why a mail server did not take a mail. */
export function mailFailure(host: string, { code, status, system }: MailFailed): Undelivered {
  const say = (cause: string, remedy: string): Undelivered => ({
    ok: false,
    cause: `${cause}${coded(status ?? system)}`,
    remedy,
  });
  if (status !== null && status >= 400 && status < 500) {
    return say(
      `${host} does not take the mail now`,
      "If that lasts, its log says why",
    );
  }
  switch (code) {
    case "EAUTH":
    case "ENOAUTH":
      return say(
        `${host} refused user and password`,
        "Correct them in alerts.mail.smtp; some providers want a password made for this program",
      );
    case "EENVELOPE":
      return say(
        `${host} refused the sender or the recipients`,
        "Check alerts.mail.from and alerts.mail.to; many servers take only senders of their own domain",
      );
    case "EMESSAGE":
      return say(`${host} refused the mail`, "Its log says why; it may take it for spam");
    case "ETLS":
      return say(`${host} offers no TLS after STARTTLS`, START);
    case "ETIMEDOUT":
    case "EABORT":
      return say(
        `${host} did not answer in time`,
        `${START}; ${uncapitalised(NETWORK)}, many providers block port 25`,
      );
    case "EPROTOCOL":
      return status === null
        ? say(`${host} does not answer as a mail server does`, "Check host and port")
        : say(`${host} refused to talk to this machine`, "Its log says why");
    default:
      return connectionFailure(host, system, say);
  }
}

const START =
  "Write smtps: if the server speaks TLS from the start, as at port 465, and smtp: if it does after " +
  "STARTTLS, as at port 587";

function connectionFailure(
  host: string,
  system: string | null,
  say: (cause: string, remedy: string) => Undelivered,
): Undelivered {
  if (system === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return say(
      `${host} has a certificate of another name`,
      "Write a name that is in the certificate into alerts.mail.smtp",
    );
  }
  if (/CERT|^UNABLE_TO_/.test(system ?? "")) {
    return say(
      `${host} has no certificate that is trusted`,
      "Renew it, or have it signed by an authority that this machine trusts",
    );
  }
  if (/^ERR_(SSL|TLS)_/.test(system ?? "")) return say(`TLS with ${host} fails`, START);
  return say(`No connection to ${host}`, `Check host and port; ${uncapitalised(NETWORK)}`);
}

/** A status or a code as it follows a sentence: ` (550)`. */
function coded(code: string | number | null): string {
  return code === null ? "" : ` (${code})`;
}
