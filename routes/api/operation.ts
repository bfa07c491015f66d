import type { IncomingMessage, ServerResponse } from "node:http";
import { Buffer } from "node:buffer";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import type { Context } from "hono";
import * as v from "valibot";
import type { Asker } from "../../lib/admin/context.ts";
import {
  AppError,
  type ErrorCode,
  invalidAt,
  jsonPointer,
  type Mistake,
  refuseMistakes,
} from "../../lib/core/errors.ts";
import { isObject, kindOf } from "../../lib/core/json.ts";
import { parseJson } from "../../lib/core/json_text.ts";
import { readUtf8 } from "../../lib/core/utf8.ts";
import type { Env, RouteContext } from "../context.ts";

type Schema = v.GenericSchema;

/** A validated request. */
export interface Asked<Query, Body> {
  /** The `{id}` of the path. */
  readonly id: string;
  readonly query: Query;
  readonly body: Body;
  readonly by: Asker;
  /** Whether its token still allows the same: an answer that goes on for long asks again. */
  readonly isGood: () => Promise<boolean>;
  /** Whether the client has hung up. */
  readonly isGone: () => boolean;
  /** A header of the request. */
  readonly header: (name: string) => string | undefined;
  /** For a handler that writes the answer itself. */
  readonly outgoing: ServerResponse;
}

/** Returned by a handler that writes the answer itself. */
export class Written {}

/** A second response of an operation, with another status. */
export interface Variant<R extends Schema> {
  readonly status: 200;
  readonly response: R;
  readonly example: v.InferOutput<R>;
}

/** One operation of the API: its request, its response, and its handler. */
export interface Operation<Q extends Schema, B extends Schema, R extends Schema> {
  /** Name of the operation, as generated clients call it. */
  readonly id: string;
  readonly method: "get" | "post" | "patch" | "delete";
  /** `/api/endpoints/{id}` */
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /**
   * Whether portal tokens reach it. To them, all other paths are as routes that never were: it is the
   * same for all operations at a path.
   */
  readonly portal?: true;
  /** A strict object of texts. */
  readonly query?: Q;
  readonly body?: B;
  /** Whether the body may be left out. */
  readonly body_optional?: boolean;
  /**
   * Mistakes in the body beyond its schema, which the handler refuses too. Asked about the sound members
   * of a body with others that are not, so that one answer names all mistakes.
   */
  rules?(
    ctx: RouteContext,
    by: Asker,
    body: Partial<v.InferOutput<B>>,
  ): readonly Mistake[] | Promise<readonly Mistake[]>;
  readonly status: 200 | 201;
  readonly response: R;
  /** Of a response that the handler writes itself (default: application/json). */
  readonly content_type?: string;
  /** Names of request headers that it reads, and what they say. */
  readonly headers?: Readonly<Record<string, string>>;
  /** A second way to answer, chosen by the handler. */
  readonly variant?: Variant<Schema>;
  /** Codes that it refuses with, besides those of every operation. */
  readonly refuses: readonly ErrorCode[];
  readonly example: {
    readonly id?: string;
    readonly body?: v.InferInput<B>;
    readonly response: v.InferOutput<R>;
  };
  handle(
    ctx: RouteContext,
    asked: Asked<v.InferOutput<Q>, v.InferOutput<B>>,
  ): Answer<R> | Promise<Answer<R>>;
}

type Answer<R extends Schema> = v.InferOutput<R> | Answered | Written;

/** An answer by the operation's variant. */
export class Answered {
  constructor(readonly value: unknown) {}
}

/** An operation of any types. */
export type AnyOperation = Operation<Schema, Schema, Schema>;

/** Checks an operation's types by its schemas, and forgets them. */
export function operation<
  Q extends Schema = typeof NOTHING,
  B extends Schema = typeof NOTHING,
  R extends Schema = Schema,
>(definition: Operation<Q, B, R>): AnyOperation {
  return definition as unknown as AnyOperation;
}

/** No parameters, or no body. */
export const NOTHING = v.strictObject({});

const MAX_BODY_BYTES = 1024 * 1024;

/** Validates a request, has the operation handle it, and answers. */
export async function perform(
  ctx: RouteContext,
  operation: AnyOperation,
  c: Context<Env>,
): Promise<Response> {
  const query = validQuery(operation.query ?? NOTHING, c.req.queries());
  const { by, isGood } = c.get("bearer");
  const body = operation.method === "get" ? {} : await validBody(
    ctx,
    by,
    operation,
    await readJson(c, operation.body === undefined || operation.body_optional === true),
  );
  const { content_type } = operation;
  // Such an answer goes on and on: its head is known without it.
  if (content_type !== undefined && c.req.method === "HEAD") {
    return c.body(null, operation.status, { "content-type": content_type });
  }
  const answer = await operation.handle(ctx, {
    id: c.req.param("id") ?? "",
    query,
    body,
    by,
    isGood,
    isGone: () => c.env.outgoing.destroyed,
    header: (name) => c.req.header(name),
    outgoing: c.env.outgoing as ServerResponse,
  });
  if (answer instanceof Written) return RESPONSE_ALREADY_SENT;
  return answer instanceof Answered
    ? c.json(answer.value as never, operation.variant?.status ?? 200)
    : c.json(answer as never, operation.status);
}

