import assert from "node:assert/strict";
import { logSignals } from "../../lib/observe/log_signals.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { makeSignals } from "../../lib/observe/signals.ts";

const NAMES: Readonly<Record<number, string>> = { 1: "crm", 2: "erp" };

/** A log that listens to signals, and what it has written. */
function listen() {
  let now_ms = 0;
  const lines: string[] = [];
  const signals = makeSignals();
  const log = makeLog((text) => {
    const { level, message, endpoint, failures } = JSON.parse(text);
    lines.push(`${level} ${message} ${endpoint} ${failures}`);
  }, "json");
  logSignals(signals, log, () => now_ms);
  return {
    lines,
    attempt(endpoint_no: number, outcome: string, after_ms = 0) {
      now_ms += after_ms;
      signals.attempted.emit({
        endpoint_no,
        endpoint: NAMES[endpoint_no] ?? "",
        outcome,
        status: null,
        cause: "ECONNREFUSED 127.0.0.1:9",
        duration_ms: 5,
        test: false,
        attempt: 1,
      });
    },
    use: (...endpoint_nos: number[]) =>
      signals.endpoints_changed.emit({
        revision: "2",
        endpoints: endpoint_nos.map((no) => ({ no, id: `e${no}` })),
      }),
  };
}

Deno.test("logSignals() logs each endpoint by itself", () => {
  const { lines, attempt } = listen();
  attempt(1, "connection");
  attempt(2, "delivered");
  attempt(2, "timeout");
  attempt(1, "delivered");
  attempt(2, "timeout", 60_000);
  assert.deepEqual(lines, [
    "warn Endpoint failing crm 1",
    "warn Endpoint failing erp 1",
    "info Endpoint recovered crm 1",
    "warn Endpoint still failing erp 2",
  ]);
});

Deno.test("logSignals() forgets endpoints that are not in use any more", () => {
  const { lines, attempt, use } = listen();
  attempt(1, "connection");
  attempt(2, "connection");
  use(2);
  attempt(1, "delivered");
  attempt(2, "delivered");
  attempt(1, "connection", 1_000);
  assert.deepEqual(lines, [
    "warn Endpoint failing crm 1",
    "warn Endpoint failing erp 1",
    "info Endpoint recovered erp 1",
    "warn Endpoint failing crm 1",
  ]);
});
