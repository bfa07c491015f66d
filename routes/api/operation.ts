import type { IncomingMessage } from "node:http";
import { Buffer } from "node:buffer";
import type { Context } from "hono";
import * as v from "valibot";
import { AppError, type ErrorCode, jsonPointer, type Mistake } from "../../lib/core/errors.ts";
import { isObject, kindOf } from "../../lib/core/event_types.ts";
import type { Actor } from "../../lib/store/changes.ts";
import type { Env, RouteContext } from "../context.ts";

type Schema = v.GenericSchema;

/** What a handler is given: everything validated. */
export interface Asked<Query, Body> {
  /** What stands for `{id}` in the path. */
  readonly id: string;
  readonly query: Query;
  readonly body: Body;
  readonly actor: Actor;
  /** Whether the one who asked has hung up. */
  readonly isGone: () => boolean;
}

/** A response that has another status than the operation's own. */
export interface Variant<R extends Schema> {
  readonly status: 200;
  readonly response: R;
  readonly example: v.InferOutput<R>;
}

/** One operation of the API: what it takes and answers, and what does it. */
export interface Operation<Q extends Schema, B extends Schema, R extends Schema> {
  /** Name of the operation, as generated clients call it. */
  readonly id: string;
  readonly method: "get" | "post" | "patch" | "delete";
  /** `/api/endpoints/{id}` */
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** A strict object of texts. */
  readonly query?: Q;
  readonly body?: B;
  /** Whether the body may be left out. */
  readonly body_optional?: boolean;
  readonly status: 200 | 201;
  readonly response: R;
  /** A second way to answer, chosen by the handler. */
  readonly variant?: Variant<Schema>;
  /** What it refuses, beside what every operation does. */
  readonly refuses: readonly ErrorCode[];
  readonly example: {
    readonly id?: string;
    readonly body?: v.InferInput<B>;
    readonly response: v.InferOutput<R>;
  };
  handle(
    ctx: RouteContext,
    asked: Asked<v.InferOutput<Q>, v.InferOutput<B>>,
  ): Promise<v.InferOutput<R> | Answered>;
}

/** An answer by the operation's variant. */
export class Answered {
  constructor(readonly value: unknown) {}
}

/** An operation whatever its types. */
export type AnyOperation = Operation<Schema, Schema, Schema>;

/** Takes an operation's types from its schemas, and forgets them. */
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

/** Does what was asked for, and answers. */
export async function perform(
  ctx: RouteContext,
  operation: AnyOperation,
  c: Context<Env>,
): Promise<Response> {
  const query = validQuery(operation.query ?? NOTHING, c.req.queries());
  const body = operation.method === "get" ? {} : validBody(
    operation.body ?? NOTHING,
    await readJson(c, operation.body === undefined || operation.body_optional === true),
  );
  const answer = await operation.handle(ctx, {
    id: c.req.param("id") ?? "",
    query,
    body,
    actor: { name: c.get("token").name, address: c.get("address") },
    isGone: () => c.env.outgoing.destroyed,
  });
  return answer instanceof Answered
    ? c.json(answer.value as never, operation.variant?.status ?? 200)
    : c.json(answer as never, operation.status);
}

// Each parameter once; what is unknown is refused, because a misspelt filter would show everything.
function validQuery(schema: Schema, queries: Record<string, string[]>): unknown {
  const detail = "The query is not valid";
  const errors = Object.entries(queries).filter(([, values]) => values.length > 1)
    .map(([name]) => ({ pointer: jsonPointer([name]), message: "Is given more than once" }));
  if (errors.length > 0) throw new AppError("invalid", detail, { errors });
  const flat = Object.entries(queries).map(([name, [value]]) => [name, value]);
  return valid(schema, Object.fromEntries(flat), detail, "parameter");
}

function validBody(schema: Schema, body: unknown): unknown {
  // To valibot an array is an object too.
  if (!isObject(body)) {
    const errors = [{ pointer: "", message: `Must be an object, not ${kindOf(body)}` }];
    throw new AppError("invalid", "The request is not valid", { errors });
  }
  return valid(schema, body, "The request is not valid", "member");
}

const MAX_MISTAKES = 100;

function valid(schema: Schema, input: object, detail: string, what: string): unknown {
  const result = v.safeParse(schema, input);
  if (result.success) return result.output;
  const errors = new Map<string, Mistake>();
  // Of what is unknown, valibot names the first only.
  const { entries = input } = schema as { readonly entries?: object };
  const unknown = Object.keys(input).filter((key) => !Object.hasOwn(entries, key))
    .map((key) => ({ pointer: jsonPointer([key]), message: noSuch(what, key) }));
  const mistakes = [...result.issues.map((issue) => mistakeOf(issue, what)), ...unknown];
  for (const mistake of mistakes.slice(0, MAX_MISTAKES)) {
    // Of several at one place, the first is the plainest.
    if (!errors.has(mistake.pointer)) errors.set(mistake.pointer, mistake);
  }
  throw new AppError("invalid", detail, { errors: [...errors.values()] });
}

function noSuch(what: string, key: unknown): string {
  return `There is no ${what} ${JSON.stringify(key)}`;
}

function mistakeOf(issue: v.BaseIssue<unknown>, what: string): Mistake {
  const path = issue.path ?? [];
  const pointer = jsonPointer(path.map(({ key }) => key));
  if (issue.type !== "strict_object" || issue.path === undefined) {
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
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    // The engine's own message repeats some of the text, which may be a secret.
    const at = error instanceof SyntaxError ? /position (\d+)/.exec(error.message)?.[1] : undefined;
    const where = at === undefined ? "" : ` (at character ${at})`;
    throw new AppError("malformed", `The body is not JSON in UTF-8${where}`);
  }
}

async function readBody(incoming: IncomingMessage): Promise<Uint8Array> {
  const tooLarge = () =>
    new AppError("too_large", `The body is longer than ${MAX_BODY_BYTES} bytes; send less`);
  if (Number(incoming.headers["content-length"] ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    // Not destroyed where it is left: then the connection would stay open, unread, for minutes.
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
