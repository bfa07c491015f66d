import { stringify } from "yaml";
import type { Config } from "../../lib/config/config.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { type Daemon, start } from "../../lib/daemon.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { openDatabase } from "../../lib/store/database.ts";
import { until } from "./wait.ts";

export const ADMIN = "admin-token-of-the-tests-0123";
export const VIEWER = "viewer-token-of-the-tests-012";
/** The secret named `main`, which `endpoint` uses. */
export const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

/** Sections of a configuration file, as in the file. */
export interface Sections {
  readonly database: Readonly<Record<string, unknown>>;
  readonly endpoints?: readonly Record<string, unknown>[];
  readonly [section: string]: unknown;
}

/** An entry for `endpoints`: every event, signed with the secret `main`. */
export function endpoint(id: string, url: string, more: Record<string, unknown> = {}) {
  return { id, url, events: ["*"], ...("unsigned" in more ? {} : { secret: "main" }), ...more };
}

/** An answer, read to its end. */
export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  // deno-lint-ignore no-explicit-any
  readonly body: any;
}

/** The HTTP interface of a daemon in this or another process. */
export interface Front {
  readonly url: string;
  /** Posts to `/ingest`: text and bytes as they are, anything else as JSON. */
  post(body: unknown, headers?: Record<string, string>): Promise<Answered>;
  /** Calls the admin API, `deliveries?limit=1`, with that token; null for none. */
  api(path: string, token?: string | null, method?: string): Promise<Answered>;
  /** Waits until a delivery has ended or `holds`, and returns it with its attempts. */
  // deno-lint-ignore no-explicit-any
  delivery(id: string, holds?: (delivery: any) => boolean): Promise<any>;
  /** The only delivery of an event, or the one to an endpoint. */
  deliveryId(event_id: string, endpoint_id?: string): Promise<string>;
}

/** A line of a daemon's log. */
export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface TestDaemon extends Front, AsyncDisposable {
  readonly log: readonly LogLine[];
  readonly watched: Daemon["watched"];
  stop(): Promise<void>;
}

/**
 * Starts a daemon in this process from a configuration file, by the program's own `start`. `alter`
 * changes the configuration in ways that a file cannot, `open` opens its database.
 */
