import assert from "node:assert/strict";
import type { Context } from "../../lib/delivery/context.ts";
import { type Job, runJob, startSchedule } from "../../lib/maintenance/schedule.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { makeSignals, type SignalValues } from "../../lib/observe/signals.ts";
import { sleep, until } from "../support/wait.ts";

const EACH_SECOND = "* * * * * *";

/** The part of a context that a schedule uses, and everything it logs and reports. */
function makeContext() {
  const lines: Record<string, unknown>[] = [];
  const reported: SignalValues["maintained"][] = [];
  const signals = makeSignals();
  signals.maintained.on((value) => reported.push(value));
  const log = makeLog((line) => lines.push(JSON.parse(line)), "json");
  return { ctx: { log, signals } as unknown as Context, lines, reported };
}

function makeJob(run: Job["run"], name = "things"): Job {
  return { name, pattern: EACH_SECOND, done: "Things done", run };
}

const never = new AbortController().signal;

Deno.test("runJob() reports the count and the duration, and logs a count that is not zero", async () => {
  const { ctx, lines, reported } = makeContext();
  const counts = [3, 0];
  const job = makeJob(() => Promise.resolve(counts.shift() ?? 0));
  await runJob(ctx, job, never);
  await runJob(ctx, job, never);
  assert.deepEqual(reported.map(({ job, count, failure }) => [job, count, failure]), [
    ["things", 3, null],
    ["things", 0, null],
  ]);
  assert.ok(reported.every(({ duration_ms }) => duration_ms >= 0));
  assert.deepEqual(lines.map(({ level, message, count }) => [level, message, count]), [
    ["info", "Things done", 3],
  ]);
});

Deno.test("runJob() logs and reports a failure", async () => {
  const { ctx, lines, reported } = makeContext();
  await runJob(ctx, makeJob(() => Promise.reject(new Error("no disk"))), never);
  await runJob(
    ctx,
    makeJob(() => {
      throw new Error("at once");
    }),
    never,
  );
  assert.deepEqual(reported.map(({ count, failure }) => [count, failure]), [
    [0, "no disk"],
    [0, "at once"],
  ]);
  assert.deepEqual(lines.map(({ level, message, cause }) => [level, message, cause]), [
    ["error", "The sweep of things failed", "no disk"],
    ["error", "The sweep of things failed", "at once"],
  ]);
});

Deno.test("runJob() does not call a run that a stop cut short a failure", async () => {
  const { ctx, lines, reported } = makeContext();
  await runJob(ctx, makeJob(() => Promise.reject(new Error("closed"))), AbortSignal.abort());
  assert.deepEqual([lines, reported], [[], []]);
});

Deno.test("startSchedule() never runs a job twice at once, and one job does not wait for another", async () => {
  const { ctx } = makeContext();
  const gate = Promise.withResolvers<void>();
  let slow = 0;
  let quick = 0;
  const schedule = startSchedule(ctx, [
    makeJob(async () => {
      slow++;
      await gate.promise;
      return 0;
    }, "slow"),
    makeJob(() => Promise.resolve(quick++), "quick"),
  ]);
  await until("the quick job has run three times", () => quick >= 3);
  assert.equal(slow, 1);
  gate.resolve();
  await until("the slow job runs again", () => slow >= 2);
  await schedule.stop();
});

Deno.test("startSchedule() runs a failed job again", async () => {
  const { ctx, reported } = makeContext();
  let runs = 0;
  const schedule = startSchedule(ctx, [
    makeJob(() => runs++ === 0 ? Promise.reject(new Error("once")) : Promise.resolve(1)),
  ]);
  await until("it has run twice", () => reported.length >= 2);
  await schedule.stop();
  assert.deepEqual(reported.slice(0, 2).map(({ failure }) => failure), ["once", null]);
});

Deno.test("Schedule.stop() aborts runs under way, waits for them, and starts no more", async () => {
  const { ctx, reported } = makeContext();
  const gate = Promise.withResolvers<void>();
  let aborted = false;
  let runs = 0;
  const schedule = startSchedule(ctx, [
    makeJob(async (_ctx, stopping) => {
      runs++;
      stopping.addEventListener("abort", () => aborted = true);
      await gate.promise;
      return 7;
    }),
  ]);
  await until("it runs", () => runs === 1);
  let stopped = false;
  const stopping = schedule.stop().then(() => stopped = true);
  assert.ok(aborted);
  await sleep(1_100); // the next run would have started
  assert.equal(stopped, false);
  gate.resolve();
  await stopping;
  assert.equal(runs, 1);
  assert.deepEqual(reported.map(({ count }) => count), [7]);
});

Deno.test("Schedule.run() runs a job now, and again after a run that was under way", async () => {
  const { ctx } = makeContext();
  const gates = [0, 1].map(() => Promise.withResolvers<void>());
  let runs = 0;
  const job: Job = {
    ...makeJob(async () => {
      await gates[runs++]?.promise;
      return 0;
    }),
    pattern: "0 0 0 1 1 *",
  };
  const schedule = startSchedule(ctx, [job]);
  const first = schedule.run(job);
  await until("it runs", () => runs === 1);
  // Both ask while the first run is under way: one more serves them.
  const others = [schedule.run(job), schedule.run(job)];
  gates[0]?.resolve();
  await first;
  await until("it runs again", () => runs === 2);
  gates[1]?.resolve();
  await Promise.all(others);
  assert.equal(runs, 2);
  await schedule.stop();
  await schedule.run(job);
  assert.equal(runs, 2, "not after a stop");
});
