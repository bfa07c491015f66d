import type { MailTarget } from "../config/config.ts";
import { isLoopback } from "../core/address.ts";
import { mailTexts } from "../core/alerting/mail.ts";
import {
  type MailFailed,
  mailFailure,
  refusedRecipients,
  requestFailure,
  type Sent,
} from "../core/alerting/undelivered.ts";
import type { Announcement } from "../core/alerting/words.ts";
import { type AddressOptions, makeVetter } from "../http/addresses.ts";
import { makeRoute, makeTarget, type Route } from "../http/flight.ts";

/** Sends mails by SMTP. */
export interface Mailer {
  /**
   * Sends an announcement, with every line of its own. `id` is the same if it is sent again, so that a mail program
   * may show it once. Never throws.
   */
  send(
    server: Pick<MailTarget, "smtp" | "from">,
    to: readonly string[],
    announcement: Announcement,
    id: string,
  ): Promise<Sent>;
}

/** How servers are reached. */
export interface MailerOptions extends AddressOptions {
  /** Whether an address is this machine's own, where TLS is not needed (default: loopback). */
  readonly isOwn?: (ip: string) => boolean;
  /** The authorities that are trusted, in PEM (default: the system's). */
  readonly ca?: string;
  /** How long a step may take, in milliseconds; a mail may take three times that (default: 10 s). */
  readonly step_ms?: number;
}

const STEP_MS = 10_000;
const STEPS = 3;
/** Addresses of a server that are tried. */
const MAX_ADDRESSES = 3;

/**
 * A mailer for servers where endpoints may be, and on this machine. It resolves their names itself, so that a name
 * cannot lead elsewhere after its addresses were judged. Nothing is sent without TLS and a certificate of that name,
 * except within this machine.
 */
export function makeMailer(options: MailerOptions): Mailer {
  const { step_ms = STEP_MS } = options;
  const vet = makeVetter({ ...options, rules: () => rulesOf(options) });

  return {
    async send(server, to, announcement, id) {
      const url = new URL(server.smtp.reveal());
      const route = makeRoute(makeTarget(`https://${url.hostname}:${portOf(url)}`));
      const vetted = await vet(route);
      if ("cause" in vetted) return requestFailure(route.host, vetted);
      // Most daemons send no mails, and need not load what it takes.
      const { createTransport } = await import("nodemailer");
      const name = domainOf(server.from);
      const mail = {
        ...mailTexts(announcement),
        from: senderOf(server.from),
        to: to.map((address) => ({ name: "", address })),
        messageId: `<${id}@${name}>`,
        headers: { "Auto-Submitted": "auto-generated" },
        disableFileAccess: true,
        disableUrlAccess: true,
        signal: AbortSignal.timeout(STEPS * step_ms),
      };
      let failed: MailFailed = { code: "", status: null, system: null };
      for (const ip of vetted.addresses.slice(0, MAX_ADDRESSES)) {
        try {
          const transport = createTransport(smtpOptions(url, route, ip, name, options));
          const { rejectedErrors = [] } = await transport.sendMail(mail);
          return { ok: true, missed: refusedRecipients(route.host, rejectedErrors.map(refusedBy)) };
        } catch (error) {
          failed = failedBy(error);
          if (!isUnreachable(error)) break;
        }
      }
      return mailFailure(route.host, failed);
    },
  };
}

/** A relay on this machine is the choice of whoever wrote the file, and no daemon speaks SMTP. */
function rulesOf({ rules }: AddressOptions) {
  const { public_url: _, ...others } = rules();
  return { ...others, allow_loopback: true };
}

/** How a server at an address is spoken to. `name` is how this machine calls itself. */
function smtpOptions(
  url: URL,
  { host, literal }: Route,
  ip: string,
  name: string,
  { isOwn = isLoopback, ca, step_ms = STEP_MS }: MailerOptions,
) {
  const is_own = isOwn(ip);
  const secure = url.protocol === "smtps:";
  const [user = "", pass = ""] = [url.username, url.password].map(decodeURIComponent);
  return {
    host: ip,
    port: portOf(url),
    secure,
    requireTLS: !secure && !is_own,
    name,
    ...(user === "" ? {} : { auth: { user, pass } }),
    tls: {
      // Without a name the certificate is checked for the address.
      ...(literal === undefined ? { servername: host } : {}),
      ...(ca === undefined ? {} : { ca }),
      minVersion: "TLSv1.2" as const,
      rejectUnauthorized: !is_own,
    },
    connectionTimeout: step_ms,
    greetingTimeout: step_ms,
    socketTimeout: step_ms,
  };
}

function portOf({ port, protocol }: URL): number {
  return port !== "" ? Number(port) : protocol === "smtps:" ? 465 : 587;
}

/** The name and the address of `BookMe <alerts@example.com>`. */
function senderOf(from: string): { readonly name: string; readonly address: string } {
  const [, name = "", address = from] = /^([^<]*)<([^<>]+)>$/.exec(from) ?? [];
  return { name: name.trim(), address };
}

function domainOf(from: string): string {
  const { address } = senderOf(from);
  return address.slice(address.lastIndexOf("@") + 1);
}

// Its message quotes the server.
function failedBy(error: unknown): MailFailed {
  const { code, originalCode, responseCode } = error as Readonly<Record<string, unknown>>;
  return {
    code: typeof code === "string" ? code : "",
    status: typeof responseCode === "number" ? responseCode : null,
    system: typeof originalCode === "string" ? originalCode : null,
  };
}

function refusedBy(error: unknown): { readonly recipient: string; readonly status: number | null } {
  const { recipient } = error as { readonly recipient?: unknown };
  return { recipient: String(recipient), status: failedBy(error).status };
}

/** Whether nothing took the connection, so that another address of the server may. */
function isUnreachable(error: unknown): boolean {
  const { originalCode, timeoutType } = error as Readonly<Record<string, unknown>>;
  return /^E(CONNREFUSED|(HOST|NET)UNREACH|NETDOWN)$/.test(String(originalCode)) ||
    timeoutType === "CONNECT_TIMEOUT";
}
