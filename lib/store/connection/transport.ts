import { Buffer } from "node:buffer";
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { DatabaseAddress, DatabaseTls } from "../../core/database_address.ts";
import { messageOf } from "../../core/errors.ts";
import { notPostgres } from "./conversation.ts";
import { type Failure, failure } from "./failure.ts";

/** One address to connect to. */
export type Target =
  | { readonly host: string; readonly port: number; readonly ip: string }
  | { readonly socket: string };

/** How a connection begins: TLS, no TLS, or what the server offers. */
export type Opening = "tls" | "plain" | "either";

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/**
 * The openings that an `sslmode` allows, in libpq's order: the next one is tried if the server refuses
 * the one before. Sockets never use TLS.
 */
export function openingsOf(target: Target, { mode }: DatabaseTls): readonly Opening[] {
  if ("socket" in target || mode === "disable") return ["plain"];
  if (mode === "allow") return ["plain", "tls"];
  if (mode === "prefer") return ["either", "plain"];
  return ["tls"];
}

/**
 * Connects to `target`, over TLS if `opening` says so. Rejects with a `Failure`; `signal` ends the
 * attempt with its reason. The caller closes the socket.
 */
export async function openTransport(
  target: Target,
  opening: Opening,
  { tls, keepalive }: Pick<DatabaseAddress, "tls" | "keepalive">,
  signal: AbortSignal,
): Promise<Socket> {
  const raw = "socket" in target
    ? connect(target.socket)
    : connect({ host: target.ip, port: target.port, noDelay: true });
  raw.setKeepAlive(keepalive.enabled, keepalive.idle_ms ?? 0);
  const abort = () => raw.destroy(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  raw.once("close", () => signal.removeEventListener("abort", abort));
  // An error while nobody waits for this socket must not end the process; waits have listeners of their own.
  raw.on("error", () => {});
  await heard(raw, "connect", connectFailure);
  if (opening === "plain" || "socket" in target) return raw;
  raw.write(SSL_REQUEST);
  const answer = await heard<Buffer>(raw, "data", connectFailure);
  raw.pause();
  // More than one byte could only be something that was smuggled in before TLS (CVE-2021-23222).
  if (answer.length === 1 && answer[0] === 83) return await secure(raw, target.host, tls);
  if (answer.length === 1 && answer[0] === 78) { // N
    if (opening === "either") return raw;
    throw failure(
      "TLS_REFUSED",
      "offers no TLS; turn on ssl on the server, or choose another sslmode",
      true,
    );
  }
  if (answer[0] === 69) throw failure("08P01", "answers a request for TLS with an error"); // E
  throw notPostgres(answer);
}

async function secure(raw: Socket, host: string, tls: DatabaseTls): Promise<Socket> {
  const { mode, ca, cert, key } = tls;
  const verified = mode === "verify-ca" || mode === "verify-full";
  const socket = connectTls({
    socket: raw,
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    rejectUnauthorized: verified,
    ...(mode === "verify-full" ? {} : { checkServerIdentity: () => undefined }),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key: key.reveal() }),
  });
  await heard(socket, "secureConnect", tlsFailure);
  socket.on("error", () => {});
  return socket;
}

// The value of the next such event. Rejects with a failure if the socket is lost before it.
function heard<T>(
  socket: Socket,
  event: "connect" | "data" | "secureConnect",
  describe: (error: unknown) => Failure,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const lose = (error: unknown) => {
      end();
      reject(describe(error));
    };
    const close = () => lose(undefined);
    const hear = (value: T) => {
      end();
      resolve(value);
    };
    const end = () =>
      socket.off(event, hear).off("error", lose).off("end", close).off("close", close);
    socket.once(event, hear).once("error", lose).once("end", close).once("close", close);
  });
}

/** A failure in words: what the host does, or does not do. */
export function connectFailure(error: unknown): Failure {
  if (error instanceof Error && "permanent" in error) return error as Failure;
  const code = (error as { code?: string } | undefined)?.code;
  if (error === undefined || code === "ECONNRESET" || code === "EPIPE") {
    return failure("CONNECTION_CLOSED", "closes connections before they are ready");
  }
  if (code === "ECONNREFUSED") return failure(code, "refuses connections (ECONNREFUSED)");
  if (code === "ENOENT") {
    return failure(code, "does not exist (ENOENT); check that the server runs");
  }
  return failure(code ?? "CONNECTION_FAILED", `cannot be reached: ${messageOf(error)}`);
}

function tlsFailure(error: unknown): Failure {
  if (error instanceof Error && "permanent" in error) return error as Failure;
  const code = (error as { code?: string } | undefined)?.code;
  if (error === undefined || code === "ECONNRESET" || code === "EPIPE") {
    return failure("TLS_CLOSED", "closes connections during the TLS handshake");
  }
  const remedy = code === "ERR_TLS_CERT_ALTNAME_INVALID"
    ? "use a host name that its certificate has"
    : "set sslrootcert to the authority that issued its certificate, and check that it is valid";
  return failure(
    "TLS_FAILED",
    `is not trusted: ${messageOf(error)}${code === undefined ? "" : ` (${code})`}; ${remedy}`,
    true,
  );
}
