/**
 * graphile-worker 0.18 as its page on performance has it: a local queue and batched completion. A
 * completed job is deleted, so what came of it goes into a table of ours, grouped as ours is: the
 * job is done when its result is stored. Node only.
 */

import process from "node:process";
import { bodyOf } from "../workload.ts";
import { serveCommands } from "../workers/control.ts";
import {
  type Backlog,
  backlogOf,
  type Delivery,
  makeSend,
  options,
  require,
  type Result,
  serveIngest,
} from "./common.ts";

interface Utils {
  migrate(): Promise<void>;
  addJobs(specs: readonly Record<string, unknown>[]): Promise<unknown>;
  release(): Promise<void>;
}
interface Graphile {
  readonly Logger: new (factory: () => () => void) => object;
  makeWorkerUtils(options: Record<string, unknown>): Promise<Utils>;
  run(options: Record<string, unknown>): Promise<{ stop(): Promise<void> }>;
}
interface Pool {
  query(query: Record<string, unknown> | string): Promise<unknown>;
  end(): Promise<void>;
}

const { Logger, makeWorkerUtils, run } = require("graphile-worker") as Graphile;
const { Pool } = require("pg") as { Pool: new (options: Record<string, unknown>) => Pool };
const connectionString = options.database_url;

const preset = {
  worker: {
    connectionString,
    concurrentJobs: 128,
    maxPoolSize: 12,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    // By default a line is written for each job.
    logger: new Logger(() => () => {}),
  },
};

const ATTEMPTS = `create table attempts (
  job_id bigint not null, attempt int not null, endpoint int not null, number int not null,
  ended_at timestamptz not null default now(), status smallint not null,
  duration_ms float8 not null, request_timestamp bigint not null, signature text not null,
  webhook_signature text not null, response text not null, primary key (job_id, attempt))`;

type Row = { readonly id: string; readonly attempt: number; readonly result: Result };

// Whatever came while the last group was being stored is the next group.
function makeRecorder(pool: Pool): (row: Row) => Promise<void> {
  let queue: { row: Row; done: () => void; failed: (error: unknown) => void }[] = [];
  let writing = 0;
  async function write() {
    writing++;
    while (queue.length > 0) {
      const group = queue;
      queue = [];
      const column = (value: (row: Row) => unknown) => group.map(({ row }) => value(row));
      await pool.query({
        name: "record",
        text: `insert into attempts (job_id, attempt, endpoint, number, status, duration_ms,
            request_timestamp, signature, webhook_signature, response)
          select * from unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::smallint[],
            $6::float8[], $7::bigint[], $8::text[], $9::text[], $10::text[])`,
        values: [
          column((row) => row.id),
          column((row) => row.attempt),
          column((row) => row.result.endpoint),
          column((row) => row.result.number),
          column((row) => row.result.status),
          column((row) => row.result.duration_ms),
          column((row) => row.result.timestamp_s),
          column((row) => row.result.signature),
          column((row) => row.result.webhook_signature),
          column((row) => row.result.response),
        ],
      }).then(
        () => group.forEach(({ done }) => done()),
        (error) => group.forEach(({ failed }) => failed(error)),
      );
    }
    writing--;
  }
  return (row) =>
    new Promise((done, failed) => {
      queue.push({ row, done, failed });
      if (writing < 2) queueMicrotask(write);
    });
}

function specOf(delivery: Delivery, later = false) {
  const wait_ms = 3_600_000;
  return {
    identifier: "deliver",
    payload: delivery,
    maxAttempts: 7,
    ...(later ? { runAt: new Date(Date.now() + wait_ms) } : {}),
  };
}

async function deliverJobs() {
  const send = makeSend();
  const record = makeRecorder(new Pool({ connectionString, max: 2 }));
  const deliver = async (
    payload: Delivery,
    { job }: { job: { id: string; attempts: number } },
  ) => {
    const result = await send(job.id, job.attempts, payload);
    await record({ id: job.id, attempt: job.attempts, result });
  };
  return await run({ preset, taskList: { deliver }, noHandleSignals: true, crontab: "" });
}

serveCommands({
  async setup() {
    const utils = await makeWorkerUtils({ preset });
    await utils.migrate();
    await utils.release();
    const pool = new Pool({ connectionString, max: 1 });
    await pool.query(ATTEMPTS);
    await pool.end();
  },
  async load(command) {
    const utils = await makeWorkerUtils({ preset });
    for (const group of backlogOf(command as unknown as Backlog, bodyOf)) {
      await utils.addJobs(group.map(({ delivery, later }) => specOf(delivery, later)));
    }
    await utils.release();
  },
  async start({ role }) {
    const runner = role === "ingest" ? undefined : await deliverJobs();
    const stop = () => void (runner?.stop() ?? Promise.resolve()).finally(() => process.exit(0));
    process.once("SIGTERM", stop);
    if (role === "send") return { port: 0 };
    const utils = await makeWorkerUtils({ preset });
    return await serveIngest((deliveries) => utils.addJobs(deliveries.map((d) => specOf(d))));
  },
});
