import { run } from "../../lib/cli/cli.ts";
import deno from "../../deno.json" with { type: "json" };

/** The permissions of `deno task cli`. */
export const TASK_PERMISSIONS = deno.tasks.cli.split(" ").filter((arg) => /^--allow-/.test(arg));

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** Exit code and output of a command. */
export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array;
  /** Only in its own process: its permissions (default: all). */
  readonly permissions?: readonly string[];
  /** Only in its own process: `main.ts` of another version of the program. */
  readonly main?: string;
  /** Only in its own process: its directory (default: that of the tests). */
  readonly cwd?: string;
  /** Only in this process: whether standard output is a terminal. */
  readonly isTerminal?: boolean;
  /** Only in this process: how wide the terminal is. */
  readonly columns?: number;
  /** Only in this process: the answer to a question (default: no terminal to ask on). */
  readonly answer?: string;
}

/** Runs a command line in this process. Not for commands that wait for a signal. */
export async function runHere(args: readonly string[], options: CliOptions = {}): Promise<Ended> {
  const { env = {}, stdin = "", isTerminal = false, columns, answer } = options;
  const out: string[] = [];
  const err: string[] = [];
  const code = await run(args, {
    out: (line) => void out.push(line + "\n"),
    err: (line) => void err.push(line + "\n"),
    isTerminal,
    columns,
    env: (name) => env[name],
    stdin: () =>
      Promise.resolve(typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin),
    ask(question) {
      err.push(question);
      return answer ?? null;
    },
  });
  return { code, out: out.join(""), err: err.join("") };
}

/** A command that runs in its own process. */
export interface Running {
  /** Waits until either stream matches, and returns the match. Rejects if the command ends first. */
  until(pattern: RegExp): Promise<RegExpExecArray>;
  kill(signal: Deno.Signal): void;
  readonly ended: Promise<Ended>;
}

/** Starts the program as a user does, under the Deno that runs the tests. */
export function startCli(args: readonly string[], options: CliOptions = {}): Running {
  const main = options.main ?? MAIN;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--frozen", "--quiet", "--config", main.replace(/main\.ts$/, "deno.json")],
      ...(options.permissions ?? ["-A"]),
      ...[main, ...args],
    ],
    env: { NO_COLOR: "1", ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const written = { out: "", err: "" };
  let over = false;
  let changed = Promise.withResolvers<void>();
  const wake = () => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  const read = async (stream: ReadableStream<Uint8Array>, name: "out" | "err") => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      written[name] += decoder.decode(chunk, { stream: true });
      wake();
    }
  };
  const end = async (): Promise<Ended> => {
    const [status] = await Promise.all([
      child.status,
      read(child.stdout, "out"),
      read(child.stderr, "err"),
      write(child.stdin, options.stdin ?? ""),
    ]);
    over = true;
    wake();
    return { code: status.code, ...written };
  };
  return {
    kill(signal) {
      try {
        child.kill(signal);
      } catch (error) {
        // It has ended by itself.
        if (!(error instanceof TypeError)) throw error;
      }
    },
    ended: end(),
    async until(pattern) {
      for (;;) {
        const match = pattern.exec(written.out) ?? pattern.exec(written.err);
        if (match !== null) return match;
        if (over) throw new Error(`Ended without ${pattern}: ${written.out}${written.err}`);
        await changed.promise;
      }
    },
  };
}

/** Runs a command line in its own process, to its end. */
export function runCli(args: readonly string[], options: CliOptions = {}): Promise<Ended> {
  return startCli(args, options).ended;
}

async function write(stream: WritableStream<Uint8Array>, content: string | Uint8Array) {
  const writer = stream.getWriter();
  try {
    await writer.write(typeof content === "string" ? new TextEncoder().encode(content) : content);
    await writer.close();
  } catch {
    // Most commands end without reading it.
  }
}

/** Runs `work` with a temporary directory and removes that afterwards. */
export async function inTemporary<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await Deno.makeTempDir({ prefix: "bookme-cli-" });
  try {
    return await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
