import { type ConversionConfig, toJsonSchema } from "@valibot/to-json-schema";
import * as v from "valibot";
import { described } from "../../lib/admin/fields.ts";
import * as inputs from "../../lib/admin/inputs.ts";
import * as shown from "../../lib/admin/shown.ts";
import { type ErrorCode, HTTP_STATUS } from "../../lib/core/errors.ts";
import { VERSION } from "../../lib/core/version.ts";
import type { AnyOperation } from "./operation.ts";

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
  ErasureInput: inputs.ErasureInput,
  Erasure: shown.Erasure,
  Stats: shown.Stats,
  PortalLinkInput: inputs.PortalLinkInput,
  PortalLink: shown.PortalLink,
  PortalLinkMade: shown.PortalLinkMade,
  Daemon: shown.Daemon,
  Reloaded: shown.Reloaded,
  AuditEntry: shown.AuditEntry,
  Problem,
} as const;

/** Codes that any operation can refuse with. */
const ALWAYS: readonly ErrorCode[] = [
  "unauthorized",
  "forbidden",
  "invalid",
  "too_many_requests",
  "unavailable",
];
const WITH_BODY: readonly ErrorCode[] = ["malformed", "too_large", "unsupported_media_type"];

const REFUSALS: Readonly<Record<ErrorCode, string>> = {
  malformed: "The body is not JSON",
  unauthorized: "No token, or a wrong one",
  forbidden: "A token that may only read, or a Host that is not this machine's",
  loop: "A delivery was posted to `/ingest`",
  not_found: "There is no such thing, or no longer",
  method_not_allowed: "There is something here, by another method; Allow names it",
  conflict: "It cannot be done as things are; `detail` says why and what helps",
  payload_gone: "The payload is older than retention.payloads: nothing can be sent",
  erased: "The payload was erased: nothing can be sent",
  too_large: "The body is longer than 1 MiB",
  unsupported_media_type: "The body is not application/json",
  invalid: "The request has mistakes; `errors` names each",
  too_many_requests: "Too many wrong tokens from this address, or a business does too much at once",
  unavailable: "The database cannot be used now; the detail says why",
};

/** The OpenAPI 3.1 document of these operations, made of the schemas that validate them. */
export function openApiDocument(operations: readonly AnyOperation[]): Json {
  const paths: Record<string, Json> = {};
  for (const operation of operations) {
    (paths[operation.path] ??= {})[operation.method] = describe(operation);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "bookme-webhooks",
      version: VERSION,
      summary: "Delivers BookMe's events to endpoints",
      description: "Times are ISO 8601 in UTC, durations are milliseconds in members named …_ms. " +
        "Lists are newest first. Errors are application/problem+json (RFC 9457).",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: [...new Set(operations.map(({ tag }) => tag))].map((name) => ({ name })),
    security: [{ token: [] }],
    paths,
    components: {
      schemas: components(),
      responses: Object.fromEntries(
        Object.entries(REFUSALS).map(([code, description]) => [code, refusal(code, description)]),
      ),
      securitySchemes: {
        token: {
          type: "http",
          scheme: "bearer",
          description:
            "A token of admin.tokens: one with the role viewer may only read. Or the token of a portal " +
            "link: it reaches the operations with `x-portal`, within its business; all else is 404",
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
  const parameters = [...pathParameters(operation), ...queryParameters(operation)];
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
      [status]: { description: summary, content: json(schemaOf(response), example.response) },
      ...(variant === undefined ? {} : {
        [variant.status]: {
          description: "What would be done",
          content: json(schemaOf(variant.response), variant.example),
        },
      }),
      ...Object.fromEntries(
        codes.toSorted((a, b) => HTTP_STATUS[a] - HTTP_STATUS[b])
          .map((code) => [HTTP_STATUS[code], { $ref: `#/components/responses/${code}` }]),
      ),
    },
  };
}

function json(schema: Json, example: unknown): Json {
  return { "application/json": { schema, ...(example === undefined ? {} : { example }) } };
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

// The default of a parameter is text before it is parsed.
function withDefault(schema: Json): Json {
  const { type, default: text } = schema;
  return typeof text === "string" && type !== "string"
    ? { ...schema, default: JSON.parse(text) }
    : schema;
}

function refusal(code: string, description: string): Json {
  const status = HTTP_STATUS[code as ErrorCode];
  const example = { type: "about:blank", title: "Error", status, code, detail: description };
  return {
    description,
    ...(status === 429 || status === 503
      ? { headers: { "Retry-After": { schema: { type: "integer" }, description: "Seconds" } } }
      : {}),
    content: { "application/problem+json": { schema: schemaOf(Problem), example } },
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
    overrideSchema: ({ valibotSchema }) => inputs.WRITTEN_OUT.get(valibotSchema),
    overrideRef: ({ referenceId }) => `#/components/schemas/${referenceId}`,
  };
  const { $schema: _, $defs: __, ...json } = toJsonSchema(schema, config);
  return json as Json;
}
