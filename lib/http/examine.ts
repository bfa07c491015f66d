/** Looks at an endpoint's DNS, addresses and TLS as a delivery would, and sends no request. */

import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { checkEndpointUrl, hostPort, publicOnly } from "../core/address.ts";
import { messageOf } from "../core/errors.ts";
import {
  altNames,
  type Certificate,
  certificatesIn,
  readCertificate,
} from "../core/certificates.ts";
import type { Examination, Spoken, Trouble } from "../core/examination.ts";
import { type AddressOptions, makeVetter } from "./addresses.ts";
import { makeRoute, type Route, type Target } from "./flight.ts";
import { quote } from "./response_parser.ts";
import { codeOf } from "./wire.ts";

/** All of an examination, in milliseconds. */
const PATIENCE_MS = 7_000;
/** How long a server that has answered may take for its next step. */
const GOODBYE_MS = 1_500;
/** How long a server may take to answer what may not be its protocol. */
const ANSWER_MS = 1_500;

/** Examines where deliveries of a target go. Takes 10 seconds at most, and never rejects. */
export async function examineTarget(target: Target, options: AddressOptions): Promise<Examination> {
  const until_ms = performance.now() + PATIENCE_MS;
  const route = makeRoute(target);
  const start = {
    https: route.https,
    host: route.literal ?? route.host,
    port: route.port,
    addresses: [],
    refused: [],
    lost: [],
    chain: [],
    is_for_host: false,
    client_certificate: clientCertificateOf(route),
  };
  const rules = route.public_only ? publicOnly(options.rules()) : options.rules();
  const { mistake } = checkEndpointUrl(target.url.href, rules);
  if (mistake !== undefined) return { ...start, mistake };
  const vetted = await within(until_ms, makeVetter(options)(route), () => ({
    reason: "dns" as const,
    cause: "ETIMEDOUT",
    addresses: [],
    refused: [],
  }));
  if (!("reason" in vetted)) {
    const addresses = vetted.found;
    return { ...start, addresses, ...await reach(route, vetted.addresses, options, until_ms) };
  }
  const { reason, cause, addresses, refused } = vetted;
  if (reason === "dns") {
    const [code = ""] = cause.split(" ");
    return { ...start, dns: { code: /^[A-Z_]+$/.test(code) ? code : "ENODATA", message: cause } };
  }
  const { source_address } = options;
  return {
    ...start,
    addresses,
    refused,
    ...(refused.length > 0 || source_address === undefined ? {} : { source_address }),
  };
}

function clientCertificateOf({ tls: { cert } }: Route): Certificate | null {
  try {
    const [own] = cert === undefined ? [] : certificatesIn(cert);
    return own === undefined ? null : readCertificate(own);
  } catch { // the handshake will say so
    return null;
  }
}

type Reached = Partial<
  Pick<Examination, "lost" | "reached" | "spoken" | "tls" | "chain" | "is_for_host">
>;

/** One address after the other, as the client does it. */
async function reach(
  route: Route,
  addresses: readonly string[],
  { source_address }: AddressOptions,
  until_ms: number,
): Promise<Reached> {
  const lost: { address: string; trouble: Trouble }[] = [];
  for (const [at, ip] of addresses.entries()) {
    const left_ms = (until_ms - performance.now()) / (addresses.length - at);
    const place = {
      host: ip,
      port: route.port,
      ...(source_address === undefined ? {} : { localAddress: source_address }),
    };
    const socket = connectPlain(place);
    const trouble = await happens(socket, "connect", left_ms);
    socket.destroy();
    if (trouble !== undefined) {
      lost.push({ address: hostPort(ip, route.port), trouble });
      continue;
    }
    const reached = { lost, reached: ip };
    if (!route.https) return { ...reached, spoken: await sniff(place) };
    return { ...reached, ...await shakeHands(route, place, until_ms) };
  }
  return { lost };
}

type Place = Readonly<{ host: string; port: number; localAddress?: string }>;

/**
 * Twice: without the checks, to read the certificates and hear whether one of the client is demanded;
 * then with them, as a delivery does, to hear whether it is trusted.
 */
