import assert from "node:assert/strict";
import { isSilence, within } from "../../lib/store/deadline.ts";

const never = new Promise<never>(() => {});

Deno.test("within() gives the answer, or the error, of work that ends in time", async () => {
  assert.equal(await within(Promise.resolve(5), 60_000), 5);
  const error = new Error("no");
  await assert.rejects(within(Promise.reject(error), 60_000), error);
  assert.equal(isSilence(error), false);
});

Deno.test("within() rejects with silence when the time is over", async () => {
  const silence = await within(never, 20).catch((error) => error);
  assert.ok(isSilence(silence));
  assert.equal(silence.code, "TIMEOUT");
  assert.equal(silence.message, "The database gave no answer within 20 ms");
});

Deno.test("within() ends each of many waits at its own time", async () => {
  const late = Promise.withResolvers<string>();
  const waits = [
    ...Array.from({ length: 50 }, (_, i) => within(never, i + 1)),
    within(late.promise, 60_000),
  ];
  const ended = Promise.allSettled(waits.slice(0, 50));
  assert.ok((await ended).every(({ status }) => status === "rejected"));
  late.resolve("late");
  assert.equal(await waits[50], "late");
});

Deno.test("within() leaves no timer running", async () => {
  // The sanitizer of the tests fails this one if it does.
  await Promise.allSettled([within(never, 1), within(Promise.resolve(1), 1_000)]);
});

Deno.test("within() ignores an answer that comes too late", async () => {
  const work = Promise.withResolvers<void>();
  await assert.rejects(within(work.promise, 1), isSilence);
  work.reject(new Error("too late")); // unhandled, it would fail the test
  await Promise.resolve();
});

Deno.test("within() does not mistake a stall of this process for silence", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  using server = await listener.accept();
  const answer = within(client.read(new Uint8Array(1)), 700);
  await server.write(new Uint8Array(1));
  // The answer is here, and nobody reads it.
  for (const end = performance.now() + 1_500; performance.now() < end;);
  assert.equal(await answer, 1);
  // A later wait still ends by its own time.
  await assert.rejects(within(never, 20), isSilence);
});
