import { Buffer } from "node:buffer";
import { lookup } from "node:dns";
import type { Socket } from "node:net";
import { setTimeout as later } from "node:timers";
import type { DatabaseAddress, DatabaseHost } from "../../core/database_address.ts";
import { messageOf } from "../../core/errors.ts";
import { converse, message } from "./conversation.ts";
import { type Failure, failure, isPermanent } from "./failure.ts";
import { startSession } from "./handshake.ts";
import { type Preparation, prepareSession } from "./session.ts";
import {
  connectFailure,
  type Opening,
  openingsOf,
  openTransport,
  type Target,
} from "./transport.ts";

/** A session that accepts writes. postgres.js is given its socket, and need not start it any more. */
export interface Session {
  readonly socket: Socket;
  readonly token: string;
  /** Ends this program's own conversation, and answers the bytes that postgres.js gets after its startup message. */
  greet(): Buffer;
}

/** What a session is for. */
export interface Purpose extends Pick<Preparation, "settings" | "channel" | "busy"> {
  readonly application_name: string;
}

/** One attempt to open a session. */
interface Plan extends Purpose, Pick<Preparation, "isTaken"> {
  readonly address: DatabaseAddress;
}

/** Bound of connecting to one address, from the first packet to the session's last setting. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Head start of each host before the next one is tried as well: a dead one must not hold up a failover. */
const STAGGER_MS = 1_000;

/**
 * Opens a session on the first of `hosts` that accepts writes, and says which. Rejects with a `Failure`
 * if none does, or `stop` ends it.
 */
export async function dial(
  plan: Plan,
  hosts: readonly DatabaseHost[],
  stop: AbortSignal,
): Promise<{ readonly session: Session; readonly host: DatabaseHost | undefined }> {
  let found: DatabaseHost | undefined;
  const session = await firstOf(hosts, async (host, stop) => {
    const targets = await targetsOf(host, timeoutOf(plan.address), stop);
    const session = await firstOf(targets, (target, stop) => openAt(plan, target, stop), stop);
    found ??= host;
    return session;
  }, stop);
  return { session, host: found };
}

function timeoutOf({ connect_timeout_ms = CONNECT_TIMEOUT_MS }: DatabaseAddress): number {
  return connect_timeout_ms;
}

async function openAt(
  { address, ...plan }: Plan,
  target: Target,
  stop: AbortSignal,
): Promise<Session> {
  const openings = openingsOf(target, address.tls);
  for (const [at, opening] of openings.entries()) {
    try {
      return await start(plan, address, target, opening, stop);
    } catch (error) {
      const { code, message, permanent } = connectFailure(error);
      // As libpq does it: the other kind of connection may be the one that is allowed.
      const tries_other = at + 1 < openings.length && /^(28000|TLS_)/.test(code);
      if (!tries_other) throw failure(code, `${nameOf(target)} ${message}`, permanent);
    }
  }
  throw new Error("An address has no way to open it");
}

async function start(
  { application_name, ...preparation }: Omit<Plan, "address">,
  address: DatabaseAddress,
  target: Target,
  opening: Opening,
  stop: AbortSignal,
): Promise<Session> {
  const timeout_ms = timeoutOf(address);
  // Of this attempt alone, so that nothing that happens later cuts a session that it has opened.
  const attempt = new AbortController();
  const { signal } = attempt;
  const end = () => attempt.abort(stop.reason);
  const timer = later(() => {
    attempt.abort(failure("CONNECT_TIMEOUT", `gives no answer within ${timeout_ms / 1000} s`));
  }, timeout_ms);
  stop.addEventListener("abort", end);
  let socket: Socket | undefined;
  try {
    stop.throwIfAborted();
    socket = await openTransport(target, opening, address, signal);
    const talk = converse(socket);
    const welcome = await startSession(talk, address, application_name);
    const token = crypto.randomUUID();
    await prepareSession(talk, welcome, address, { ...preparation, token });
    signal.throwIfAborted();
    const greet = () => Buffer.concat([greeting(welcome.cancel_key), talk.leave()]);
    return { socket, token, greet };
  } catch (error) {
    socket?.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", end);
  }
}

/**
 * The first success among `candidates`: each has a head start of `STAGGER_MS` before the next, which
 * begins at once if it fails. Rejects with one `Failure` for all if none succeeds.
 */
function firstOf<C>(
  candidates: readonly C[],
  open: (candidate: C, stop: AbortSignal) => Promise<Session>,
  stop: AbortSignal,
): Promise<Session> {
  const others = new AbortController();
  const signal = AbortSignal.any([stop, others.signal]);
  const failures: Failure[] = [];
  return new Promise((resolve, reject) => {
    let next = 0;
    let timer: ReturnType<typeof later> | undefined;
    let won = false;
    const startNext = () => {
      clearTimeout(timer);
      if (won || next === candidates.length) return;
      const candidate = candidates[next++] as C;
      if (next < candidates.length) timer = later(startNext, STAGGER_MS);
      open(candidate, signal).then((session) => {
        if (won) return session.socket.destroy();
        won = true;
        clearTimeout(timer);
        resolve(session);
        others.abort(failure("CONNECTION_CLOSED", "was slower than another host"));
      }, (error) => {
        failures.push(error as Failure);
        if (failures.length === candidates.length) reject(together(failures));
        else startNext();
      });
    };
    startNext();
  });
}

// One failure stands for all, if possible one that needs a person.
function together(failures: readonly Failure[]): Failure {
  const [first] = failures;
  if (first !== undefined && failures.length === 1) return first;
  const code = (failures.find(isPermanent) ?? first)?.code ?? "CONNECTION_FAILED";
  return failure(code, failures.map(messageOf).join("; "), failures.some(isPermanent));
}

async function targetsOf(
  host: DatabaseHost,
  timeout_ms: number,
  stop: AbortSignal,
): Promise<Target[]> {
  if ("socket" in host) return [host];
  const { host: name, port, address } = host;
  if (address !== undefined) return [{ host: name, port, ip: address }];
  return await new Promise((resolve, reject) => {
    const lose = (code: string, text: string) =>
      reject(failure(code, `The name ${name} has ${text} (${code})`));
    // A resolver takes its time, and cannot be stopped.
    const timer = later(() => lose("CONNECT_TIMEOUT", "no answer from DNS"), timeout_ms);
    const end = () => lose("CONNECTION_CLOSED", "not been looked up to the end");
    stop.addEventListener("abort", end);
    lookup(name, { all: true }, (error, found) => {
      clearTimeout(timer);
      stop.removeEventListener("abort", end);
      if (error == null && found.length > 0) {
        return resolve(found.map((one) => ({ host: name, port, ip: one.address })));
      }
      lose((error as { code?: string } | null)?.code ?? "ENOTFOUND", "no address");
    });
  });
}

function nameOf(target: DatabaseHost): string {
  if ("socket" in target) return target.socket;
  const { host, port } = target;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The hosts of an address, `db1:5432, db2:5432`. */
export function inWords({ hosts }: Pick<DatabaseAddress, "hosts">): string {
  return hosts.map(nameOf).join(", ");
}

// To postgres.js it is a server that asks for no password. The two parameters spare it a query for them.
function greeting(cancel_key: Buffer | undefined): Buffer {
  return Buffer.concat([
    message("R", Buffer.alloc(4)),
    message("S", "in_hot_standby", "off"),
    message("S", "default_transaction_read_only", "off"),
    ...(cancel_key === undefined ? [] : [message("K", cancel_key)]),
    message("Z", Buffer.from("I")),
  ]);
}
