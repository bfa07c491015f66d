import { testCertificates } from "../../tests/support/tls.ts";
import { makeWorker, runningNow, startProcess, stopAll, type Worker } from "./processes.ts";
import type { Database, Server } from "./postgres.ts";
import { type Receivers, startReceivers } from "./receivers.ts";
import type { Sample } from "./stats.ts";
import { type Contender, type Prepared, type Setup } from "../contenders/contender.ts";

/** `quick` is for developing, its figures mean little; `short` for the must-show table in half an hour. */
export type Size = "quick" | "short" | "full";

/** What every scenario needs. */
export interface Bench {
  readonly server: Server;
  /** The Node of bench/peers, which runs the peers, the receivers and the driver. */
  readonly node: string;
  readonly directory: string;
  readonly size: Size;
  /** Whether the size is `quick`. */
  readonly quick: boolean;
  readonly driver: Worker;
  add(sample: Sample): void;
  log(text: string): void;
}

/** One scenario. It is called once per repetition. */
export type Scenario = (bench: Bench, contenders: readonly Contender[]) => Promise<void>;

/** One contender with a database and receivers to itself. */
export interface Run {
  readonly setup: Setup;
  readonly database: Database;
  readonly receivers: Receivers;
  readonly prepared: Prepared;
}

export interface RunOptions {
  readonly answering: number;
  readonly hanging?: number;
  readonly owed: "one" | "all";
  /** For rates: see `startReceivers`. */
  readonly yielding?: boolean;
  /** Whether the receivers speak TLS, with a certificate of an authority that the contender is given. */
  readonly tls?: boolean;
}

let runs = 0;

/** Gives a contender a fresh database and receivers, and takes them away again. */
export async function withRun<T>(
  bench: Bench,
  contender: Contender,
  options: RunOptions,
  use: (run: Run) => Promise<T>,
): Promise<T> {
  const directory = `${bench.directory}/run-${++runs}`;
  Deno.mkdirSync(directory);
  const before = runningNow();
  const database = await bench.server.fresh();
  const tls = options.tls ? await testCertificates() : undefined;
  const receivers = await startReceivers({
    node: bench.node,
    directory,
    certificate: tls?.good,
    ...options,
  });
  try {
    const setup: Setup = {
      directory,
      database,
      urls: receivers.urls,
      owed: options.owed,
      authority: tls?.files.ca,
    };
    const prepared = await contender.prepare(setup);
    return await use({ setup, database, receivers, prepared });
  } catch (error) {
    throw new Error(`${contender.name}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  } finally {
    // Where it failed, the contender still writes to what goes now.
    await stopAll(before);
    await database.drop();
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Starts the load generator. */
export function startDriver(node: string, directory: string): Worker {
  const script = new URL("../workers/driver.ts", import.meta.url).pathname;
  return makeWorker(startProcess(node, [script], { log: `${directory}/driver.log` }));
}
