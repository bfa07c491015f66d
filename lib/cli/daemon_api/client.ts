import type { Endpoint, Page } from "../../admin/shown.ts";
import { readAccess } from "../../config/access.ts";
import { hostPort, ownAddressOf } from "../../core/address.ts";
import { DELIVERY_REASONS } from "../../core/cancellation.ts";
import { AppError, type ErrorCode, HTTP_STATUS } from "../../core/errors.ts";
import { isObject } from "../../core/json.ts";
import { CONFIG, readSecret, SECRET_VALUE, UsageError, type Values } from "../command.ts";
import type { Message } from "../../core/server_sent.ts";
import { type Answer, type Method, send } from "./request.ts";
import { streamFrom } from "./stream.ts";
import type { Io } from "../terminal.ts";

/** Options of every command that talks to the daemon. */
export const API_OPTIONS = {
  config: { ...CONFIG, about: "The daemon's configuration file" },
  url: { type: "string", value: "URL", about: "Where the daemon is, instead of at server.listen" },
  token: {
    type: "string",
    value: SECRET_VALUE,
    about: "Admin token, instead of the configured one",
  },
} as const;

/** Options of a command that lists, newest first. */
export const LIST_OPTIONS = {
  limit: { type: "string", default: "50", value: "N", about: "Most entries to list" },
  cursor: { type: "string", value: "TEXT", about: "Continue below a list, from its next_cursor" },
  json: { type: "boolean", about: "Print the API's answer as JSON" },
} as const;

/** Options that narrow a list or a replay of deliveries. */
export const DELIVERY_FILTERS = {
  endpoint: {
    type: "string",
    value: "ID",
    completes: "endpoints",
    about: "Only deliveries to this endpoint",
  },
  reason: {
    type: "string",
    value: "REASON",
    choices: DELIVERY_REASONS,
    about: "http_5xx, tls …, any of these, or why cancelled: deselected …",
  },
  code: { type: "string", value: "CODE", about: "Only if the last answer had it: 401, or 4xx" },
} as const;

/** Most entries that one command lists. */
export const MAX_LISTED = 10_000;

/** All endpoints in force. */
export async function allEndpoints(api: Api): Promise<readonly Endpoint[]> {
  return (await api.list<Endpoint>("endpoints", {}, MAX_LISTED)).data;
}

/** Values of `API_OPTIONS`. */
export type ApiValues = Values<typeof API_OPTIONS>;

type Query = Readonly<Record<string, string | undefined>>;

/** The running daemon's admin API. */
export interface Api {
  readonly url: string;
  /** Which token is shown, in words; never the token. */
  readonly token_name: string;
  get<T>(path: string, query?: Query): Promise<T>;
  post<T>(path: string, body?: unknown): Promise<T>;
  delete<T>(path: string): Promise<T>;
  /**
   * What changes, by the query, from the message with that id on, until the daemon ends it or `signal`
   * aborts.
   */
  follow(query: Query, last_id: string | undefined, signal: AbortSignal): AsyncGenerator<Message>;
  /** Up to `limit` entries of a list from the query's cursor on, from as many pages as that takes. */
  list<Row>(path: string, query: Query, limit: number): Promise<Page<Row>>;
}

/** How long a change may take, in milliseconds: a test event waits for its endpoint. */
const CHANGE_PATIENCE_MS = 360_000;
const MAX_PAGE = 200;

/**
 * The API of the daemon that runs by this configuration, or that `--url` names. Nothing is sent yet.
 * Its calls reject with an `AppError` that says what to do.
 */
