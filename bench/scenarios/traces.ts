import { bookme, traced } from "../contenders/bookme.ts";
import type { Bench } from "../harness/bench.ts";
import { drainOnce, eventsOf } from "./drain.ts";

/** The cost of traces: a backlog is drained without, with spans as by default, and with one of each attempt. */
export async function traces(bench: Bench): Promise<void> {
  const events = eventsOf(bench);
  await using collector = startCollector();
  const on = { OTEL_DENO_TRACING: "true", OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
  const all = { ...on, OTEL_TRACES_SAMPLER: "parentbased_always_on" };
  for (
    const contender of [
      bookme,
      traced("bookme-webhooks traced", on),
      traced("bookme-webhooks traced, all of it", all),
    ]
  ) {
    const before = collector.bytes;
    await drainOnce(bench, contender, { scenario: "traces" });
    const value = (collector.bytes - before) / events;
    if ((value > 0) === (contender === bookme)) {
      throw new Error(`Check failed: ${contender.name} exported ${value} bytes per delivery`);
    }
    const { name } = contender;
    const unit = "B/delivery";
    bench.add({
      scenario: "traces",
      variant: "",
      contender: name,
      metric: "exported",
      unit,
      value,
    });
  }
}

/** Takes what is exported, and reads no more of it than its length. */
function startCollector() {
  let bytes = 0;
  const place = { hostname: "127.0.0.1", port: 0, onListen() {} };
  const server = Deno.serve(place, async (request) => {
    bytes += (await request.arrayBuffer()).byteLength;
    return new Response();
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    get bytes() {
      return bytes;
    },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
