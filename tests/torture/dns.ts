import { createSocket } from "node:dgram";
import type { Buffer } from "node:buffer";

/** A name server on loopback for which every name is 127.0.0.1. */
export interface DnsServer {
  readonly address: string;
  /** `flaps`: every other query fails. */
  mode: "answers" | "fails" | "silent" | "flaps";
  close(): Promise<void>;
}

// Of loopback's many addresses one on which nobody else has port 53.
const ADDRESS = "127.0.53.77";

export async function startDnsServer(): Promise<DnsServer> {
  const socket = createSocket("udp4");
  await new Promise<void>((bound, failed) => {
    socket.once("error", failed);
    socket.bind(53, ADDRESS, () => bound());
  });
  const server: DnsServer = {
    address: ADDRESS,
    mode: "answers",
    close: () => new Promise((closed) => socket.close(() => closed())),
  };
  let asked = 0;
  socket.on("message", (query: Buffer, from) => {
    if (server.mode === "silent") return;
    const fails = server.mode === "fails" || (server.mode === "flaps" && asked++ % 2 === 0);
    socket.send(reply(query, fails), from.port, from.address);
  });
  return server;
}

// RFC 1035, 4.1: the question goes back with, for an A record, one answer that points to its name.
function reply(query: Uint8Array, fails: boolean): Uint8Array {
  let end = 12;
  while (query[end] !== undefined && query[end] !== 0) end += (query[end] ?? 0) + 1;
  end += 5;
  const question = query.subarray(12, end);
  const type = question[question.length - 3];
  const answers = !fails && type === 1 ? 1 : 0;
  const head = [
    query[0] ?? 0,
    query[1] ?? 0,
    0x81,
    fails ? 0x82 : 0x80,
    0,
    1,
    0,
    answers,
    0,
    0,
    0,
    0,
  ];
  const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1];
  return new Uint8Array([...head, ...question, ...(answers === 1 ? record : [])]);
}
