import assert from "node:assert/strict";
import { makeLog } from "../../lib/observe/log.ts";

const NOON = Date.parse("2026-01-01T12:00:00Z");

Deno.test("makeLog() writes one JSON object per line", () => {
  const lines: string[] = [];
  const log = makeLog((line) => lines.push(line), "json", () => NOON);
  log.info("Listening", { url: "http://localhost", spare: undefined });
  log.error("Recording failed\n", { cause: null });
  assert.deepEqual(lines, [
    '{"time":"2026-01-01T12:00:00.000Z","level":"info","message":"Listening","url":"http://localhost"}',
    '{"time":"2026-01-01T12:00:00.000Z","level":"error","message":"Recording failed\\n","cause":null}',
  ]);
});

Deno.test("makeLog() writes text for a terminal, without control characters of others", () => {
  const lines: string[] = [];
  const log = makeLog((line) => lines.push(line), "text", () => NOON);
  log.info("Listening");
  log.warn("Endpoint failing", { endpoint: "crm", cause: "\x1b[2Jbad\n", status: null });
  assert.deepEqual(lines, [
    "12:00:00.000 Listening",
    "12:00:00.000 warn: Endpoint failing  endpoint=crm cause=\ufffd[2Jbad\ufffd",
  ]);
});

Deno.test("makeLog() never throws", () => {
  const log = makeLog(() => {
    throw new Error("EPIPE");
  }, "json");
  log.warn("Nobody reads this");
});
