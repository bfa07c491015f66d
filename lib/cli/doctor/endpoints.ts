import { lookup } from "node:dns/promises";
import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { TlsConfig } from "../../config/config.ts";
import {
  type AddressRules,
  checkEndpointUrl,
  classifyEndpointAddress,
  portOf,
} from "../../core/address.ts";
import { messageOf } from "../../core/errors.ts";

/** One line of the doctor's: `!` is worth a look, `✗` keeps something from working. */
export interface Verdict {
  readonly mark: "✓" | "!" | "✗";
  readonly subject: string;
  readonly text: string;
  readonly remedy?: string;
}

/** An endpoint to examine. */
export interface Examined {
  readonly id: string;
  readonly url: string;
  readonly tls: TlsConfig | null;
}

/** The verdict on an endpoint that accepts connections. */
type Found = Pick<Verdict, "mark" | "text" | "remedy">;

const PATIENCE_MS = 5_000;
/** Certificates are renewed a month before they expire, as a rule. */
const FEW_DAYS = 21;
const DAY_MS = 86_400_000;

/** Whether an endpoint can be reached as a delivery would: DNS, each address, TLS. Sends no request. */
export async function examine(endpoint: Examined, rules: AddressRules): Promise<Verdict> {
  const subject = `endpoint ${endpoint.id}`;
  const bad = (text: string, remedy: string): Verdict => ({ mark: "✗", subject, text, remedy });
  const checked = checkEndpointUrl(endpoint.url, rules);
  if (checked.url === undefined) return bad(checked.mistake, "change its url");
  const { url } = checked;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  let addresses: string[];
  try {
    addresses = await resolve(host);
  } catch (error) {
    const text = `DNS has no address for ${host} (${codeOf(error)})`;
    return bad(text, "check the name, and this machine's resolver");
  }
  const { allowed, refused } = judgeAddresses(addresses, url, rules);
  if (allowed.length === 0) {
    const text = `${host} has no address that is allowed (${refused.join("; ")})`;
    return bad(text, "correct its DNS, or see delivery.allow_networks");
  }
  const where = host === addresses[0]
    ? `${host}:${portOf(url)}`
    : `${host} is ${allowed.join(", ")}`;
  const notes = refused.map((text) => `never used: ${text}`);
  // One after the other, as the sender does.
  for (const address of allowed) {
    try {
      const found = await reach(endpoint, url, host, address);
      return { subject, ...found, text: [where, ...notes, found.text].join("; ") };
    } catch (error) {
      notes.push(allowed.length > 1 ? `${address}: ${wordsOf(error)}` : wordsOf(error));
    }
  }
  return bad(
    [where, ...notes].join("; "),
    "is it running, and does its firewall let this machine in?",
  );
}

async function resolve(host: string): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  const found = await lookup(host, { all: true });
  return [...new Set(found.map(({ address }) => address))];
}

function judgeAddresses(addresses: readonly string[], url: URL, rules: AddressRules) {
  const allowed: string[] = [];
  const refused: string[] = [];
  for (const address of addresses) {
    const verdict = classifyEndpointAddress(address, portOf(url), rules);
    if (!verdict.allowed) refused.push(`${address} (${verdict.rule})`);
    else if (url.protocol === "http:" && verdict.scope === "public") {
      refused.push(`${address} (plain http to a public address)`);
    } else allowed.push(address);
  }
  return { allowed, refused };
}

async function reach(endpoint: Examined, url: URL, host: string, address: string): Promise<Found> {
  const port = portOf(url);
  if (url.protocol === "https:") return judge(await shakeHands(endpoint, host, address, port));
  (await open(connectPlain({ host: address, port }), "connect")).destroy();
  return { mark: "✓", text: "takes connections, without TLS" };
}

/** What a server's certificate is like. */
interface Handshake {
  /** Why it is not trusted, in words; null where it is. */
  readonly mistake: string | null;
  readonly valid_from: number;
  readonly valid_to: number;
}

async function shakeHands(
  { tls }: Examined,
  host: string,
  address: string,
  port: number,
): Promise<Handshake> {
  const options = {
    host: address,
    port,
    minVersion: "TLSv1.2" as const,
    ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls?.key === undefined ? {} : { key: tls.key.reveal() }),
    // Without a name the certificate is checked for the address.
    ...(isIP(host) !== 0 ? {} : { servername: host }),
  };
  // Twice: without the checks to read the certificate, with them to hear what is wrong with it.
  const socket = connectTls({ ...options, rejectUnauthorized: false });
  await open(socket, "secureConnect");
  const { valid_from, valid_to } = socket.getPeerCertificate();
  socket.destroy();
  const mistake = await open(connectTls({ ...options, rejectUnauthorized: true }), "secureConnect")
    .then((trusted) => {
      trusted.destroy();
      return null;
    }, wordsOf);
  return { mistake, valid_from: Date.parse(valid_from), valid_to: Date.parse(valid_to) };
}

function judge({ mistake, valid_from, valid_to }: Handshake): Found {
  const now_ms = Date.now();
  const days = Math.floor((valid_to - now_ms) / DAY_MS);
  const until = new Date(valid_to).toISOString().slice(0, 10);
  if (days < 0) {
    const text = `its certificate expired on ${until}`;
    return { mark: "✗", text, remedy: "its owner must renew it" };
  }
  if (valid_from > now_ms) {
    const from = new Date(valid_from).toISOString().slice(0, 10);
    const text = `its certificate is not valid before ${from}`;
    return { mark: "✗", text, remedy: "check this machine's clock, and its certificate" };
  }
  if (mistake !== null) {
    return {
      mark: "✗",
      text: mistake,
      remedy: "its owner must fix it; put a private authority into tls.ca",
    };
  }
  const text = `TLS, its certificate expires in ${days} days (${until})`;
  return days > FEW_DAYS
    ? { mark: "✓", text }
    : { mark: "!", text, remedy: "its owner should renew it" };
}

function open(socket: Socket, event: "connect" | "secureConnect"): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(
      () => fail(new Error(`no answer within ${PATIENCE_MS / 1000} s`)),
      PATIENCE_MS,
    );
    socket.once(event, () => {
      clearTimeout(timer);
      resolve(socket);
    });
    // It stays: what comes after the promise was settled is nobody's concern.
    socket.on("error", fail);
    socket.once("close", () => fail(new Error("closed during the handshake")));
  });
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing takes connections there",
  ECONNRESET: "it closed the connection at once",
  ETIMEDOUT: "it does not answer",
  EHOSTUNREACH: "there is no route to it",
  ENETUNREACH: "there is no route to it",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate comes from an unknown authority",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate comes from an unknown authority",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate comes from an unknown authority",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name",
};

function wordsOf(error: unknown): string {
  return WORDS[codeOf(error)] ?? messageOf(error);
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}
