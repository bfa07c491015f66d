import type { Socket } from "node:net";
import type { DatabaseAddress, DatabaseHost } from "../../core/database_address.ts";
import { dial, inWords, type Purpose, type Session } from "./dial.ts";
import { type Failure, failure } from "./failure.ts";

/** Opens sessions at one address, of all its pools. */
export interface Connector {
  readonly address: DatabaseAddress;
  /**
   * A session on whichever host accepts writes. Rejects with a `Failure` if none does. For a moment
   * after that it rejects at once: as long as it fails, there is one attempt at a time, at most every
   * second.
   */
  open(purpose: Purpose): Promise<Session>;
  /** Why the last attempt failed; undefined after a success, and before the first failure. */
  readonly failure: Failure | undefined;
  /** Whether the last attempt succeeded. */
  readonly is_up: boolean;
  /** Cuts all sessions and attempts. */
  reset(): void;
}

const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1_000;
/** A session that ends sooner counts as a failed attempt. */
const USEFUL_MS = 1_000;

/** A connector without sessions. `random` is uniform in [0, 1). */
export function makeConnector(
  address: DatabaseAddress,
  random: () => number = Math.random,
): Connector {
  const sockets = new Set<Socket>();
  const tokens = new Set<string>();
  let cut = new AbortController();
  /** In the order in which they are tried: first the one that last had a session. */
  let hosts: readonly DatabaseHost[] = address.hosts;
  let failed: Failure | undefined;
  let failures = 0;
  let failed_at = 0;
  let closed_until = 0;
  /** The only attempt, while it is unknown whether any succeeds. */
  let probe: Promise<Session> | undefined;
  let is_up = false;

  async function open(purpose: Purpose): Promise<Session> {
    // Rejections are new errors: postgres.js writes the statement into each.
    while (!is_up && probe !== undefined) {
      await probe.catch((error: Failure) => {
        throw failure(error.code, error.message, error.permanent);
      });
    }
    if (failed !== undefined && performance.now() < closed_until) {
      throw failure(failed.code, failed.message, failed.permanent);
    }
    const attempt = attemptAt(purpose);
    if (is_up) return await attempt;
    probe = attempt;
    try {
      return await attempt;
    } finally {
      probe = undefined;
    }
  }

  async function attemptAt(purpose: Purpose): Promise<Session> {
    const began_at = performance.now();
    try {
      const session = await openSession(purpose);
      is_up = true;
      failed = undefined;
      const { socket } = session;
      // The server's end, not ours: that says goodbye first, or makes no event but `close`.
      const lose = () => {
        if (socket.writableEnded || performance.now() - began_at > USEFUL_MS) return;
        const text = `${inWords(address)} closes connections as soon as they are open`;
        fail(failure("CONNECTION_CLOSED", text), began_at);
      };
      socket.once("end", lose).once("error", lose).once("close", () => {
        if (performance.now() - began_at > USEFUL_MS) failures = 0;
      });
      return session;
    } catch (error) {
      fail(error as Failure, began_at);
      throw error;
    }
  }

  function fail(error: Failure, began_at: number): void {
    is_up = false;
    failed = error;
    // Attempts that were under way together fail together.
    if (began_at < failed_at) return;
    failed_at = performance.now();
    const backoff_ms = Math.min(MIN_BACKOFF_MS * 2 ** failures++, MAX_BACKOFF_MS);
    closed_until = failed_at + backoff_ms * (0.5 + random() / 2);
  }

  async function openSession(purpose: Purpose): Promise<Session> {
    const isTaken = (token: string) => tokens.has(token);
    const { session, host } = await dial({ ...purpose, address, isTaken }, hosts, cut.signal);
    if (host !== undefined) hosts = [host, ...hosts.filter((one) => one !== host)];
    keep(session);
    return session;
  }

  function keep({ socket, token }: Session): void {
    sockets.add(socket);
    tokens.add(token);
    socket.once("close", () => {
      sockets.delete(socket);
      tokens.delete(token);
    });
  }

  return {
    address,
    open,
    get failure() {
      return failed;
    },
    get is_up() {
      return is_up;
    },
    reset() {
      cut.abort(failure("CONNECTION_CLOSED", "was left, because it had fallen silent"));
      cut = new AbortController();
      // The one that has fallen silent must not hold up the search for another.
      const [silent, ...others] = hosts;
      if (silent !== undefined) hosts = [...others, silent];
      for (const socket of sockets) socket.destroy();
    },
  };
}
