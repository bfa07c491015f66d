import { messageOf } from "../core/errors.ts";
import { enterPhase, failFlight, type FailureReason, type Flight, STOPPED } from "./flight.ts";
import type { Connection, Pool } from "./pool.ts";
import { endResponse, newResponse, readResponse, takeBody } from "./response_parser.ts";
import { isTlsError } from "./tls_failure.ts";
import { codeOf } from "./wire.ts";

/** The requests that connections carry: sends them, reads their answers, and ends them. */
export interface Exchanges {
  /** Sends a flight's request now, on a connection that is `opening` or `idle`. */
  send(connection: Connection, flight: Flight, now_ms: number): void;
  written(connection: Connection, error?: Error | null): void;
  data(connection: Connection, bytes: Uint8Array): void;
  /** The connection ended, or failed by its `last_error`. */
  lost(connection: Connection): void;
  /** Ends exchanges that were aborted or whose time is up by `due_ms`. */
  tick(due_ms: number): void;
  interruptAll(cause: string): void;
}

/** How long the rest of a body may take after the head. */
const BODY_MS = 1000;

/** Exchanges on the connections of a pool. */
export function makeExchanges(pool: Pool): Exchanges {
  function send(connection: Connection, flight: Flight, now_ms: number): void {
    pool.move(connection, "sending");
    connection.flight = flight;
    const reused = flight.phases.reused = connection.sent++ > 0;
    if (reused) connection.response = newResponse();
    enterPhase(flight, "waiting_ms", now_ms);
    const { route, request } = flight;
    connection.wire.send(route.start, request.headers, request.body);
  }

  function written(connection: Connection, error?: Error | null): void {
    if (connection.state === "sending") {
      pool.move(connection, "waiting"); // even after an error: an answer may be waiting
    } else if (connection.state === "draining") {
      if (error === null || error === undefined) pool.release(connection, performance.now());
      else pool.close(connection);
    }
  }

  function data(connection: Connection, bytes: Uint8Array): void {
    const { flight, response } = connection;
    // Unasked bytes on an idle connection would pass for the next answer, and the next ones may come
    // a moment later, when there is a question again.
    if (flight === undefined) return pool.distrust(connection);
    const was_in_head = response.phase === "head";
    readResponse(response, bytes);
    if (response.phase === "done") answer(connection, flight);
    else if (response.phase === "failed") {
      fail(connection, flight, "protocol", response.mistake, response.received);
    } else if (response.phase === "body" && was_in_head) {
      const now_ms = performance.now();
      enterPhase(flight, undefined, now_ms);
      flight.deadline_ms = now_ms + BODY_MS;
    }
  }

  function lost(connection: Connection): void {
    const { flight, last_error } = connection;
    pool.lose(connection);
    if (flight === undefined) return;
    const reason = isRefusedByTls(connection) ? "tls" : "connection";
    end(connection, flight, reason, lostCause(connection), last_error === undefined);
  }

  /** Ends a flight before its answer is complete: as answered if the head is, else as failed. */
  function end(
    connection: Connection,
    flight: Flight,
    reason: FailureReason,
    cause: string,
    closed = false,
  ): void {
    endResponse(connection.response, closed);
    if (connection.response.phase === "done") answer(connection, flight);
    else fail(connection, flight, reason, cause);
  }

  function answer(connection: Connection, flight: Flight): void {
    const { response, address } = connection;
    const now_ms = performance.now();
    connection.flight = undefined;
    if (!response.reusable) {
      pool.close(connection);
    } else if (connection.state === "sending") {
      connection.until_ms = now_ms + BODY_MS;
      pool.move(connection, "draining");
    } else {
      pool.release(connection, now_ms);
    }
    const { status, head, truncated, retry_after } = response;
    enterPhase(flight, undefined, now_ms);
    const { started_ms, phases, certificate_ends_at } = flight;
    flight.resolve({
      answered: true,
      status,
      head,
      retry_after,
      body: takeBody(response),
      truncated,
      address,
      duration_ms: now_ms - started_ms,
      phases,
      certificate_ends_at,
    });
  }

  function fail(
    connection: Connection,
    flight: Flight,
    reason: FailureReason,
    cause: string,
    received?: Uint8Array,
  ): void {
    connection.flight = undefined;
    pool.close(connection);
    failFlight(flight, reason, cause, connection.address, received);
  }

  function tick(due_ms: number): void {
    for (const connection of pool.connections) {
      const { flight, address } = connection;
      if (flight === undefined) continue;
      const { signal, timeout_ms } = flight.request;
      if (signal?.aborted) {
        end(connection, flight, "interrupted", STOPPED);
      } else if (due_ms >= flight.deadline_ms) {
        end(connection, flight, "timeout", `no response from ${address} within ${timeout_ms} ms`);
      }
    }
  }

  function interruptAll(cause: string): void {
    for (const connection of pool.connections) {
      const { flight } = connection;
      if (flight !== undefined) end(connection, flight, "interrupted", cause);
    }
  }

  return { send, written, data, lost, tick, interruptAll };
}

/** Whether the first answer on a connection is a TLS alert. */
function isRefusedByTls({ route, sent, response, last_error }: Connection): boolean {
  return route.https && sent <= 1 && !response.started && isTlsError(last_error);
}

function lostCause({ last_error, response, address, sent }: Connection): string {
  const code = codeOf(last_error);
  if (isTlsError(last_error)) return `${code} ${messageOf(last_error)}`.trim();
  const when = response.started ? "closed within the response's head" : "closed before an answer";
  const reused = sent > 1 ? " on a reused connection" : "";
  return last_error === undefined
    ? when + reused
    : `${when}${reused}: ${code || messageOf(last_error)} ${address}`;
}
