/** A pooler between clients and a server, as far as PgBouncer's two modes matter to the program. */

import { Buffer } from "node:buffer";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { message } from "../../../lib/store/connection/conversation.ts";

/** A running pooler. */
export interface Pooler extends AsyncDisposable {
  /** The address of the same database through it. */
  readonly url: string;
}

/** One session on the server, lent to a client for a transaction or for good. */
interface Lent {
  readonly socket: Socket;
  client: Socket | undefined;
  /** What the server said of itself when the session began. */
  greeting: Buffer;
  ready: boolean;
}

/**
 * Starts a pooler that knows no passwords and no TLS. In mode `transaction` a session goes to the next
 * client at each ReadyForQuery outside of a transaction; the last one used is lent first, as in PgBouncer.
 * Startup parameters other than PgBouncer's are refused as it refuses them.
 */
export async function startPooler(url: string, mode: "transaction" | "session"): Promise<Pooler> {
  const { hostname, port, pathname } = new URL(url);
  const idle: Lent[] = [];
  const clients = new Set<Socket>();
  const servers = new Set<Socket>();

  function open(client: Socket, startup: Buffer): Lent {
    const socket = connect({ host: hostname, port: Number(port) });
    const lent: Lent = { socket, client, greeting: Buffer.alloc(0), ready: false };
    servers.add(socket);
    socket.on("error", () => {}).on("close", () => servers.delete(socket));
    socket.write(startup);
    let rest = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 5 && rest.length > rest.readUInt32BE(1)) {
        const length = 1 + rest.readUInt32BE(1);
        const each = rest.subarray(0, length);
        rest = rest.subarray(length);
        lent.client?.write(each);
        if (!lent.ready) lent.greeting = Buffer.concat([lent.greeting, each]);
        if (each[0] !== 90) continue; // Z
        lent.ready = true;
        asked.set(lent, (asked.get(lent) ?? 1) - 1);
        if (mode === "transaction" && each[5] === 73 && (asked.get(lent) ?? 0) <= 0) giveBack(lent);
      }
    });
    asked.set(lent, 1);
    return lent;
  }

  // Answers that a session still owes: one for each Query and Sync.
  const asked = new Map<Lent, number>();

  function giveBack(lent: Lent): void {
    lent.client = undefined;
    idle.push(lent);
  }

  const server = createServer((client) => {
    clients.add(client);
    let lent: Lent | undefined;
    let startup: Buffer | undefined;
    let rest = Buffer.alloc(0);
    client.on("error", () => {}).on("close", () => {
      clients.delete(client);
      if (lent?.client === client) lent.socket.destroy();
    });
    client.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      if (startup === undefined) {
        if (rest.length === 8 && rest.readUInt32BE(4) === 80877103) {
          rest = Buffer.alloc(0);
          return void client.write("N");
        }
        if (rest.length < 4 || rest.length < rest.readUInt32BE(0)) return;
        startup = rest.subarray(0, rest.readUInt32BE(0));
        rest = rest.subarray(startup.length);
        const names = startup.toString("utf8", 8).split("\0").filter((_, at) => at % 2 === 0);
        const odd = names.find((name) =>
          !/^(user|database|application_name|client_encoding|datestyle|timezone|)$/.test(name)
        );
        if (odd !== undefined) {
          const text = `Munsupported startup parameter: ${odd}`;
          return void client.end(message("E", "SFATAL", "C08P01", text, Buffer.alloc(1)));
        }
        const known = mode === "transaction" ? idle.at(-1) : undefined;
        if (known !== undefined) client.write(known.greeting);
        else lent = open(client, startup);
      }
      while (startup !== undefined && rest.length >= 5 && rest.length > rest.readUInt32BE(1)) {
        const length = 1 + rest.readUInt32BE(1);
        const each = rest.subarray(0, length);
        rest = rest.subarray(length);
        if (lent?.client !== client) {
          lent = idle.pop() ?? open(client, startup);
          lent.client = client;
        }
        if (each[0] === 81 || each[0] === 83) asked.set(lent, (asked.get(lent) ?? 0) + 1); // Q, S
        if (each[0] !== 88 || mode === "session") lent.socket.write(each); // X
      }
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `postgres://postgres@127.0.0.1:${(server.address() as AddressInfo).port}${pathname}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of [...clients, ...servers]) socket.destroy();
      await closed;
    },
  };
}
