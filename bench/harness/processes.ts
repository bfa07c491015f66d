/** Processes of the bench: every one is known here, so that none outlives it. */

import { MARK } from "../workers/control.ts";

export interface StartOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly uid?: number;
  readonly gid?: number;
  /** File that standard error goes to. */
  readonly log: string;
}

export interface Process {
  readonly pid: number;
  readonly log: string;
  /** The next line of standard output; rejects when the process ends first. */
  line(): Promise<string>;
  write(text: string): Promise<void>;
  signal(name: Deno.Signal): void;
  /** SIGTERM, a second one after `patience_ms`, SIGKILL after twice that. Answers the exit code. */
  stop(patience_ms?: number): Promise<number>;
  readonly ended: Promise<number>;
}

const running = new Set<Process>();

/** Starts a process with pipes for input and output. */
export function startProcess(
  command: string,
  args: readonly string[],
  options: StartOptions,
): Process {
  const { log, ...rest } = options;
  const child = new Deno.Command(command, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    ...rest,
    env: rest.env ?? {},
  }).spawn();
  const file = Deno.openSync(log, { create: true, append: true });
  child.stderr.pipeTo(
    new WritableStream({
      write: (bytes) => void file.writeSync(bytes),
      close: () => file.close(),
    }),
  ).catch(() => {});
  const writer = child.stdin.getWriter();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(splitLines())
    .getReader();
  const ended = child.status.then(({ code }) => {
    running.delete(started);
    return code;
  });
  const signal = (name: Deno.Signal) => {
    try {
      child.kill(name);
    } catch {
      // It has ended already.
    }
  };
  const started: Process = {
    pid: child.pid,
    log,
    async line() {
      const { value, done } = await lines.read();
      if (done) throw new Error(`${command} ended; see ${log}:\n${tail(log)}`);
      return value;
    },
    write: (text) => writer.write(new TextEncoder().encode(text)),
    signal,
    async stop(patience_ms = 10_000) {
      signal("SIGTERM");
      const timers = [
        setTimeout(() => signal("SIGTERM"), patience_ms),
        setTimeout(() => signal("SIGKILL"), 2 * patience_ms),
      ];
      const code = await ended;
      timers.forEach(clearTimeout);
      return code;
    },
    ended,
  };
  running.add(started);
  return started;
}

function splitLines(): TransformStream<string, string> {
  let rest = "";
  return new TransformStream({
    transform(text, controller) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) controller.enqueue(line);
    },
  });
}

/** The end of a file, for an error message. */
export function tail(path: string): string {
  try {
    return Deno.readTextFileSync(path).slice(-2_000);
  } catch {
    return "";
  }
}

/** The processes that are running now. */
export function runningNow(): ReadonlySet<Process> {
  return new Set(running);
}

/** Ends everything that is still running, except `kept`, the last started first. */
export async function stopAll(kept: ReadonlySet<Process> = new Set()): Promise<void> {
  for (const process of [...running].reverse()) {
    if (!kept.has(process)) await process.stop(3_000);
  }
}

/** A process of ours that takes commands (workers/control.ts). */
export interface Worker {
  readonly process: Process;
  ask<T = Record<string, unknown>>(what: string, more?: Record<string, unknown>): Promise<T>;
}

/** Wraps a process of ours; its answers come in the order of the commands. */
export function makeWorker(process: Process): Worker {
  let last: Promise<unknown> = Promise.resolve();
  return {
    process,
    ask<T>(what: string, more: Record<string, unknown> = {}) {
      const answer = last.catch(() => {}).then(async () => {
        await process.write(JSON.stringify({ do: what, ...more }) + "\n");
        let line = await process.line();
        while (!line.startsWith(MARK)) line = await process.line();
        const value = JSON.parse(line.slice(MARK.length));
        if (value.error !== undefined) throw new Error(`${what}: ${value.error}`);
        return value as T;
      });
      last = answer;
      return answer;
    },
  };
}

const TICK_MS = 10; // USER_HZ is 100 on every Linux

/** CPU used until now by a process and all below it, ended children included, in milliseconds. */
export function cpuOf(pid: number): number {
  const children = new Map<number, { pid: number; own: number }[]>();
  let ticks = 0;
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(Number(name));
    if (stat === undefined) continue;
    if (stat.pid === pid) ticks += stat.own + stat.reaped;
    const siblings = children.get(stat.parent) ?? [];
    siblings.push(stat);
    children.set(stat.parent, siblings);
  }
  const add = (parent: number) => {
    for (const child of children.get(parent) ?? []) {
      ticks += child.own;
      add(child.pid);
    }
  };
  add(pid);
  return ticks * TICK_MS;
}

function readStat(pid: number) {
  try {
    const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // The name in brackets may hold anything, spaces too.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
    const [parent = 0] = fields.slice(1, 2);
    const [user = 0, system = 0, reaped_user = 0, reaped_system = 0] = fields.slice(11, 15);
    return { pid, parent, own: user + system, reaped: reaped_user + reaped_system };
  } catch {
    return undefined;
  }
}

/** Resident memory of one process, in MB. */
export function memoryOf(pid: number): number {
  const kb = /VmRSS:\s+(\d+) kB/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
  return Number(kb ?? 0) / 1024;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits until `check` answers something other than undefined or false; throws after `timeout_ms`. */
export async function until<T>(
  what: string,
  timeout_ms: number,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  every_ms = 10,
): Promise<T> {
  const end = performance.now() + timeout_ms;
  while (true) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`${what}: not within ${timeout_ms / 1000} s`);
    await sleep(every_ms);
  }
}