// Each parameter once; unknown ones are refused, because a misspelt filter would show everything.
function validQuery(schema: Schema, queries: Record<string, string[]>): unknown {
  const detail = "The query is not valid";
  refuseMistakes(
    Object.entries(queries).filter(([, values]) => values.length > 1)
      .map(([name]) => ({ pointer: jsonPointer([name]), message: "Is given more than once" })),
    detail,
  );
  const flat = Object.entries(queries).map(([name, [value]]) => [name, value]);
  const { output, mistakes } = validate(schema, Object.fromEntries(flat), "parameter");
  refuseMistakes(mistakes, detail);
  return output;
}

async function validBody(
  ctx: RouteContext,
  by: Asker,
  { body: schema = NOTHING, rules }: AnyOperation,
  body: unknown,
): Promise<unknown> {
  // To valibot an array is an object too.
  if (!isObject(body)) throw invalidAt("", `Must be an object, not ${kindOf(body)}`);
  const { output, mistakes } = validate(schema, body, "member");
  if (mistakes.length > 0) {
    refuseMistakes([...mistakes, ...await rules?.(ctx, by, output) ?? []]);
  }
  return output;
}

const MAX_MISTAKES = 100;

/** An object, or its sound members, as the schema reads it, and the mistakes in the others. */
function validate(
  schema: Schema,
  input: Readonly<Record<string, unknown>>,
  what: string,
): { readonly output: object; readonly mistakes: readonly Mistake[] } {
  const result = v.safeParse(schema, input);
  if (result.success) return { output: result.output as object, mistakes: [] };
  const { entries = {} } = schema as { readonly entries?: Readonly<Record<string, Schema>> };
  // Of several unknown members, valibot names only the first.
  const unknown = Object.keys(input).filter((key) => !Object.hasOwn(entries, key))
    .map((key) => ({ pointer: jsonPointer([key]), message: noSuch(what, key) }));
  const mistakes = new Map<string, Mistake>();
  const all = [...result.issues.map((issue) => mistakeOf(issue, what)), ...unknown];
  for (const mistake of all.slice(0, MAX_MISTAKES)) {
    // Of several at one place, the first is the plainest.
    if (!mistakes.has(mistake.pointer)) mistakes.set(mistake.pointer, mistake);
  }
  const sound = Object.entries(entries).flatMap(([key, entry]) => {
    const member = v.safeParse(entry, input[key]);
    return member.success && member.output !== undefined ? [[key, member.output]] : [];
  });
  return { output: Object.fromEntries(sound), mistakes: [...mistakes.values()] };
}

function noSuch(what: string, key: unknown): string {
  return `There is no ${what} ${JSON.stringify(key)}`;
}

function mistakeOf(issue: v.BaseIssue<unknown>, what: string): Mistake {
  const path = issue.path ?? [];
  const pointer = jsonPointer(path.map(({ key }) => key));
  const is_about_member = issue.type === "strict_object" && issue.expected !== "Object";
  if (!is_about_member || issue.path === undefined) {
    return { pointer, message: issue.message };
  }
  const message = issue.expected === "never" ? noSuch(what, path.at(-1)?.key) : "Is missing";
  return { pointer, message };
}

async function readJson(c: Context<Env>, is_optional: boolean): Promise<unknown> {
  const bytes = await readBody(c.env.incoming);
  if (bytes.length === 0 && is_optional) return {};
  const type = c.req.header("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw new AppError(
      "unsupported_media_type",
      `Content-Type is ${
        type === undefined ? "missing" : JSON.stringify(type)
      }; send application/json`,
    );
  }
  return parseJson(readUtf8(bytes, { drop_bom: true }));
}

async function readBody(incoming: IncomingMessage): Promise<Uint8Array> {
  const tooLarge = () =>
    new AppError("too_large", `The body is longer than ${MAX_BODY_BYTES} bytes; send less`);
  if (Number(incoming.headers["content-length"] ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    // Not destroyed on leaving: the connection would stay open, unread, for minutes.
    for await (const chunk of incoming.iterator({ destroyOnReturn: false })) {
      length += chunk.length;
      if (length > MAX_BODY_BYTES) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError("malformed", "The body ended before its end");
  }
  return Buffer.concat(chunks);
}
