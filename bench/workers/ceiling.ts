/**
 * The ceiling: this program's own signing and HTTP client with nothing around them, no database and
 * no HTTP front, at the default concurrency. Runs under Deno, as the daemon does.
 */

import { deliveryId, deliveryUuid, eventId, makeEventIds } from "../../lib/core/ids.ts";
import { requestLines } from "../../lib/core/request_headers.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { borrowUtf8 } from "../../lib/core/utf8.ts";
import { makeHttpClient } from "../../lib/http/client.ts";
import { makeTarget } from "../../lib/http/flight.ts";
import { bodyOf, SECRET } from "../workload.ts";
import { serveCommands } from "./control.ts";

const RULES = { allow_loopback: true, allow_networks: [], own_listener: [] };
const FIRST_HEADERS = "Content-Type: application/json\r\nUser-Agent: BookMe-Webhooks/0\r\n";

async function post(
  urls: readonly string[],
  events: number,
  concurrency: number,
  tls: { ca?: string },
): Promise<void> {
  const client = makeHttpClient({ rules: () => RULES });
  const targets = urls.map((url) => ({
    target: makeTarget(url, tls),
    signer: makeSigner(SECRET),
  }));
  const ids = makeEventIds(() => Math.floor(Math.random() * 0x100000000));
  let next = 0;
  async function loop(): Promise<void> {
    while (next < events) {
      const number = next++;
      const endpoint = targets[number % targets.length];
      if (endpoint === undefined) return;
      const event_uuid = ids.next(Date.now());
      const timestamp_s = Math.floor(Date.now() / 1000);
      const body = bodyOf(number, "bus_any");
      const bytes = borrowUtf8(body);
      const lines = requestLines({
        type: "booking.created",
        event_id: eventId(event_uuid),
        delivery_id: deliveryId(deliveryUuid(event_uuid, number % targets.length + 1)),
        attempt: 1,
        test: false,
        timestamp_s,
        signature: endpoint.signer.bookme(bytes),
        webhook_signature: endpoint.signer.standard(eventId(event_uuid), timestamp_s, bytes),
        traceparent: null,
      });
      const exchange = await client.post(endpoint.target, {
        headers: FIRST_HEADERS + lines,
        body,
        timeout_ms: 30_000,
      });
      if (!exchange.answered) throw new Error(`${exchange.reason}: ${exchange.cause}`);
    }
  }
  await Promise.all(Array.from({ length: concurrency }, loop));
  client.close();
}

serveCommands({
  /** With `authority`, the file of a certificate that is trusted, over TLS. */
  async post({ urls, events, concurrency, authority }) {
    const tls = authority === undefined ? {} : { ca: Deno.readTextFileSync(String(authority)) };
    await post(urls as string[], Number(events), Number(concurrency), tls);
  },
});