export async function openApi(io: Io, values: ApiValues): Promise<Api> {
  const { url, token, token_name } = await accessOf(io, values);
  const start = values.url === undefined
    ? `is the daemon running? Start it with \`bookme-webhooks --config ${values.config}\`, which ` +
      "names this address (server.listen), or name another one with --url"
    : "is the daemon running? Check --url, and that it runs there";
  const headers = { authorization: `Bearer ${token}`, accept: "application/json" };
  const ask = async (method: Method, target: URL, body?: unknown): Promise<unknown> => {
    try {
      const answer = await send(target, {
        method,
        headers: {
          ...headers,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(method === "GET" ? {} : { patience_ms: CHANGE_PATIENCE_MS }),
      });
      return readAnswer(answer, target, token_name);
    } catch (error) {
      if (!(error instanceof AppError) || !error.message.startsWith("No answer from")) throw error;
      throw new AppError(
        "unavailable",
        `${error.message}; ${start}`,
      );
    }
  };
  const get = async <T>(path: string, query: Query = {}) =>
    await ask("GET", locate(url, path, query)) as T;
  return {
    url,
    token_name,
    get,
    post: async <T>(path: string, body?: unknown) =>
      await ask("POST", locate(url, path, {}), body) as T,
    delete: async <T>(path: string) => await ask("DELETE", locate(url, path, {})) as T,
    follow(query, last_id, signal) {
      const target = locate(url, "stream", query);
      const from = last_id === undefined ? {} : { "last-event-id": last_id };
      return streamFrom(target, { ...headers, ...from }, signal, (answer) => {
        return refusalOf(answer, target, token_name);
      });
    },
    async list<Row>(path: string, query: Query, limit: number) {
      const data: Row[] = [];
      let cursor = query["cursor"];
      for (;;) {
        const size = String(Math.min(MAX_PAGE, limit - data.length));
        const page = await get<Page<Row>>(path, { ...query, cursor, limit: size });
        data.push(...page.data);
        cursor = page.next_cursor ?? undefined;
        if (cursor === undefined || data.length >= limit) {
          return { data, next_cursor: page.next_cursor };
        }
      }
    },
  };
}

async function accessOf(io: Io, values: ApiValues) {
  const given = values.token === undefined
    ? undefined
    : await readSecret(io, "--token", values.token);
  if (given !== undefined && !/^[\x21-\x7e]+$/.test(given)) {
    throw new UsageError(`--token: ${values.token} does not hold a token`);
  }
  const url = values.url === undefined ? undefined : readUrl(values.url);
  const config = given === undefined || url === undefined
    ? readAccess(values.config, io.env)
    : undefined;
  return {
    url: url ?? urlOf(config?.listen ?? { host: "", port: 0 }, values.config),
    token: given ?? config?.token.reveal() ?? "",
    token_name: given === undefined ? config?.token_name ?? "" : `of --token ${values.token}`,
  };
}

function readUrl(text: string): string {
  const url = /^https?:\/\//.test(text) ? URL.parse(text) : null;
  if (url === null || url.search !== "" || url.hash !== "" || url.username !== "") {
    throw new UsageError("--url must be the address of the daemon, such as http://127.0.0.1:8080");
  }
  return url.href.replace(/\/$/, "");
}

function urlOf({ host, port }: { host: string; port: number }, config: string): string {
  if (port === 0) {
    throw new UsageError(
      `server.listen of ${config} takes any free port: say with --url where the daemon is (its log ` +
        "says so when it starts)",
    );
  }
  return `http://${hostPort(ownAddressOf(host), port)}`;
}

function locate(url: string, path: string, query: Query): URL {
  const target = new URL(`${url}/api/${path}`);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) target.searchParams.set(name, value);
  }
  return target;
}

function readAnswer({ status, body }: Answer, target: URL, token_name: string): unknown {
  const read = parse(body);
  if (status >= 200 && status < 300 && read !== undefined) return read;
  throw refusalOf({ status, body }, target, token_name);
}

function refusalOf({ status, body }: Answer, target: URL, token_name: string): AppError {
  const read = parse(body);
  const problem = isObject(read) ? read : {};
  if (status === 401) {
    return new AppError(
      "unauthorized",
      `The daemon at ${target.origin} refuses the token ${token_name}; was it started with another ` +
        "configuration? Name the right one with --config or --token",
    );
  }
  if (typeof problem["detail"] !== "string") {
    return new AppError(
      "conflict",
      `${target.origin} answered ${status} without saying why; is it a bookme-webhooks daemon?`,
    );
  }
  const errors = (Array.isArray(problem["errors"]) ? problem["errors"] : [])
    .filter(isObject)
    .map(({ pointer, message }) => ({ pointer: String(pointer), message: String(message) }));
  const mistakes = errors.map(({ pointer, message }) =>
    `\n  ${pointer.replace(/^\//, "")}: ${message}`
  );
  return new AppError(codeOf(status), problem["detail"] + mistakes.join(""), { errors });
}

// Not found, in conflict or invalid is what was asked for; anything else would refuse the next call too.
function codeOf(status: number): ErrorCode {
  const codes = Object.keys(HTTP_STATUS) as ErrorCode[];
  return codes.find((code) => HTTP_STATUS[code] === status) ?? "unavailable";
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** Part of a path that somebody typed. */
export function pathPart(text: string): string {
  return encodeURIComponent(text);
}
