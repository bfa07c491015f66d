import { type ConversionConfig, toJsonSchema } from "@valibot/to-json-schema";
import * as v from "valibot";
import { described } from "../../lib/admin/fields.ts";
import * as inputs from "../../lib/admin/inputs.ts";
import * as shown from "../../lib/admin/shown.ts";
import { type ErrorCode, HTTP_STATUS } from "../../lib/core/errors.ts";
import { MAX_IDENTIFIER } from "../../lib/core/identifier.ts";
import { titleOf } from "../../lib/core/problem.ts";
import { VERSION } from "../../lib/core/version.ts";
import type { AnyOperation } from "./operation.ts";
import * as open from "./public.ts";

/** JSON of an OpenAPI document or of a JSON Schema. */
export type Json = { [member: string]: unknown };

const Problem = v.object({
  type: v.string(),
  title: v.string(),
  status: v.pipe(v.number(), v.integer(), v.minValue(0)),
  code: described(v.string(), "Stable: decide by this one"),
  detail: v.string(),
  errors: v.optional(
    described(
      v.array(v.object({ pointer: v.string(), message: v.string() })),
      "Each mistake, with a JSON pointer (or the name of a parameter) to its place",
    ),
  ),
});

/** The schemas that have a name in the OpenAPI document. */
const COMPONENTS = {
  Endpoint: shown.Endpoint,
  EndpointInput: inputs.EndpointInput,
  EndpointPatch: inputs.EndpointPatch,
  EndpointMade: shown.EndpointMade,
  Delivery: shown.Delivery,
  DeliveryDetail: shown.DeliveryDetail,
  Attempt: shown.Attempt,
  TestResult: shown.TestResult,
  EventSummary: shown.EventSummary,
  EventDetail: shown.EventDetail,
  EndpointVerdict: shown.EndpointVerdict,
  EventType: shown.EventType,
  ReplayInput: inputs.ReplayInput,
  Replay: shown.Replay,
  ReplayCount: shown.ReplayCount,
  Alert: shown.Alert,
  ErasureInput: inputs.ErasureInput,
  Erasure: shown.Erasure,
  Stats: shown.Stats,
  PortalLinkInput: inputs.PortalLinkInput,
  PortalLink: shown.PortalLink,
  PortalLinkMade: shown.PortalLinkMade,
  Daemon: shown.Daemon,
  Reloaded: shown.Reloaded,
  AuditEntry: shown.AuditEntry,
  ...open.POSTED,
  Accepted: shown.Accepted,
  Problem,
} as const;

/** Codes that any operation can refuse with. */
const ALWAYS: readonly ErrorCode[] = [
  "unauthorized",
  "forbidden",
  "misdirected",
  "invalid",
  "too_many_requests",
  "unavailable",
];
const WITH_BODY: readonly ErrorCode[] = ["malformed", "too_large", "unsupported_media_type"];

const REFUSALS: Readonly<Record<ErrorCode, string>> = {
  malformed: "The body is not JSON",
  unauthorized: "No token, or a wrong one",
  forbidden: "A token that may only read",
  loop: "A delivery was posted to `/ingest`",
  not_found: "There is no such thing, or no longer",
  method_not_allowed: "There is something here, by another method; Allow names it",
  conflict: "It cannot be done as things are; `detail` says why and what helps",
  payload_gone: "The payload is older than retention.payloads: nothing can be sent",
  erased: "The payload was erased: nothing can be sent",
  too_large: "The body is longer than 1 MiB",
  unsupported_media_type: "The body is not application/json",
  misdirected: "The Host is not this program's",
  invalid: "The request has mistakes; `errors` names each",
  too_many_requests:
    "Too many wrong tokens from this address, a business does too much at once, or too many streams",
  unavailable: "The database cannot be used now; the detail says why",
};

/** A bug, which no operation plans. */
const INTERNAL = "A bug; the daemon's log has the cause";

/**
 * The OpenAPI 3.1 document of these operations and of those outside `/api`, made of the schemas that
 * validate them.
 */
