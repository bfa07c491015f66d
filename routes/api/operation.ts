import type { ServerResponse } from "node:http";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import type { Context } from "hono";
import * as v from "valibot";
import type { Asker } from "../../lib/admin/context.ts";
import { validBody, validQuery } from "../../lib/admin/validate.ts";
import { AppError, type ErrorCode, type Mistake } from "../../lib/core/errors.ts";
import { parseJson } from "../../lib/core/json_text.ts";
import { readUtf8 } from "../../lib/core/utf8.ts";
import type { Env, RouteContext } from "../context.ts";
import { readBody } from "../middleware/body.ts";

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
  /** Whether it needs a token that may write, though it is a GET. */
  readonly admin?: true;
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

/** Validates a request, has the operation handle it, and answers. */
export async function perform(
  ctx: RouteContext,
  operation: AnyOperation,
  c: Context<Env>,
): Promise<Response> {
  const query = validQuery(operation.query ?? NOTHING, c.req.queries());
  const { by, reads_only, isGood } = c.get("bearer");
  if (operation.admin === true && reads_only !== null) throw new AppError("forbidden", reads_only);
  const body = operation.method === "get" ? {} : await validBody(
    operation.body ?? NOTHING,
    (body) => operation.rules?.(ctx, by, body) ?? [],
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
