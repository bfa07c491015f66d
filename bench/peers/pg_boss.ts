/**
 * pg-boss 12 as its pages on workers have it for throughput: batches, several workers, LISTEN/NOTIFY,
 * fetching on while batches come back full, a table of the queue's own. What came of a job is its
 * output, which pg-boss keeps with it. Node only.
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
  serveIngest,
} from "./common.ts";

interface Boss {
  on(event: "error" | "warning", listener: (error: unknown) => void): void;
  start(): Promise<unknown>;
  stop(options: Record<string, unknown>): Promise<void>;
  createQueue(name: string, options: Record<string, unknown>): Promise<void>;
  insert(name: string, jobs: readonly Record<string, unknown>[]): Promise<unknown>;
  work(
    name: string,
    options: Record<string, unknown>,
    handler: (jobs: readonly { id: string; data: Delivery }[]) => Promise<unknown>,
  ): Promise<unknown>;
}

const { PgBoss } = require("pg-boss") as {
  PgBoss: new (options: Record<string, unknown>) => Boss;
};
const QUEUE = "deliveries";

async function startBoss(): Promise<Boss> {
  const boss = new PgBoss({
    connectionString: options.database_url,
    max: 10,
    useListenNotify: true,
    schedule: false,
  });
  boss.on("error", (error) => process.stderr.write(`${error}\n`));
  await boss.start();
  return boss;
}

function jobOf(delivery: Delivery, later = false) {
  return { data: delivery, ...(later ? { startAfter: 3_600 } : {}) };
}

async function work(boss: Boss) {
  const send = makeSend();
  const how = {
    batchSize: 250,
    localConcurrency: 4,
    perJobResults: true,
    burstWhenBatchFull: true,
    pollingIntervalSeconds: 0.5,
    notifyPollingIntervalSeconds: 0.5,
  };
  await boss.work(QUEUE, how, (jobs) =>
    Promise.all(jobs.map(async ({ id, data }) => {
      try {
        return { id, status: "completed", output: await send(id, 1, data) };
      } catch (error) {
        return { id, status: "failed", output: { error: String(error) } };
      }
    })));
}

serveCommands({
  async setup() {
    const boss = await startBoss();
    await boss.createQueue(QUEUE, {
      partition: true,
      notify: true,
      retryLimit: 6,
      retryDelay: 60,
      retryBackoff: true,
    });
    await boss.stop({ graceful: false });
  },
  async load(command) {
    const boss = await startBoss();
    for (const group of backlogOf(command as unknown as Backlog, bodyOf)) {
      await boss.insert(QUEUE, group.map(({ delivery, later }) => jobOf(delivery, later)));
    }
    await boss.stop({ graceful: false });
  },
  async start({ role }) {
    const boss = await startBoss();
    if (role !== "ingest") await work(boss);
    const stop = () =>
      void boss.stop({ graceful: true, timeout: 5_000 }).finally(() => process.exit(0));
    process.once("SIGTERM", stop);
    if (role === "send") return { port: 0 };
    return await serveIngest((deliveries) => boss.insert(QUEUE, deliveries.map((d) => jobOf(d))));
  },
});
