import { PUBLIC_ONLY } from "./address.ts";
import { shorten } from "./errors.ts";
import type { Outcome } from "./outcome.ts";

/** An attempt, as far as it shows what is wrong. Times in milliseconds. */
export interface AttemptFacts {
  readonly outcome: Outcome["outcome"];
  readonly status: number | null;
  readonly cause: string | null;
  readonly duration_ms: number;
  /** How long the endpoint may take, or null if that is unknown. */
  readonly timeout_ms: number | null;
  /** Where it was sent. */
  readonly url: string;
  /** Whether the request was signed. */
  readonly signed: boolean;
  /** Length of the request's body; null if that is gone. */
  readonly sent_bytes: number | null;
  /** The answer's header fields, and its body if that is text. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

/** What a receiver writes that found the signature missing or wrong: a regular expression, in any case. */
export const SIGNATURE_WORDS = "signature|hmac";
/** How much of an answer is searched for that: a refusal says why at its beginning. */
export const SEARCHED_LENGTH = 4_096;
const ABOUT_SIGNATURE = new RegExp(SIGNATURE_WORDS, "i");
/** The share of the timeout from which an answer counts as slow. */
const SLOW = 0.8;

/** Whether the answer refuses the request and mentions a signature, which `verify` examines. */
export function mentionsSignature(
  { outcome, headers, body }: Pick<AttemptFacts, "outcome" | "headers" | "body">,
): boolean {
  if (outcome !== "http_4xx") return false;
  const text = [...headers.flat(), body.slice(0, SEARCHED_LENGTH)].join("\n");
  return ABOUT_SIGNATURE.test(text);
}

/** The likely cause of an attempt's outcome and its remedy, in words; null if there is nothing to say. */
export function adviseOn(facts: AttemptFacts): string | null {
  switch (facts.outcome) {
    case "delivered":
      return adviseOnDelivered(facts);
    case "http_4xx":
      return adviseOn4xx(facts);
    case "http_5xx":
      return adviseOn5xx(facts);
    case "redirect":
      return adviseOnRedirect(facts);
    case "timeout":
      return adviseOnTimeout(facts);
    case "dns":
      return adviseOnDns(facts);
    case "tls":
      return adviseOnTls(facts);
    case "connection":
      return adviseOnConnection(facts);
    case "protocol":
      return adviseOnProtocol(facts);
    case "blocked":
      if (facts.cause?.endsWith(PUBLIC_ONLY) === true) {
        return "Correct the endpoint's url or its DNS, so that it leads to public addresses only";
      }
      return "This daemon sends to public addresses only, to private ones that delivery.allow_networks " +
        "lists, and to loopback in environment development; correct the endpoint's url or its DNS";
    case "gone":
      return "The receiver wants nothing more at this url, and the endpoint was paused; correct its " +
        "url, or fix the receiver, and resume it";
    case "interrupted":
      return "The daemon stopped, crashed or lost its database during the attempt; it is sent again " +
        "without counting, and the receiver may get it twice";
  }
}

function adviseOnDelivered(facts: AttemptFacts): string | null {
  const { duration_ms, timeout_ms, body } = facts;
  if (timeout_ms !== null && duration_ms >= SLOW * timeout_ms) {
    return `Slow: it took ${inSeconds(duration_ms)} of the ${inSeconds(timeout_ms)} that it has. ` +
      ANSWER_FIRST;
  }
  if (!/^text\/html\b/i.test(headerOf(facts, "content-type") ?? "")) return null;
  const page = /<input[^>]+type=["']?password|log ?in|sign ?in/i.test(body)
    ? "a login page"
    : "a web page";
  return `The answer is ${page}: check that the endpoint's url is the receiver's, because a 2xx counts ` +
    "as delivered, whatever sent it";
}

const ANSWER_FIRST = "Let the receiver answer first and work later";

const SIGNATURE =
  "The answer mentions a signature. Either the receiver has another secret, or it " +
  "checks a body that was parsed and written again instead of the bytes received; " +
  "`bookme-webhooks verify` with the receiver's secret finds out";

function adviseOn4xx(facts: AttemptFacts): string {
  const { status, url, signed, sent_bytes, body } = facts;
  const path = URL.parse(url)?.pathname ?? "/";
  if (/"code": ?"loop"/.test(body)) {
    return "The endpoint leads back to bookme-webhooks; point its url at a receiver, not at /ingest";
  }
  if (/plain HTTP request .*HTTPS port/i.test(body)) {
    return "The port expects TLS; begin the endpoint's url with https://";
  }
  if (mentionsSignature(facts)) {
    return signed
      ? SIGNATURE
      : "The receiver wants a signature, and the endpoint is unsigned; give it a secret";
  }
  switch (status) {
    case 401:
      return "The receiver wants credentials; set them in the endpoint's headers, such as Authorization";
    case 403:
      return "The receiver, or a firewall in front of it, refuses this sender; let it allow the " +
        "addresses that GET /ip-ranges lists, or set credentials in the endpoint's headers";
    case 404:
      return `The receiver has nothing at ${path}; correct the path of the endpoint's url`;
    case 405: {
      const allow = headerOf(facts, "allow");
      const methods = allow === undefined ? "" : `, only ${shorten(allow, 60)}`;
      return `The receiver does not accept POST at ${path}${methods}; correct the path of the ` +
        "endpoint's url, or let the receiver accept POST there";
    }
    case 408:
      return `The receiver, or a proxy in front of it, gave up waiting. ${ANSWER_FIRST}`;
    case 409:
      return "The receiver reports a conflict; if it has the event already, let it answer with a 2xx";
    case 413:
      return `The body${
        sent_bytes === null ? "" : ` of ${sent_bytes} bytes`
      } is too large for the ` +
        "receiver or a proxy in front of it; " +
        "raise the limit there (client_max_body_size in nginx)";
    case 415:
      return "The receiver does not accept application/json, which every delivery is; let it accept that";
    case 429:
      return "The receiver gets more than it accepts; set rate_limit or concurrency of the endpoint";
    case 431:
      return "The request's header fields are too large for the receiver; set fewer in the endpoint's " +
        "headers";
    default:
      return "The receiver refuses the request; its answer and its log have the reason";
  }
}

function adviseOn5xx({ status }: AttemptFacts): string {
  switch (status) {
    case 502:
      return "A proxy answered: the receiver behind it is down, or answered with no valid HTTP";
    case 503:
      return "The receiver, or a proxy in front of it, is not available; attempts go on by the schedule";
    case 504:
      return `A proxy answered: the receiver behind it took too long. ${ANSWER_FIRST}`;
    default:
      return "The receiver failed; its log of that moment has the reason";
  }
}

function adviseOnRedirect(facts: AttemptFacts): string {
  const location = headerOf(facts, "location");
  const from = URL.parse(facts.url);
  const to = location === undefined ? null : URL.parse(location, facts.url);
  if (from === null || to === null) {
    return "The receiver redirects, but not to a url; set the endpoint's url to where it answers itself";
  }
  const shown = shorten(to.href, 200);
  if (/log-?in|sign-?in|sso|auth/i.test(to.pathname + to.hostname)) {
    return `The receiver redirects to what looks like a login (${shown}); give the endpoint a url that ` +
      "needs no session";
  }
  const same = (part: "host" | "pathname" | "search") => from[part] === to[part];
  const why = from.protocol !== to.protocol && to.protocol === "https:"
    ? "to https"
    : same("host") && to.pathname === `${from.pathname}/`
    ? "to the path with a slash at its end"
    : same("host") && from.pathname === `${to.pathname}/`
    ? "to the path without the slash at its end"
    : from.hostname !== to.hostname
    ? "to another host"
    : "to another path";
  return `The receiver redirects ${why}, and redirects are not followed; set the endpoint's url to ` +
    shown;
}

function adviseOnTimeout({ cause, timeout_ms }: AttemptFacts): string {
  if (/^no answer from DNS/.test(cause ?? "")) {
    return "This machine's resolver did not answer; check its DNS servers";
  }
  if (/^no connection to/.test(cause ?? "")) {
    return "The receiver's machine does not answer at that port; a firewall drops the packets, or the " +
      "machine is down";
  }
  if (/^no end of the TLS handshake/.test(cause ?? "")) {
    return "The port accepts connections but does not speak TLS in time; check the port of the url, " +
      "and how busy the receiver is";
  }
  const limit = timeout_ms === null ? "in time" : `within ${inSeconds(timeout_ms)}`;
  return `The receiver took the request and did not answer ${limit}. ${ANSWER_FIRST}; it may have ` +
    "processed the event, and will get it again";
}

function adviseOnDns({ cause, url }: AttemptFacts): string {
  const host = URL.parse(url)?.hostname ?? "the host";
  return /^(ENOTFOUND|ENODATA|No address)/.test(cause ?? "")
    ? `DNS has no address for ${host}; check its spelling, its records and whether the domain has expired`
    : `The resolver of this machine failed to look up ${host}; check its DNS servers`;
}

/** What the words of node:tls and rustls mean, the first that matches. */
const TLS_ADVICE: readonly (readonly [RegExp, string])[] = [
  [/certificate expired/i, "The receiver's certificate has expired; renew it there"],
  [
    /not valid before|not valid yet|NotValidYet/i,
    "The receiver's certificate is not valid yet; check the clocks of both machines, and the certificate",
  ],
  [
    /NotValidForName|ALTNAME|not valid for/i,
    "The receiver's certificate is for another name; correct the host of the url or the certificate",
  ],
  [
    /SELF_SIGNED/i,
    "The receiver's certificate is signed by itself; use one of a public authority, or give the " +
    "endpoint tls.ca",
  ],
  [
    /UnknownIssuer|UNABLE_TO_(VERIFY|GET)/i,
    "The receiver's certificate comes from an unknown authority, or the receiver does not send the " +
    "intermediate certificate; complete its chain, or give the endpoint tls.ca",
  ],
  [
    /WRONG_VERSION|wrong version|InvalidContentType|corrupt message|packet length|UNEXPECTED_MESSAGE/i,
    "The port does not speak TLS; correct the port of the url, or put TLS in front of the receiver",
  ],
  [
    /certificate.?required|bad.?certificate|HANDSHAKE_FAILURE|handshake failure/i,
    "The receiver refuses the handshake; it may demand a client certificate, which tls.cert and " +
    "tls.key of the endpoint give",
  ],
];

function adviseOnTls({ cause }: AttemptFacts): string {
  return TLS_ADVICE.find(([form]) => form.test(cause ?? ""))?.[1] ??
    "The TLS handshake failed; `bookme-webhooks doctor` examines the endpoint's certificate";
}

function adviseOnConnection({ cause }: AttemptFacts): string {
  const text = cause ?? "";
  if (/ECONNREFUSED/.test(text)) {
    return "Nothing listens at that address and port; start the receiver, or correct the url";
  }
  if (/E(HOST|NET)UNREACH|No address of the family/.test(text)) {
    return "This machine has no route to that address; check its network, and IPv6 if it is such an " +
      "address";
  }
  if (/ETIMEDOUT/.test(text)) {
    return "The receiver's machine does not answer; a firewall drops the packets, or the machine is down";
  }
  return "The receiver, or a proxy in front of it, closed the connection without an answer; its log of " +
    "that moment has the reason";
}

function adviseOnProtocol({ body }: AttemptFacts): string {
  // The alert with which TLS answers plain text.
  return body.startsWith("\x15\x03")
    ? "The port expects TLS; begin the endpoint's url with https://"
    : "The port does not speak HTTP; check host and port of the endpoint's url";
}

function headerOf({ headers }: AttemptFacts, name: string): string | undefined {
  return headers.find(([one]) => one.toLowerCase() === name)?.[1];
}

function inSeconds(ms: number): string {
  return `${Number((ms / 1000).toFixed(1))} s`;
}
