import type { Leaf } from "../../tests/support/tls.ts";
import { makeWorker, startProcess, until } from "./processes.ts";

/** Of one arrival: which endpoint, which event, when, and whether from 127.0.0.2. */
export interface Arrivals {
  readonly count: number;
  endpoint(i: number): number;
  number(i: number): number;
  at(i: number): number;
  second(i: number): boolean;
}

export interface Count {
  readonly count: number;
  readonly first: number | null;
  readonly last: number | null;
  readonly now: number;
  readonly per_endpoint: readonly (number | null)[];
}

/** The receiving side: endpoints 0… on ports of their own. The last ones may never answer. */
export interface Receivers {
  readonly urls: readonly string[];
  /** Forgets what has arrived. */
  reset(): Promise<void>;
  count(): Promise<Count>;
  /** Waits until so many have arrived; throws where none comes for `patience_ms`. */
  waitFor(total: number, patience_ms?: number): Promise<Count>;
  dump(): Promise<{ arrivals: Arrivals; firsts: readonly (string | null)[] }>;
  stop(): Promise<void>;
}

export interface ReceiverOptions {
  readonly node: string;
  readonly directory: string;
  readonly answering: number;
  readonly hanging?: number;
  /** The certificate they listen with; without one they speak plain HTTP. */
  readonly certificate?: Leaf | undefined;
  /**
   * Whether they leave the core to whoever sends to them until it waits or its time slice is over
   * (SCHED_BATCH). Else the scheduler lets them in with each request that wakes them, in the middle of
   * the sender's turn, which receivers on other machines never do. What measures latencies cannot have
   * it: the receiver itself takes the moment of arrival.
   */
  readonly yielding?: boolean;
}

/** Starts a receiver process with so many endpoints. */
export async function startReceivers(options: ReceiverOptions): Promise<Receivers> {
  const { node, directory, answering, hanging = 0, certificate, yielding = false } = options;
  const script = new URL("../workers/receiver.ts", import.meta.url).pathname;
  const [program, ...args] = [...(yielding ? ["chrt", "--batch", "0"] : []), node, script] as const;
  const worker = makeWorker(startProcess(program, args, { log: `${directory}/receiver.log` }));
  const { ports } = await worker.ask<{ ports: number[] }>("listen", {
    answering,
    hanging,
    tls: certificate,
  });
  const scheme = certificate === undefined ? "http" : "https";
  const count = () => worker.ask<Count>("count");
  return {
    urls: ports.map((port) => `${scheme}://127.0.0.1:${port}/hook`),
    reset: async () => void await worker.ask("reset"),
    count,
    async waitFor(total, patience_ms = 20_000) {
      let seen = -1;
      let since = performance.now();
      return await until(`${total} arrivals`, 3_600_000, async () => {
        const answer = await count();
        if (answer.count > seen) {
          seen = answer.count;
          since = performance.now();
        } else if (answer.count < total && performance.now() - since > patience_ms) {
          throw new Error(
            `Only ${answer.count} of ${total} arrived, the last ${patience_ms} ms ago`,
          );
        }
        return answer.count >= total && answer;
      }, 25);
    },
    async dump() {
      const path = `${directory}/arrivals.bin`;
      const { count, firsts } = await worker.ask<{ count: number; firsts: (string | null)[] }>(
        "dump",
        { path },
      );
      const rows = new Float64Array(Deno.readFileSync(path).buffer);
      Deno.removeSync(path);
      const cell = (i: number, column: number) => rows[i * 4 + column] ?? NaN;
      const arrivals: Arrivals = {
        count,
        endpoint: (i) => cell(i, 0),
        number: (i) => cell(i, 1),
        at: (i) => cell(i, 2),
        second: (i) => cell(i, 3) === 1,
      };
      return { arrivals, firsts };
    },
    stop: async () => void await worker.process.stop(),
  };
}
