/**
 * What both peers need around their queue to do our work: an HTTP front that enqueues, and the
 * sending: sign twice (contract, section 5) and POST with undici over kept connections. Node only.
 */

import { Buffer } from "node:buffer";
import { createHmac, createSecretKey, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { businessOf, SECRET } from "../workload.ts";

/** Packages of bench/peers/package.json, which the product must not know. */
export const require = createRequire(import.meta.url);

export interface PeerOptions {
  readonly database_url: string;
  /** The endpoints' URLs; an endpoint is its index. */
  readonly urls: readonly string[];
  /** Whether an event is owed to the endpoint of its business, or to every endpoint. */
  readonly owed: "one" | "all";
}

/** The options, given as the first argument. */
export const options = JSON.parse(process.argv[2] ?? "{}") as PeerOptions;

/** One delivery as it is queued. */
export interface Delivery {
  readonly endpoint: number;
  readonly event_id: string;
  readonly type: string;
  readonly body: string;
}

/** What is kept of an attempt. */
export interface Result {
  readonly endpoint: number;
  readonly number: number;
  readonly status: number;
  readonly duration_ms: number;
  readonly timestamp_s: number;
  readonly signature: string;
  readonly webhook_signature: string;
  readonly response: string;
}

interface Undici {
  readonly Agent: new (options: Record<string, unknown>) => object;
  request(
    url: string,
    options: Record<string, unknown>,
  ): Promise<{ statusCode: number; body: { text(): Promise<string> } }>;
}

const text_key = createSecretKey(Buffer.from(SECRET));
const whsec_key = createSecretKey(Buffer.from(SECRET.slice("whsec_".length), "base64"));

/** A sender with connections of its own. */
export function makeSend(): (id: string, attempt: number, delivery: Delivery) => Promise<Result> {
  const undici = require("undici") as Undici;
  const dispatcher = new undici.Agent({ pipelining: 1, headersTimeout: 30_000 });
  return async (id, attempt, { endpoint, event_id, type, body }) => {
    const timestamp_s = Math.floor(Date.now() / 1000);
    const signature = "sha256=" + createHmac("sha256", text_key).update(body).digest("hex");
    const webhook_signature = "v1," +
      createHmac("sha256", whsec_key).update(`${event_id}.${timestamp_s}.${body}`).digest("base64");
    const started = performance.now();
    const answer = await undici.request(options.urls[endpoint] ?? "", {
      dispatcher,
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "User-Agent": "BookMe-Webhooks/0",
        "X-BookMe-Event": type,
        "X-BookMe-Event-Id": event_id,
        "X-BookMe-Delivery-Id": id,
        "X-BookMe-Attempt": String(attempt),
        "webhook-id": event_id,
        "webhook-timestamp": String(timestamp_s),
        "X-BookMe-Signature": signature,
        "webhook-signature": webhook_signature,
      },
      body,
    });
    const response = await answer.body.text();
    const duration_ms = performance.now() - started;
    if (answer.statusCode < 200 || answer.statusCode > 299) {
      throw new Error(`The endpoint answered ${answer.statusCode}`);
    }
    const number = Number(body.slice(-11, -3));
    const status = answer.statusCode;
    return {
      endpoint,
      number,
      status,
      duration_ms,
      timestamp_s,
      signature,
      webhook_signature,
      response,
    };
  };
}

/** The deliveries that an event is owed as. */
export function fanOut(body: string): Delivery[] {
  const { event, data } = JSON.parse(body) as {
    event: string;
    data: { appointment: { business: { id: string } } };
  };
  const event_id = `evt_${randomUUID().replaceAll("-", "").slice(0, 20)}`;
  if (options.owed === "one") {
    const endpoint = endpoint_of_business.get(data.appointment.business.id);
    return endpoint === undefined ? [] : [{ endpoint, event_id, type: event, body }];
  }
  return options.urls.map((_, endpoint) => ({ endpoint, event_id, type: event, body }));
}

const endpoint_of_business = new Map(
  (options.urls ?? []).map((_, endpoint) => [businessOf(endpoint), endpoint]),
);

/** The HTTP front: takes an event, enqueues what it is owed as, answers 202. Answers its port. */
export function serveIngest(enqueue: (deliveries: Delivery[]) => Promise<unknown>) {
  const server = createServer((request, response) => {
    accept(request, response).catch((error) => {
      process.stderr.write(`${error.stack}\n`);
      response.writeHead(500).end();
    });
  });
  async function accept(request: IncomingMessage, response: ServerResponse) {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const deliveries = fanOut(Buffer.concat(chunks).toString("utf8"));
    await enqueue(deliveries);
    const id = deliveries[0]?.event_id ?? null;
    const answer = JSON.stringify({ id, deliveries: deliveries.length, duplicate: false });
    response.writeHead(202, {
      "content-type": "application/json",
      "content-length": answer.length,
    }).end(answer);
  }
  return new Promise<{ port: number }>((resolve) => {
    server.listen({ host: "127.0.0.1", port: 0 }, () => {
      resolve({ port: (server.address() as AddressInfo).port });
    });
  });
}

/** What a backlog is made of (harness: Backlog). */
export interface Backlog {
  readonly first: number;
  readonly events: number;
  readonly endpoints: readonly [from: number, to: number];
  readonly shape: "spread" | "fan";
  readonly later: "none" | "half";
}

/** The deliveries of a backlog, in groups. `later` ones are due in an hour or more. */
export function* backlogOf(
  backlog: Backlog,
  bodyOf: (number: number, business: string) => string,
): Generator<{ delivery: Delivery; later: boolean }[]> {
  const { first, events, endpoints: [from, to], shape, later } = backlog;
  let group: { delivery: Delivery; later: boolean }[] = [];
  for (let i = 0; i < events; i++) {
    const spread = from + i % (to - from);
    const body = bodyOf(first + i, shape === "spread" ? businessOf(spread) : "bus_any");
    const event_id = `evt_${randomUUID().replaceAll("-", "").slice(0, 20)}`;
    const owed = shape === "spread" ? [spread] : range(from, to);
    for (const endpoint of owed) {
      const delivery = { endpoint, event_id, type: "booking.created", body };
      group.push({ delivery, later: later === "half" && (i % 2 === 1) });
    }
    if (group.length >= 10_000) {
      yield group;
      group = [];
    }
  }
  if (group.length > 0) yield group;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
