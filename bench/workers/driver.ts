/**
 * The load generator: posts events to one ingest URL from a Node process on raw keep-alive sockets.
 * Either open loop (a fixed rate, whatever the answers do) or closed loop (as fast as the answers
 * come on so many connections). Remembers when each event was posted and acknowledged.
 */

import { Buffer } from "node:buffer";
import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { bodyOf, businessOf } from "../workload.ts";
import { now, serveCommands } from "./control.ts";

interface Load {
  readonly port: number;
  readonly connections: number;
  readonly first: number;
  readonly events: number;
  /** Events per second; 0 is closed loop. */
  readonly rate: number;
  /** In a closed loop no event is posted later than that; 0: all are. */
  readonly limit_ms: number;
  /** Events go round these endpoints, or, where there are none, to a business of nobody's own. */
  readonly endpoints: readonly number[];
  /** Where the times go: posted and acknowledged, in ms on the shared clock, for each event. */
  readonly path: string;
  /** Answers are waited for at most so long after the last post. */
  readonly patience_ms: number;
}

interface Connection {
  readonly socket: Socket;
  event: number;
  answer: string;
}

function requestOf(load: Load, index: number): string {
  const { endpoints, first } = load;
  const endpoint = endpoints[index % Math.max(1, endpoints.length)];
  const body = bodyOf(first + index, endpoint === undefined ? "bus_any" : businessOf(endpoint));
  return "POST /ingest HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" +
    `Content-Length: ${body.length}\r\n\r\n${body}`;
}

function open(port: number, answered: (connection: Connection, status: number) => void) {
  return new Promise<Connection>((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    const connection: Connection = { socket, event: -1, answer: "" };
    socket.setEncoding("latin1");
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.on("error", () => {});
      socket.on("close", () => connection.event >= 0 && answered(connection, 0));
      resolve(connection);
    });
    socket.on("data", (text: string) => {
      connection.answer += text;
      const status = wholeAnswer(connection.answer);
      if (status === undefined) return;
      connection.answer = "";
      answered(connection, status);
    });
  });
}

// The status once the whole answer is there (its body has a length, or is chunked).
function wholeAnswer(answer: string): number | undefined {
  const head = answer.indexOf("\r\n\r\n");
  if (head < 0) return undefined;
  const length = /content-length: *(\d+)/i.exec(answer)?.[1];
  const whole = length === undefined
    ? answer.endsWith("0\r\n\r\n")
    : answer.length >= head + 4 + Number(length);
  return whole ? Number(answer.slice(9, 12)) : undefined;
}

async function run(load: Load) {
  const { events, rate, connections, port, patience_ms, limit_ms } = load;
  const posted = new Float64Array(events);
  const acked = new Float64Array(events);
  const statuses: Record<string, number> = {};
  const free: Connection[] = [];
  const done = Promise.withResolvers<void>();
  let due = 0; // events that are due by the clock
  let wanted = events;
  let next = 0; // the next one to be written
  let answers = 0;
  let late_ms = 0;

  const write = (connection: Connection, index: number) => {
    connection.event = index;
    connection.socket.write(requestOf(load, index), "latin1");
  };
  const answered = (connection: Connection, status: number) => {
    if (connection.event < 0) return;
    acked[connection.event] = now();
    statuses[status] = (statuses[status] ?? 0) + 1;
    connection.event = -1;
    if (++answers === wanted) return done.resolve();
    if (next < due && status !== 0) {
      if (rate === 0) posted[next] = now();
      write(connection, next++);
    } else if (status !== 0) free.push(connection);
  };
  const opened = await Promise.all(
    Array.from({ length: connections }, () => open(port, answered)),
  );
  free.push(...opened);

  const started = now();
  if (rate === 0) due = events;
  const pump = () => {
    while (next < due) {
      const connection = free.pop();
      if (connection === undefined) return;
      if (rate === 0) posted[next] = now();
      write(connection, next++);
    }
  };
  pump();
  const timer = rate === 0 ? undefined : setInterval(() => {
    const at = now();
    const target = Math.min(events, Math.floor((at - started) / 1000 * rate));
    // What is due counts as posted now, also while no connection is free for it.
    for (; due < target; due++) {
      posted[due] = at;
      late_ms = Math.max(late_ms, at - started - due / rate * 1000);
    }
    pump();
    if (due === events) clearInterval(timer);
  }, 1);
  const limit = limit_ms === 0 ? undefined : setTimeout(() => {
    wanted = due = next;
    if (answers === wanted) done.resolve();
  }, limit_ms);
  const length_ms = rate === 0 ? limit_ms : events / rate * 1000;
  const giveUp = setTimeout(done.resolve, length_ms + patience_ms);
  await done.promise;
  clearTimeout(giveUp);
  clearTimeout(limit);
  clearInterval(timer);
  for (const { socket } of opened) socket.destroy();
  writeFileSync(
    load.path,
    Buffer.concat([new Uint8Array(posted.buffer), new Uint8Array(acked.buffer)]),
  );
  return { started, ended: now(), due: wanted, posted: next, answers, statuses, late_ms };
}

serveCommands({ run: (command) => run(command as unknown as Load) });