export function openApiDocument(operations: readonly AnyOperation[]): Json {
  const paths: Record<string, Json> = {};
  for (const operation of open.PUBLIC_OPERATIONS) {
    (paths[operation.path] ??= {})[operation.method] = describePublic(operation);
  }
  for (const operation of operations) {
    (paths[operation.path] ??= {})[operation.method] = describe(operation);
  }
  const tags = [...open.PUBLIC_OPERATIONS, ...operations].map(({ tag }) => tag);
  return {
    openapi: "3.1.0",
    info: {
      title: "bookme-webhooks",
      version: VERSION,
      summary: "Delivers BookMe's events to endpoints",
      description: "Times are ISO 8601 in UTC, durations are milliseconds in members named …_ms. " +
        "Lists are newest first. Errors are application/problem+json (RFC 9457); a request that is not " +
        "HTTP/1.1, too long or too slow gets a 400, 408 or 431 of that form anywhere.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: [...new Set(tags)].map((name) => ({ name })),
    security: [{ token: [] }],
    paths,
    components: {
      schemas: components(),
      responses: {
        ...Object.fromEntries(
          Object.entries(REFUSALS).map(([code, reason]) => [
            code,
            refusal(HTTP_STATUS[code as ErrorCode], [[code, reason]]),
          ]),
        ),
        internal: refusal(500, [["internal", INTERNAL]]),
      },
      securitySchemes: {
        token: {
          type: "http",
          scheme: "bearer",
          description:
            "A token of admin.tokens: one with the role viewer may only read. Or the token of a portal " +
            "link: it reaches the operations with `x-portal`, within its business; all else is 404",
        },
        signature: {
          type: "apiKey",
          in: "header",
          name: "X-BookMe-Signature",
          description: "sha256= and the hex HMAC-SHA256 of the exact body under ingest.secret",
        },
      },
    },
  };
}

function describe(operation: AnyOperation): Json {
  const { id, tag, summary, description, body, status, response, variant, example } = operation;
  const codes = [
    ...ALWAYS,
    ...operation.refuses,
    ...(operation.method === "get" ? [] : WITH_BODY),
  ];
  const parameters = [
    ...pathParameters(operation),
    ...queryParameters(operation),
    ...headerParameters(operation),
  ];
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    ...(operation.portal === true ? { "x-portal": true } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : {
      requestBody: {
        required: operation.body_optional !== true,
        content: json(schemaOf(body, "input"), example.body),
      },
    }),
    responses: {
      [status]: {
        description: summary,
        content: json(schemaOf(response), example.response, operation.content_type),
      },
      ...(variant === undefined ? {} : {
        [variant.status]: {
          description: "What would be done",
          content: json(schemaOf(variant.response), variant.example),
        },
      }),
      ...refusals(codes),
    },
  };
}

function describePublic(operation: open.PublicOperation): Json {
  const { id, tag, summary, description, security, headers = {}, bodies, answers } = operation;
  const schema = { type: "string", minLength: 1, maxLength: MAX_IDENTIFIER };
  const parameters = Object.entries(headers)
    .map(([name, words]) => ({ name, in: "header", required: false, ...words, schema }));
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    security: security.map((scheme) => scheme === null ? {} : { [scheme]: [] }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(bodies === undefined
      ? {}
      : { requestBody: { required: true, content: contentOf(bodies, "input") } }),
    responses: {
      ...Object.fromEntries(
        answers.map((answer) => [
          answer.status,
          { description: answer.description, content: contentOf([answer], "output") },
        ]),
      ),
      ...refusals(Object.keys(operation.refuses) as ErrorCode[], operation.refuses),
    },
  };
}

function contentOf(all: readonly open.Content[], mode: "input" | "output"): Json {
  return Object.fromEntries(all.map(({ type, schema, examples }) => [type, {
    schema: schemaOf(schema, mode),
    examples: Object.fromEntries(
      Object.entries(examples).map(([name, value]) => [name, { value }]),
    ),
  }]));
}