export async function startDaemon(
  sections: Sections,
  alter: (config: Config) => Config = (config) => config,
  open: typeof openDatabase = openDatabase,
): Promise<TestDaemon> {
  const { path, remove } = writeConfig(sections);
  const log: LogLine[] = [];
  try {
    const config = alter(loadConfig(path, (name) => Deno.env.get(name)));
    const lines = makeLog((line) => log.push(JSON.parse(line)), "json");
    const daemon = await start(config, lines, open(config, lines));
    let is_there = true;
    // Again, it cuts off what is under way. Tests that only stop it leave no file behind either.
    const stop = () =>
      daemon.stop().finally(() => {
        if (is_there) remove();
        is_there = false;
      });
    let closed: Promise<void> | undefined;
    return {
      ...frontOf(daemon.url),
      log,
      watched: daemon.watched,
      stop,
      [Symbol.asyncDispose]: () => closed ??= stop(),
    };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Writes a configuration file into a directory of its own. */
export function writeConfig(sections: Sections): { path: string; remove(): void } {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-config-" });
  const path = `${directory}/config.yaml`;
  const file = {
    server: { listen: "127.0.0.1:0" },
    secrets: { main: SECRET },
    admin: {
      tokens: [
        { name: "ops", token: ADMIN, role: "admin" },
        { name: "wall", token: VIEWER, role: "viewer" },
      ],
    },
    ...sections,
    database: roomy(sections.database),
  };
  Deno.writeTextFileSync(path, stringify(file), { mode: 0o600 });
  return { path, remove: () => Deno.removeSync(directory, { recursive: true }) };
}

// However little room the machine of the tests has.
function roomy(database: Sections["database"]) {
  return "directory" in database ? { min_free: "0B", ...database } : database;
}

/** The interface of the daemon at a URL; `client` trusts its certificate. */
export function frontOf(url: string, client?: Deno.HttpClient): Front {
  const ask = async (path: string, init: RequestInit): Promise<Answered> => {
    const response = await fetch(url + path, { ...init, ...(client ? { client } : {}) });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("content-type") ?? "");
    return {
      status: response.status,
      headers: response.headers,
      body: isJson ? JSON.parse(text) : text,
    };
  };
  const front: Front = {
    url,
    post(body, headers = {}) {
      const raw = typeof body === "string" || body instanceof Uint8Array;
      return ask("/ingest", {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: raw ? body as BodyInit : JSON.stringify(body),
      });
    },
    api: (path, token = ADMIN, method = "GET") =>
      ask(`/api/${path}`, {
        method,
        headers: token === null ? {} : { authorization: `Bearer ${token}` },
      }),
    delivery: (id, holds = (delivery) => delivery.status !== "pending") =>
      until(`delivery ${id}: ${holds}`, async () => {
        const { body } = await front.api(`deliveries/${id}`);
        return holds(body) ? body : Promise.reject(new Error(JSON.stringify(body)));
      }),
    async deliveryId(event_id, endpoint_id) {
      const { body } = await until(`event ${event_id} is shown`, async () => {
        const answer = await front.api(`events/${event_id}`);
        return answer.status === 200
          ? answer
          : Promise.reject(new Error(Deno.inspect(answer.body)));
      });
      const found = body.deliveries.filter((delivery: { endpoint_id: string }) =>
        endpoint_id === undefined || delivery.endpoint_id === endpoint_id
      );
      if (found.length !== 1) throw new Error(`${event_id} has ${found.length} such deliveries`);
      return found[0].id;
    },
  };
  return front;
}

/** A daemon in its own process. */
export interface DaemonProcess extends Front, AsyncDisposable {
  readonly pid: number;
  readonly log: readonly LogLine[];
  /** Lines on standard error that are not log lines. */
  readonly noise: readonly string[];
  kill(signal: Deno.Signal): void;
  readonly status: Promise<Deno.CommandStatus>;
}

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/**
 * Starts `main.ts serve` as a process, with its log on a pipe; `flags` and `env` are for Deno. `main` is that of
 * this program, or of another version.
 */
export function spawnServe(
  path: string,
  flags: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
  main = MAIN,
): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", ...flags, main, "serve", "--config", path],
    env,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

/**
 * Starts `main.ts` as a process and waits until it listens, while `meanwhile` runs. Throws with its
 * output if it ends instead. `env` adds to the environment; `main` may be that of another version.
 */
export async function spawnDaemon(
  sections: Sections,
  meanwhile: (kill: DaemonProcess["kill"]) => Promise<void> = () => Promise.resolve(),
  env: Readonly<Record<string, string>> = {},
  main?: string,
): Promise<DaemonProcess> {
  const { path, remove } = writeConfig(sections);
  const child = spawnServe(path, [], env, main);
  const log: LogLine[] = [];
  const noise: string[] = [];
  let over = false;
  const reading = (async () => {
    for await (const line of linesOf(child.stderr)) {
      if (line.startsWith("{")) log.push(JSON.parse(line));
      else noise.push(line);
    }
    over = true;
  })();
  const close = async () => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has already ended.
    }
    await reading;
    await child.status;
    remove();
  };
  try {
    await meanwhile((signal) => child.kill(signal));
    const url = await until("the daemon listens", () => {
      if (over) return "over";
      return log.find((line) => line.message === "Listening")?.url as string | undefined;
    });
    if (url === "over") {
      const said = [...noise, ...log.map(({ message }) => message)];
      throw new Error(`The daemon ended at once: ${said.join("\n")}`);
    }
    return {
      ...frontOf(url),
      pid: child.pid,
      log,
      noise,
      kill: (signal) => child.kill(signal),
      status: child.status,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The lines of a stream, the last one also without its end. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}

/** An event like those of the documentation; `more` goes into the appointment. */
export function booking(id: string, business?: string, more: Record<string, unknown> = {}) {
  return {
    event: "booking.created",
    timestamp: "2025-10-31T15:30:00Z",
    data: {
      appointment: {
        id,
        ...(business === undefined ? {} : { business: { id: business } }),
        ...more,
      },
    },
  };
}
