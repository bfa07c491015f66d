import type { Reason } from "../../../lib/core/outcome.ts";

/** Why attempts fail, for the developer of a receiver. */
export interface ReasonHelp {
  readonly reason: Reason;
  /** `The receiver refused it (4xx)` */
  readonly title: string;
  readonly means: string;
  readonly remedy: string;
}

/** Every reason, those that happen most first. */
export const REASON_HELP: readonly ReasonHelp[] = [
  {
    reason: "http_4xx",
    title: "Refused: a status from 400 to 499",
    means: "The receiver got the request and rejected it.",
    remedy:
      "401 or 403: check which secret it verifies with, that it verifies the bytes as received, and " +
      "that no login or firewall is in front. 404 or 405: correct the URL's path; it must accept POST. 400 or " +
      "422: it does not understand the body; look at its answer. 413: raise its limit for request bodies. " +
      "429: it wants fewer at once; set a rate limit.",
  },
  {
    reason: "http_5xx",
    title: "Failed at the receiver: a status from 500 to 599",
    means: "The receiver got the request and failed at it.",
    remedy:
      "Its own log has the cause. 502, 503 and 504 come from a proxy whose program is down, is being " +
      "deployed or is too slow. Answer 2xx first and work on the event afterwards.",
  },
  {
    reason: "timeout",
    title: "No answer in time",
    means:
      "Looking up the name, connecting, TLS and waiting for the answer's head took longer than allowed.",
    remedy:
      "Look at the time bar of the attempt: a long wait for the answer means that the receiver works " +
      "before it answers, so store the event and answer 2xx at once. A long connect means that a firewall " +
      "drops packets: allow the addresses below.",
  },
  {
    reason: "connection",
    title: "No connection, or it was closed",
    means:
      "The receiver refused the connection, could not be reached, or hung up before it answered.",
    remedy:
      "Refused: nothing listens at that port; start the receiver or correct the URL. Unreachable: check " +
      "routes and firewalls. Closed: a crash, a restart, or a proxy with a shorter timeout than its program.",
  },
  {
    reason: "dns",
    title: "Its name does not resolve",
    means: "The URL's host has no address, or the name servers do not answer.",
    remedy: "Check the spelling and the domain's records, and that the domain has not expired.",
  },
  {
    reason: "tls",
    title: "No secure connection",
    means:
      "The certificate is expired, is for another name, or is not signed by an authority that is trusted; or " +
      "the receiver speaks no TLS from 1.2 on.",
    remedy:
      "Renew the certificate, and send the intermediate ones along. With an authority of your own, add it " +
      "to the endpoint's TLS settings.",
  },
  {
    reason: "redirect",
    title: "Redirected: a status from 300 to 399",
    means:
      "The receiver sends the request elsewhere. Redirects are not followed, because the signature would " +
      "go to a place that nobody agreed on.",
    remedy:
      "Enter the URL that it redirects to. Often only https, www or a slash at the end is missing.",
  },
  {
    reason: "protocol",
    title: "No answer in HTTP",
    means: "Something answered, but not with a status line of HTTP/1.",
    remedy:
      "Check the port: a TLS port reached in plain text, a mail server or an HTTP/2-only server answers so. " +
      "The first bytes received are kept with the attempt.",
  },
  {
    reason: "blocked",
    title: "Address not allowed",
    means:
      "The URL leads to an address that may not be sent to: private, this machine's, or a cloud's metadata.",
    remedy:
      "Correct the URL or its DNS record, so that it leads to a public address. An operator can allow " +
      "private networks in the configuration.",
  },
  {
    reason: "gone",
    title: "410 Gone",
    means:
      "The receiver wants nothing more at this URL. The delivery ends, and the endpoint is paused.",
    remedy: "Correct the URL or fix the receiver, then resume the endpoint: what waited goes out.",
  },
  {
    reason: "interrupted",
    title: "Cut off",
    means: "The sender stopped or lost its database during the attempt, so its end is unknown.",
    remedy:
      "Nothing to do: it is sent again without counting against the attempts. The receiver may get it twice.",
  },
];
