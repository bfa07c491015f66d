import { lookup } from "node:dns/promises";
import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { TlsConfig } from "../config/config.ts";
import {
  type AddressRules,
  checkEndpointUrl,
  classifyEndpointAddress,
  literalAddress,
  portOf,
} from "../core/address.ts";
import { messageOf } from "../core/errors.ts";
import type { Verdict } from "./doctor.ts";

/** An endpoint that is looked at. */
export interface Examined {
  readonly id: string;
  readonly url: string;
  readonly tls: TlsConfig | null;
}

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
    addresses = await resolve(url, host);
  } catch (error) {
    return bad(
      `DNS has no address for ${host} (${codeOf(error)})`,
      "check the name, and this machine's resolver",
    );
  }
  const port = portOf(url);
  const refused = addresses.flatMap((address) => {
    const verdict = classifyEndpointAddress(address, port, rules);
    return verdict.allowed ? [] : [`${address}: ${verdict.rule}`];
  });
  const allowed = addresses.filter((address) =>
    classifyEndpointAddress(address, port, rules).allowed
  );
  const [address] = allowed;
  if (address === undefined) {
    return bad(
      `${host} has no address that is allowed (${refused.join("; ")})`,
      "correct its DNS, or see delivery.allow_networks",
    );
  }
  const where = literalAddress(url.hostname) === host
    ? `${host}:${port}`
    : `${host} is ${allowed.join(", ")}`;
  const also = refused.length === 0 ? "" : `; not used: ${refused.join("; ")}`;
  try {
    if (url.protocol === "http:") {
      (await open(connectPlain({ host: address, port }), "connect")).destroy();
      return { mark: "✓", subject, text: `${where}${also}; takes connections, without TLS` };
    }
    return { subject, ...judge(await shakeHands(endpoint, host, address, port), where + also) };
  } catch (error) {
    return bad(
      `${where}${also}; ${wordsOf(error)}`,
      "is it running, and does its firewall let this machine in?",
    );
  }
}

async function resolve(url: URL, host: string): Promise<string[]> {
  const literal = literalAddress(url.hostname);
  if (literal !== undefined) return [literal];
  const found = await lookup(host, { all: true });
  return [...new Set(found.map(({ address }) => address))];
}

/** What a server's certificate is like. */
interface Handshake {
  /** Why it is not trusted, in words; null where it is. */
  readonly mistake: string | null;
  readonly valid_from: number;
  readonly valid_to: number;
  readonly protocol: string;
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
    ...(literalAddress(host) === host ? {} : { servername: host }),
  };
  // Twice: without the checks to read the certificate, with them to hear what is wrong with it.
  const loose = await open(connectTls({ ...options, rejectUnauthorized: false }), "secureConnect");
  const { valid_from, valid_to } = (loose as TLSSocket).getPeerCertificate();
  const protocol = (loose as TLSSocket).getProtocol() ?? "TLS";
  loose.destroy();
  const mistake = await open(connectTls({ ...options, rejectUnauthorized: true }), "secureConnect")
    .then((socket) => {
      // Deno 2.6 says that it is secure where a handshake failed, too: then there is no certificate.
      const secure = socket as TLSSocket;
      const is_good = secure.authorized && Boolean(secure.getPeerCertificate()?.valid_to);
      secure.destroy();
      return is_good ? null : "its certificate is not trusted";
    }, wordsOf);
  return { mistake, protocol, valid_from: parse(valid_from), valid_to: parse(valid_to) };
}

// Deno 2.6 writes `+00:00` where 2.9 writes `GMT`.
function parse(time: string): number {
  return Date.parse(time.replace("+00:00", "GMT"));
}

function judge(
  { mistake, protocol, valid_from, valid_to }: Handshake,
  where: string,
): Pick<Verdict, "mark" | "text" | "remedy"> {
  const now_ms = Date.now();
  const days = Math.floor((valid_to - now_ms) / DAY_MS);
  const until = new Date(valid_to).toISOString().slice(0, 10);
  if (days < 0) {
    const text = `${where}; its certificate expired on ${until}`;
    return { mark: "✗", text, remedy: "its owner must renew it" };
  }
  if (valid_from > now_ms) {
    const from = new Date(valid_from).toISOString().slice(0, 10);
    const text = `${where}; its certificate is not valid before ${from}`;
    return { mark: "✗", text, remedy: "check this machine's clock, and its certificate" };
  }
  if (mistake !== null) {
    return {
      mark: "✗",
      text: `${where}; ${mistake}`,
      remedy: "its owner must mend that; an authority of your own goes into tls.ca",
    };
  }
  const text = `${where}; ${protocol}, its certificate expires in ${days} days (${until})`;
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
  EHOSTUNREACH: "there is no way to it",
  ENETUNREACH: "there is no way to it",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is signed by itself",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate is of an authority that is not known here",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate is of an authority that is not known here",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate is of an authority that is not known here",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name",
};

function wordsOf(error: unknown): string {
  return WORDS[codeOf(error)] ?? messageOf(error);
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}
