/**
 * The ceiling: this program's own signing and HTTP client with nothing around them, no database and
 * no HTTP front, at the default concurrency. Runs under Deno, as the daemon does.
 */

import { sign } from "../../lib/delivery/send.ts";
import { send } from "../../lib/delivery/send.ts";
import { makeHttpClient } from "../../lib/delivery/http_client.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { deliveryUuid, makeEventIds } from "../../lib/core/ids.ts";
import type { Endpoint } from "../../lib/delivery/fleet.ts";
import { bodyOf, SECRET } from "../workload.ts";
import { serveCommands } from "./control.ts";

const rules = { allow_loopback: true, allow_networks: [], own_listener: [] };

function makeEndpoint(url: string, no: number): Endpoint {
  return {
    no,
    id: `e${no}`,
    version: 1,
    events: ["*"],
    businesses: null,
    paused: false,
    sendable: true,
    target: { url: new URL(url) },
    timeout_ms: 30_000,
    retry_ms: [0],
    concurrency: null,
    rate_limit_per_s: null,
    signers: [makeSigner(SECRET)],
    headers: "Content-Type: application/json\r\nUser-Agent: BookMe-Webhooks/0\r\n",
  };
}

async function post(urls: readonly string[], events: number, concurrency: number): Promise<void> {
  const client = makeHttpClient({ rules: () => rules });
  const endpoints = urls.map(makeEndpoint);
  const ids = makeEventIds(() => Math.floor(Math.random() * 0x100000000));
  const abort = new AbortController();
  let next = 0;
  async function loop(): Promise<void> {
    while (next < events) {
      const number = next++;
      const endpoint = endpoints[number % endpoints.length];
      if (endpoint === undefined) return;
      const event_uuid = ids.next(Date.now());
      const claimed = {
        uuid: deliveryUuid(event_uuid, endpoint.no),
        event_uuid,
        endpoint_no: endpoint.no,
        type: "booking.created",
        test: false,
        payload: bodyOf(number, "bus_any"),
        token: 1,
        attempts: 0,
        counted: 0,
        interruptions: 0,
        due: "",
      };
      const request = sign(claimed, endpoint, Date.now());
      const outcome = await send(client, endpoint, request, abort.signal, Date.now);
      if (outcome.outcome !== "delivered") throw new Error(`${outcome.outcome}: ${outcome.cause}`);
    }
  }
  await Promise.all(Array.from({ length: concurrency }, loop));
  client.close();
}

serveCommands({
  async post({ urls, events, concurrency }) {
    await post(urls as string[], Number(events), Number(concurrency));
  },
});