/** The responses by which an operation refuses; `words` replace the usual ones. */
function refusals(
  codes: readonly ErrorCode[],
  words: Readonly<Partial<Record<ErrorCode, string>>> = {},
): Json {
  const by_status = Map.groupBy(codes, (code) => HTTP_STATUS[code]);
  const responses = [...by_status].map(([status, [code = "invalid", ...others]]) => {
    if (others.length === 0 && words[code] === undefined) return [status, responseOf(code)];
    const reasons = [code, ...others].map((one) => [one, words[one] ?? REFUSALS[one]] as const);
    return [status, refusal(status, reasons)];
  });
  return { ...Object.fromEntries(responses), 500: responseOf("internal") };
}

function responseOf(code: ErrorCode | "internal"): Json {
  return { $ref: `#/components/responses/${code}` };
}

function json(schema: Json, example: unknown, type = "application/json"): Json {
  return { [type]: { schema, ...(example === undefined ? {} : { example }) } };
}

function pathParameters({ path, example }: AnyOperation): Json[] {
  if (!path.includes("{id}")) return [];
  const schema = { type: "string", maxLength: 255 };
  return [{ name: "id", in: "path", required: true, schema, example: example.id }];
}

function queryParameters({ query }: AnyOperation): Json[] {
  if (query === undefined) return [];
  const { properties, required } = schemaOf(query) as { properties?: Json; required?: string[] };
  return Object.entries(properties ?? {}).map(([name, schema]) => ({
    name,
    in: "query",
    required: required?.includes(name) === true && !("default" in (schema as Json)),
    schema: withDefault(schema as Json),
  }));
}

function headerParameters({ headers = {} }: AnyOperation): Json[] {
  return Object.entries(headers).map(([name, description]) => ({
    name,
    in: "header",
    required: false,
    description,
    schema: { type: "string" },
  }));
}

// The default of a parameter is text before it is parsed.
function withDefault(schema: Json): Json {
  const { type, default: text } = schema;
  return typeof text === "string" && type !== "string"
    ? { ...schema, default: JSON.parse(text) }
    : schema;
}

/** The response of a status with one of these codes, each with its reason. */
function refusal(
  status: number,
  reasons: readonly (readonly [code: string, reason: string])[],
): Json {
  const codes = reasons.map(([code]) => code);
  const [[code, detail] = ["", ""], ...others] = reasons;
  const example = { type: "about:blank", title: titleOf(status), status, code, detail };
  return {
    description: others.length === 0
      ? detail
      : reasons.map(([code, reason]) => `\`${code}\`: ${reason}`).join(". "),
    ...(status === 429 || status === 503
      ? { headers: { "Retry-After": { schema: { type: "integer" }, description: "Seconds" } } }
      : {}),
    content: {
      "application/problem+json": {
        schema: {
          allOf: [schemaOf(Problem), { properties: { code: { enum: codes } }, required: ["code"] }],
        },
        example,
      },
    },
  };
}

function components(): Json {
  return Object.fromEntries(
    Object.entries(COMPONENTS).map(([name, schema]) => [
      name,
      inner(schema, name.endsWith("Input") || name.endsWith("Patch") ? "input" : "output", name),
    ]),
  );
}

/** The JSON Schema of a schema, or the reference to its component. */
function schemaOf(schema: v.GenericSchema, mode: "input" | "output" = "output"): Json {
  const name = Object.entries(COMPONENTS).find(([, component]) => component === schema)?.[0];
  return name === undefined ? inner(schema, mode) : { $ref: `#/components/schemas/${name}` };
}

function inner(schema: v.GenericSchema, mode: "input" | "output", self?: string): Json {
  const config: ConversionConfig = {
    target: "draft-2020-12",
    typeMode: mode,
    // Transformations and checks in code have no JSON Schema; descriptions say what they ask for.
    errorMode: "ignore",
    definitions: Object.fromEntries(
      Object.entries(COMPONENTS).filter(([name]) => name !== self),
    ) as Record<string, v.GenericSchema>,
    overrideSchema: ({ valibotSchema }) =>
      inputs.WRITTEN_OUT.get(valibotSchema) ?? open.WRITTEN_OUT.get(valibotSchema),
    overrideRef: ({ referenceId }) => `#/components/schemas/${referenceId}`,
  };
  const { $schema: _, $defs: __, ...json } = toJsonSchema(schema, config);
  return json as Json;
}
