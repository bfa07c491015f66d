import assert from "node:assert/strict";
import { makeLineWriter, type Sink } from "../../lib/observe/line_writer.ts";
import { until } from "../support/wait.ts";

const dropped = (count: number) => `${count} dropped`;

/** A sink whose writes the test answers, one at a time. */
function heldSink() {
  const asked: { text: string; answer: PromiseWithResolvers<number> }[] = [];
  const sink: Sink = {
    write(bytes) {
      const answer = Promise.withResolvers<number>();
      asked.push({ text: new TextDecoder().decode(bytes), answer });
      return answer.promise;
    },
  };
  return {
    sink,
    /** What was asked for, and not answered: all of it is written, or that many bytes. */
    take: async (written?: number) => {
      const { text, answer } = await until("a write", () => asked.shift());
      answer.resolve(written ?? new TextEncoder().encode(text).length);
      return text;
    },
    fail: async () => {
      const { text, answer } = await until("a write", () => asked.shift());
      answer.reject(new Deno.errors.BrokenPipe("Broken pipe"));
      return text;
    },
    asked,
  };
}

Deno.test("makeLineWriter() writes lines in order, those of a wait together", async () => {
  const { sink, take } = heldSink();
  const lines = makeLineWriter(sink, dropped);
  for (const line of ["a", "é", "c"]) lines.write(line);
  assert.equal(await take(), "a\n");
  assert.equal(await take(2), "é\nc\n"); // written in two pieces
  assert.equal(await take(), "\nc\n");
  assert.equal(await lines.flush(60_000), true);
});

Deno.test("makeLineWriter() keeps about a million characters, and says how many lines it dropped", async () => {
  const { sink, take } = heldSink();
  const lines = makeLineWriter(sink, dropped);
  lines.write("first");
  for (let nth = 0; nth < 2_000; nth++) lines.write("x".repeat(1_023) + "y");
  assert.equal(await take(), "first\n");
  const [last, ...kept] = (await take()).trimEnd().split("\n").reverse();
  assert.equal(last, "976 dropped");
  assert.equal(kept.length, 1_024);
  lines.write("later");
  assert.equal(await take(), "later\n");
  assert.equal(await lines.flush(60_000), true);
});

Deno.test("makeLineWriter() counts what a broken stream loses, and goes on when it is whole", async () => {
  const { sink, take, fail, asked } = heldSink();
  const lines = makeLineWriter(sink, dropped);
  lines.write("one");
  assert.equal(await fail(), "one\n");
  assert.equal(await lines.flush(60_000), false);
  assert.equal(asked.length, 0);
  lines.write("two");
  assert.equal(await take(4 + 1), "two\n1 dropped\n"); // `two` and one byte of the next line
  assert.equal(await fail(), " dropped\n");
  await lines.flush(60_000);
  lines.write("three");
  assert.equal(await take(), "\nthree\n1 dropped\n");
  assert.equal(await lines.flush(60_000), true);
});

Deno.test("flush() waits no longer than its patience for a stalled reader", async () => {
  const { sink, take } = heldSink();
  const lines = makeLineWriter(sink, dropped);
  assert.equal(await lines.flush(60_000), true);
  lines.write("unread");
  assert.equal(await lines.flush(1), false);
  await take();
  assert.equal(await lines.flush(60_000), true);
});
