import { type IncomingMessage, request } from "node:http";
import { makeMessageReader, type Message } from "../../lib/core/server_sent.ts";
import { ADMIN, type Front } from "./daemon.ts";
import { until } from "./wait.ts";

/** A client of `GET /api/stream` on a connection of its own. */
export interface StreamClient extends Disposable {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly messages: readonly (Message & { readonly said: Record<string, unknown> })[];
  /** The last id. */
  readonly last_id: string | undefined;
  /** Everything received. */
  readonly text: string;
  /** Whether the daemon has ended it. */
  readonly ended: boolean;
  readonly incoming: IncomingMessage;
}

/** What is asked for. */
export interface Following {
  readonly token?: string;
  /** `?endpoint=crm` */
  readonly query?: string;
  readonly last_id?: string;
  readonly method?: string;
}

/** Opens a stream; resolves with the head of the answer. */
export function follow(
  { url }: Pick<Front, "url">,
  { token = ADMIN, query = "", last_id, method = "GET" }: Following = {},
): Promise<StreamClient> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${url}/api/stream${query}`, {
      method,
      agent: false,
      headers: {
        authorization: `Bearer ${token}`,
        ...(last_id === undefined ? {} : { "last-event-id": last_id }),
      },
    }, (incoming) => {
      const read = makeMessageReader();
      const messages: (Message & { said: Record<string, unknown> })[] = [];
      let [text, last, ended]: [string, string | undefined, boolean] = ["", undefined, false];
      const end = () => ended = true;
      incoming.on("error", end).on("end", end).on("close", end);
      incoming.on("data", (bytes: Uint8Array) => {
        const piece = new TextDecoder().decode(bytes);
        text += piece;
        if (incoming.statusCode !== 200) return;
        for (const message of read(piece)) {
          last = message.id ?? last;
          if (message.data === "") continue;
          messages.push({ ...message, said: JSON.parse(message.data) });
        }
      });
      resolve({
        status: incoming.statusCode ?? 0,
        headers: incoming.headers,
        messages,
        incoming,
        get last_id() {
          return last;
        },
        get text() {
          return text;
        },
        get ended() {
          return ended;
        },
        [Symbol.dispose]: () => outgoing.destroy(),
      });
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}

/** Opens a stream, and waits until it shows whatever happens from now on. */
export async function followed(front: Pick<Front, "url">, what?: Following): Promise<StreamClient> {
  const client = await follow(front, what);
  await until("the stream has begun", () => client.last_id !== undefined);
  return client;
}

/** Waits for a message for which that holds. */
export async function heard(
  client: StreamClient,
  event: string,
  holds: (said: Record<string, unknown>) => boolean = () => true,
): Promise<Record<string, unknown>> {
  const found = () => client.messages.find((one) => one.event === event && holds(one.said));
  await until(`a message ${event} for which ${holds}`, () => found() !== undefined);
  return found()?.said ?? {};
}
