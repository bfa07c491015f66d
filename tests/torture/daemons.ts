import { stringify } from "yaml";
import { messageOf } from "../../lib/core/errors.ts";
import { sleep, until, within } from "../support/wait.ts";
import type { Place } from "./client.ts";

/** How a daemon's process is started. */
export interface Launch {
  /** The program with its arguments, without `serve`. */
  readonly command: readonly string[];
  /** Comes before the command: `sh -c 'ulimit …; exec "$@"'`. */
  readonly wrap: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A daemon that is started again whenever it has ended. */
export interface Daemon extends Place {
  readonly name: string;
  /** Its present life, `d1.4`. */
  readonly holder: string;
  readonly pid: number;
  readonly up: boolean;
  readonly frozen: boolean;
  /** The last lines of its log. */
  readonly tail: readonly string[];
  /** Lives that have ended. */
  readonly dead: readonly string[];
  /** SIGKILL. False where there is nothing to kill. */
  kill(): boolean;
  freeze(): void;
  thaw(): void;
  /** Whether its log is read; at first it is. */
  heed(on: boolean): void;
  /** Writes its configuration file again, and has it read that. */
  reload(): void;
  /** Sends SIGTERM that often. Returns its exit code, or undefined if it had to be killed. */
  terminate(times: number): Promise<number | undefined>;
  /** Resolves when it listens. */
  ready(): Promise<void>;
  /** Ends it for good, by SIGTERM, or at once. Returns the same as `terminate`. */
  stop(how: "SIGTERM" | "SIGKILL"): Promise<number | undefined>;
  /** Open file descriptors, without a table's file once, and resident memory. */
  resources(): { fds: number; memory_mb: number } | undefined;
}

export interface DaemonOptions {
  readonly name: string;
  readonly place: Place;
  readonly directory: string;
  readonly launch: (holder: string) => Launch;
  /** Its configuration, for each life anew. */
  readonly config: (holder: string) => Record<string, unknown>;
  /** Called when it ended and nobody had asked for it. */
  readonly onDeath: (what: string) => void;
  /** Whether a start may fail now, because the database is away. */
  readonly mayFail: () => boolean;
}

interface Life {
  readonly holder: string;
  readonly child: Deno.ChildProcess;
  /** The last lines that it wrote to standard error. */
  readonly tail: string[];
  listened: boolean;
  over: boolean;
  /** Whether its end was asked for. */
  asked: boolean;
  readonly ended: Promise<number>;
}

/** How a daemon ended, in words. */
export function endedBy(code: number | undefined): string {
  return code === undefined ? "did not end by itself" : `ended with code ${code}`;
}

const MAX_TAIL = 30;
// The daemon's own bound is a few seconds; a busy machine may need more.
const END_MS = 30_000;
const running = new Set<Deno.ChildProcess>();

/** Ends every daemon at once, for a run that is interrupted. */
export function killAll(): void {
  for (const child of running) child.kill("SIGKILL");
}

/** Starts a daemon and keeps it. */
export function keepDaemon(options: DaemonOptions): Daemon {
  const { name, place, directory, launch, config, onDeath, mayFail } = options;
  const path = `${directory}/${name}.yaml`;
  const dead: string[] = [];
  let lives = 0;
  let life = begin();
  let frozen = false;
  let stopping = false;
  let heeded = Promise.resolve();
  let heedAgain = () => {};
  const keeping = keep();

  function write(holder: string): void {
    Deno.writeTextFileSync(`${path}.new`, stringify(config(holder)), { mode: 0o600 });
    Deno.renameSync(`${path}.new`, path);
  }

  function begin(): Life {
    const holder = `${name}.${++lives}`;
    write(holder);
    const { command, wrap, env } = launch(holder);
    const [program = "", ...args] = [...wrap, ...command, "serve", "--config", path];
    const child = new Deno.Command(program, {
      args,
      env: { ...env },
      cwd: directory,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    running.add(child);
    const tail: string[] = [];
    const log = child.stderr.pipeThrough(
      new TransformStream({
        async transform(bytes: Uint8Array, controller) {
          await heeded;
          controller.enqueue(bytes);
        },
      }),
    );
    const reading = readLines(log, (line) => {
      if (line.includes('"message":"Listening"')) started.listened = true;
      tail.push(line);
      if (tail.length > MAX_TAIL) tail.shift();
    });
    const ended = child.status.then(async ({ code, signal }) => {
      running.delete(child);
      heed(true);
      await reading;
      started.over = true;
      dead.push(holder);
      return signal === null ? code : -1;
    });
    const started: Life = {
      holder,
      child,
      tail,
      listened: false,
      over: false,
      asked: false,
      ended,
    };
    return started;
  }

  function heed(on: boolean): void {
    heedAgain();
    if (!on) heeded = new Promise((resolve) => heedAgain = resolve);
  }

  async function keep(): Promise<void> {
    for (;;) {
      const { holder, ended, tail } = life;
      const code = await ended;
      frozen = false;
      if (!life.asked && (life.listened || !mayFail())) {
        onDeath(`${holder} ended by itself with code ${code}: ${tail.slice(-8).join(" | ")}`);
      }
      if (stopping) return;
      if (!life.asked) await sleep(200);
      if (stopping) return;
      life = begin();
    }
  }

  function signal(what: Deno.Signal, { child } = life): boolean {
    try {
      child.kill(what);
      return true;
    } catch {
      return false; // it has ended
    }
  }

  async function endOf(ending: Life): Promise<number | undefined> {
    try {
      return await within("it ends", ending.ended, END_MS);
    } catch {
      signal("SIGKILL", ending);
      await ending.ended;
      return undefined;
    }
  }

  async function terminate(times: number): Promise<number | undefined> {
    const ending = life;
    ending.asked = true;
    for (let i = 0; i < times; i++) {
      if (i > 0) await sleep(30);
      signal("SIGTERM", ending); // not its successor
    }
    return await endOf(ending);
  }

  const daemon: Daemon = {
    name,
    ...place,
    dead,
    get holder() {
      return life.holder;
    },
    get pid() {
      return life.child.pid;
    },
    get tail() {
      return life.tail;
    },
    get up() {
      return life.listened && !life.over && !frozen;
    },
    get frozen() {
      return frozen;
    },
    kill() {
      if (life.asked) return false;
      life.asked = signal("SIGKILL");
      return life.asked;
    },
    freeze() {
      frozen = signal("SIGSTOP");
    },
    thaw() {
      signal("SIGCONT");
      frozen = false;
    },
    heed,
    reload() {
      write(life.holder);
      signal("SIGHUP");
    },
    terminate,
    async ready() {
      await until(`${name} listens`, () => daemon.up).catch((error) => {
        throw new Error(`${messageOf(error)}; it said ${life.tail.join(" | ")}`);
      });
    },
    async stop(how) {
      stopping = true;
      if (frozen) daemon.thaw();
      life.asked = true;
      signal(how);
      const code = await endOf(life);
      await keeping;
      return code;
    },
    resources() {
      try {
        const { pid } = life.child;
        const status = Deno.readTextFileSync(`/proc/${pid}/status`);
        return {
          fds: openFiles(pid).length,
          memory_mb: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024,
        };
      } catch {
        return undefined;
      }
    },
  };
  return daemon;
}

// An embedded PostgreSQL keeps the files of its tables open once it has used them: each counts only where
// it is open twice.
function openFiles(pid: number): string[] {
  const files = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
    } catch {
      return name; // just closed
    }
  });
  return files.filter((file, at) =>
    !file.includes("/postgres/base/") || files.indexOf(file) !== at
  );
}

async function readLines(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
): Promise<void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(onLine);
  }
  if (rest !== "") onLine(rest);
}
