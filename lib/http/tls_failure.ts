import { messageOf } from "../core/errors.ts";
import type { Route } from "./flight.ts";
import { quote } from "./response_parser.ts";
import { codeOf } from "./wire.ts";

/** node:tls gives this code to an expired certificate as to an unknown authority. */
const VAGUE_CODE = "UNABLE_TO_VERIFY_LEAF_SIGNATURE";

/** Whether the error of a failed handshake leaves open what is wrong with the certificate. */
export function isVague(error: Error | undefined): boolean {
  return codeOf(error) === VAGUE_CODE;
}

/** Why a handshake failed, by the error of node:tls; without one the peer just closed. */
export function handshakeCause(error: Error | undefined): string {
  if (error === undefined) return "closed during the TLS handshake";
  return `${codeOf(error)} ${nameTlsTrouble(error.message).cause}`.trim();
}

/** Whether an error is a TLS alert. One may follow the handshake: a client certificate is missing. */
export function isTlsError(error: Error | undefined): boolean {
  return /^ERR_(SSL|TLS)_/.test(codeOf(error));
}

/** A fault of a certificate. */
export interface TlsTrouble {
  readonly cause: string;
  /** When it ended, in milliseconds since 1970, if that is the fault. */
  readonly expired_at: number | null;
}

/**
 * Why a handshake of node:tls failed, in the words of Deno's own TLS: shakes hands again, sends nothing
 * and hangs up. Undefined if Deno finds no fault, the connection fails, or `stop` comes first.
 */
export async function diagnoseTls(
  route: Route,
  ip: string,
  stop: AbortSignal,
): Promise<TlsTrouble | undefined> {
  try {
    await shakeHands(route, ip, stop);
    return undefined;
  } catch (error) {
    return error instanceof Deno.errors.InvalidData ? nameTlsTrouble(messageOf(error)) : undefined;
  }
}

async function shakeHands(route: Route, ip: string, stop: AbortSignal): Promise<void> {
  let conn: Deno.Conn | undefined;
  const onStop = () => hangUp(conn);
  stop.addEventListener("abort", onStop);
  try {
    const plain = await Deno.connect({ hostname: ip, port: route.port, signal: stop });
    conn = plain;
    stop.throwIfAborted();
    const secure = await Deno.startTls(plain, {
      hostname: route.literal ?? route.host,
      ...(route.tls.ca === undefined ? {} : { caCerts: [route.tls.ca] }),
    });
    conn = secure;
    stop.throwIfAborted();
    await secure.handshake();
  } finally {
    stop.removeEventListener("abort", onStop);
    hangUp(conn);
  }
}

function hangUp(conn: Deno.Conn | undefined): void {
  try {
    conn?.close();
  } catch { /* closed already */ }
}

/** The words of rustls, its times as dates. */
function nameTlsTrouble(message: string): TlsTrouble {
  const found = /certificate (expired|not valid yet).* not valid (?:after|before) (\d+)/.exec(
    message,
  );
  if (found === null) return { cause: quote(message).slice(1, -1), expired_at: null };
  const time = Number(found[2]) * 1000;
  const at = new Date(time).toISOString().replace(".000Z", "Z");
  return found[1] === "expired"
    ? { cause: `certificate expired ${at}`, expired_at: time }
    : { cause: `certificate not valid before ${at}`, expired_at: null };
}