async function shakeHands(route: Route, place: Place, until_ms: number): Promise<Reached> {
  const { ca, ...identity } = route.tls;
  const options = {
    ...place,
    ...identity,
    minVersion: "TLSv1.2" as const,
    ...(route.literal === undefined ? { servername: route.host } : {}),
  };
  let lax: TLSSocket;
  try {
    lax = connectTls({ ...options, rejectUnauthorized: false });
  } catch (error) { // thrown for a certificate or key that it cannot read
    return { spoken: "tls", tls: { code: "", message: messageOf(error) } };
  }
  // An alert may come together with the end of the handshake, before anything waits for it.
  let last: Trouble | undefined;
  lax.on("error", (error) => last = troubleOf(error));
  const trouble = await happens(lax, "secureConnect", until_ms - performance.now());
  if (trouble !== undefined) {
    lax.destroy();
    const is_alert = /ALERT/.test(trouble.code);
    return { spoken: is_alert ? "tls" : await sniff(place), tls: trouble };
  }
  const chain = certificatesOf(lax);
  const [own] = chain;
  const is_for_host = own !== undefined && isFor(own, route);
  const shown = { spoken: "tls" as const, chain: chain.map(readCertificate), is_for_host };
  await farewell(lax);
  if (last !== undefined && /ALERT/.test(last.code)) return { ...shown, tls: last };
  const strict = connectTls({
    ...options,
    ...(ca === undefined ? {} : { ca }),
    rejectUnauthorized: true,
  });
  const distrust = await happens(strict, "secureConnect", GOODBYE_MS);
  strict.destroy();
  return { ...shown, ...(distrust === undefined ? {} : { tls: distrust }) };
}

// In TLS 1.3 a server checks the client's certificate after the client is done. It answers our goodbye
// only after that.
async function farewell(socket: TLSSocket): Promise<void> {
  if (socket.destroyed) return;
  socket.resume();
  socket.end();
  await happens(socket, "end", GOODBYE_MS);
  socket.destroy();
}

function certificatesOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next: ReturnType<TLSSocket["getPeerCertificate"]> | undefined = socket.getPeerCertificate(
    true,
  );
  const seen = new Set<string>();
  while (next?.raw !== undefined && !seen.has(next.fingerprint256)) {
    seen.add(next.fingerprint256);
    chain.push(new X509Certificate(next.raw));
    next = (next as { issuerCertificate?: typeof next }).issuerCertificate;
  }
  return chain;
}

// Not checkHost(): Deno's also matches the subject, which names no host for a delivery (RFC 9525).
function isFor(certificate: X509Certificate, { host, literal }: Route): boolean {
  return literal === undefined
    ? altNames(certificate).some((name) =>
      name.startsWith("DNS:") && isNameOf(name.slice("DNS:".length), host)
    )
    : certificate.checkIP(literal) !== undefined;
}

/** Whether a name in a certificate is that of a host; `*` stands for its first label (RFC 6125, 6.4.3). */
export function isNameOf(name: string, host: string): boolean {
  const [given, wanted] = [name, host].map((one) => one.toLowerCase().replace(/\.$/, ""));
  if (given === wanted) return true;
  const dot = wanted?.indexOf(".") ?? -1;
  return dot > 0 && given === `*${wanted?.slice(dot)}`;
}

/**
 * The least hello of TLS 1.2 and 1.3 (RFC 5246, 7.4.1.2): a TLS server answers with a handshake or an
 * alert, an HTTP server with an error or nothing. Neither is a request.
 */
const HELLO = Buffer.concat([
  Buffer.from([0x16, 3, 1, 0, 49, 1, 0, 0, 45, 3, 3]),
  Buffer.alloc(32, 0x42),
  Buffer.from([0, 0, 6, 0x13, 1, 0xc0, 0x2f, 0xc0, 0x30, 1, 0]),
]);

async function sniff(place: Place): Promise<Spoken> {
  const socket = connectPlain(place);
  let first: Buffer | undefined;
  socket.once("data", (bytes: Buffer) => first = bytes);
  socket.once("connect", () => socket.write(HELLO));
  await happens(socket, "data", ANSWER_MS);
  socket.destroy();
  if (first === undefined) return "nothing";
  if (first[0] === 0x16 || first[0] === 0x15) return "tls";
  const said = first.toString("latin1", 0, 60);
  return /^HTTP\/|^\s*<(!doctype|html)/i.test(said) ? "http" : {
    said: quote(said.trim().split(/[\r\n]/)[0] ?? "").slice(1, -1),
  };
}

/** Waits for an event of a socket, or answers why it does not come in time. */
function happens(
  socket: Socket,
  event: "connect" | "secureConnect" | "end" | "data",
  patience_ms: number,
): Promise<Trouble | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(
      () => resolve({ code: "ETIMEDOUT", message: "no answer" }),
      Math.max(patience_ms, 0),
    );
    const settle = (trouble: Trouble | undefined) => {
      clearTimeout(timer);
      resolve(trouble);
    };
    socket.once(event, () => settle(undefined));
    // It stays: errors after that are nobody's concern.
    socket.on("error", (error) => settle(troubleOf(error)));
    socket.once("close", () => settle({ code: "ECONNRESET", message: "closed the connection" }));
  });
}

function troubleOf(error: Error): Trouble {
  return { code: codeOf(error), message: messageOf(error) };
}

async function within<T>(until_ms: number, work: Promise<T>, late: () => T): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const expired = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(late()), until_ms - performance.now());
  });
  try {
    return await Promise.race([work, expired]);
  } finally {
    clearTimeout(timer);
  }
}
