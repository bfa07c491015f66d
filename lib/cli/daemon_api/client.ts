import type { Endpoint, Page } from "../../admin/shown.ts";
import { type Access, readAccess, readAddress } from "../../config/access.ts";
import { hostPort, ownAddressOf } from "../../core/address.ts";
import { DELIVERY_REASONS } from "../../core/cancellation.ts";
import { AppError, type ErrorCode, HTTP_STATUS } from "../../core/errors.ts";
import { isObject } from "../../core/json.ts";
import { CONFIG, readSecret, SECRET_VALUE, UsageError, type Values } from "../command.ts";
import type { Message } from "../../core/server_sent.ts";
import { type Answer, type Method, type OwnCertificate, readJson, send } from "./request.ts";
import { bytesFrom, streamFrom } from "./stream.ts";
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
  /** Its certificate by the configuration; null if that names none. */
  readonly cert: OwnCertificate | null;
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
  /** An answer of any length, until its end or `signal` aborts: it is incomplete then. */
  download(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array>;
  /** Up to `limit` entries of a list from the query's cursor on, from as many pages as that takes. */
  list<Row>(path: string, query: Query, limit: number): Promise<Page<Row>>;
}

/** How long a change may take, in milliseconds: a test event waits for its endpoint. */
const CHANGE_PATIENCE_MS = 360_000;
/** A daemon counts its rows before the first byte of a backup, in milliseconds. */
const DOWNLOAD_SILENCE_MS = 600_000;
const MAX_PAGE = 200;

/**
 * The API of the daemon that runs by this configuration, or that `--url` names. Nothing is sent yet.
 * Its calls reject with an `AppError` that says what to do. `may_be_newer`: the certificate of the
 * configuration may have changed since the daemon read it.
 */
export async function openApi(
  io: Io,
  values: ApiValues,
  { may_be_newer }: Pick<OwnCertificate, "may_be_newer"> = { may_be_newer: false },
): Promise<Api> {
  const { url, pem, token, token_name } = await accessOf(io, values);
  const cert = pem === null ? null : { pem, may_be_newer };
  const start = values.url === undefined
    ? `is the daemon running? Start it with \`bookme-webhooks --config ${values.config}\`, which ` +
      "names this address (server.listen), or name another one with --url"
    : "is the daemon running? Check --url, and that it runs there";
  const headers = { authorization: `Bearer ${token}`, accept: "application/json" };
  const hinted = (error: unknown) =>
    error instanceof AppError && error.message.startsWith("No answer from")
      ? new AppError("unavailable", `${error.message}; ${start}`)
      : error;
  const ask = async (method: Method, target: URL, body?: unknown): Promise<unknown> => {
    try {
      const answer = await send(target, {
        method,
        cert,
        headers: {
          ...headers,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(method === "GET" ? {} : { patience_ms: CHANGE_PATIENCE_MS }),
      });
      return readAnswer(answer, target, token_name);
    } catch (error) {
      throw hinted(error);
    }
  };
  const get = async <T>(path: string, query: Query = {}) =>
    await ask("GET", locate(url, path, query)) as T;
  return {
    url,
    cert,
    token_name,
    get,
    post: async <T>(path: string, body?: unknown) =>
      await ask("POST", locate(url, path, {}), body) as T,
    delete: async <T>(path: string) => await ask("DELETE", locate(url, path, {})) as T,
    follow(query, last_id, signal) {
      const target = locate(url, "stream", query);
      const from = last_id === undefined ? {} : { "last-event-id": last_id };
      const refused = (answer: Answer) => refusalOf(answer, target, token_name);
      return streamFrom(target, { headers: { ...headers, ...from }, signal, cert, refused });
    },
    async *download(path, signal) {
      const target = locate(url, path, {});
      const refused = (answer: Answer) => refusalOf(answer, target, token_name);
      try {
        yield* bytesFrom(target, DOWNLOAD_SILENCE_MS, { headers, signal, cert, refused });
      } catch (error) {
        throw hinted(error);
      }
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
    url: url ?? (config === undefined ? "" : urlOf(config, values.config)),
    pem: config?.cert ?? null,
    token: given ?? config?.token.reveal() ?? "",
    token_name: given === undefined ? config?.token_name ?? "" : `of --token ${values.token}`,
  };
}

/** Where the daemon is, for a request without a token. Throws a `ConfigError` or a `UsageError`. */
export function placeOfDaemon(
  io: Io,
  values: Pick<ApiValues, "config" | "url">,
): { readonly url: string; readonly cert: OwnCertificate | null } {
  if (values.url !== undefined) return { url: readUrl(values.url), cert: null };
  const address = readAddress(values.config, io.env);
  const { cert: pem } = address;
  return {
    url: urlOf(address, values.config),
    cert: pem === null ? null : { pem, may_be_newer: true },
  };
}

function readUrl(text: string): string {
  const url = /^https?:\/\//.test(text) ? URL.parse(text) : null;
  if (url === null || url.search !== "" || url.hash !== "" || url.username !== "") {
    throw new UsageError("--url must be the address of the daemon, such as http://127.0.0.1:8080");
  }
  return url.href.replace(/\/$/, "");
}

function urlOf(
  { listen: { host, port }, cert }: Pick<Access, "listen" | "cert">,
  config: string,
): string {
  if (port === 0) {
    throw new UsageError(
      `server.listen of ${config} takes any free port: say with --url where the daemon is (its log ` +
        "says so when it starts)",
    );
  }
  return `${cert === null ? "http" : "https"}://${hostPort(ownAddressOf(host), port)}`;
}

function locate(url: string, path: string, query: Query): URL {
  const target = new URL(`${url}/api/${path}`);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) target.searchParams.set(name, value);
  }
  return target;
}

function readAnswer({ status, body }: Answer, target: URL, token_name: string): unknown {
  const read = readJson(body);
  if (status >= 200 && status < 300 && read !== undefined) return read;
  throw refusalOf({ status, body }, target, token_name);
}

function refusalOf({ status, body }: Answer, target: URL, token_name: string): AppError {
  const read = readJson(body);
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

/** Part of a path that somebody typed. */
export function pathPart(text: string): string {
  return encodeURIComponent(text);
}
