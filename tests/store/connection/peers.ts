/** Servers that do to a PostgreSQL client what balancers, tunnels and other programs do. */

import { Buffer } from "node:buffer";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { message } from "../../../lib/store/connection/conversation.ts";

/** A server on loopback that plays a part. */
export interface Peer extends AsyncDisposable {
  readonly port: number;
  /** Connections accepted so far. */
  readonly accepted: number;
  /** What is done with further connections. */
  play: Play;
}

/** What a peer does with a connection it has accepted. */
export type Play = (socket: Socket) => void;

/** Starts a peer, on any free port unless told. Connections still open are cut at its end. */
export async function startPeer(play: Play, port = 0): Promise<Peer> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer((socket) => {
    accepted++;
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    peer.play(socket);
  });
  await new Promise<void>((listening) => server.listen(port, "127.0.0.1", listening));
  const peer: Peer = {
    port: (server.address() as AddressInfo).port,
    get accepted() {
      return accepted;
    },
    play,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return peer;
}

/** Accepts, and closes at once: a published port or a balancer without a backend. */
export const closes: Play = (socket) => socket.destroy();

/** Reads, and closes without a word. */
export const readsAndCloses: Play = (socket) => void socket.once("data", () => socket.end());

/** Says nothing, ever. */
export const saysNothing: Play = (socket) => void socket.resume();

/** A firewall in front of a server: it passes everything on, and can forget the connections it knows. */
export function makeFirewall(port: number): { readonly play: Play; forget(): void } {
  const known = new Set<{ readonly client: Socket; readonly server: Socket }>();
  return {
    play(client) {
      const server = connect({ host: "127.0.0.1", port });
      known.add({ client, server });
      server.on("error", () => client.destroy());
      client.pipe(server).pipe(client);
      client.once("close", () => server.destroy());
    },
    forget() {
      for (const { client, server } of known) {
        client.unpipe(server).resume();
        server.unpipe(client).resume();
      }
    },
  };
}

/** A web server. */
export const answersHttp: Play = (socket) =>
  void socket.once(
    "data",
    () => socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
  );

/** Refuses with this SQLSTATE, whether TLS is asked for or not. */
export function refuses(code: string, text: string): Play {
  return (socket) =>
    void socket.on("data", (chunk: Buffer) => {
      if (chunk.length === 8) return socket.write("N");
      const fields = [`SFATAL`, `VFATAL`, `C${code}`, `M${text}`];
      socket.end(message("E", ...fields, Buffer.alloc(1)));
    });
}
