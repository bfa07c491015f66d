import assert from "node:assert/strict";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { ADMIN, type Answered, type Front } from "./daemon.ts";

// 32 bytes in base64.
Deno.env.set("TEST_ENCRYPTION_KEY", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=");

/** A value for `encryption_key` in a configuration: a key that the tests know. */
export const ENCRYPTION_KEY = "env:TEST_ENCRYPTION_KEY";

/** The admin API; checks every answer against the OpenAPI document of the daemon. */
export interface CheckedApi {
  readonly document: Document;
  /** Sends a request and checks status and body against the document. */
  call(method: string, path: string, body?: unknown, token?: string): Promise<Answered>;
  /** The same, and demands this status. */
  expect(status: number, method: string, path: string, body?: unknown): Promise<Answered>;
  /** Sends any request, and checks the answer against the document. */
  fetch(method: string, path: string, init?: RequestInit): Promise<Answered>;
  /** Ids of the operations that have answered with success. */
  readonly succeeded: ReadonlySet<string>;
}

export interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentedOperation>>>>;
  readonly [member: string]: unknown;
}

export interface DocumentedOperation {
  readonly operationId: string;
  readonly responses: Readonly<Record<string, unknown>>;
  readonly [member: string]: unknown;
}

/** A checked API of a running daemon. */
export async function checkedApi(front: Front): Promise<CheckedApi> {
  const document: Document = await (await fetch(`${front.url}/openapi.json`, {
    headers: { authorization: `Bearer ${ADMIN}` },
  })).json();
  const ajv = makeAjv(document);
  const succeeded = new Set<string>();
  const api: CheckedApi = {
    document,
    succeeded,
    async fetch(method, path, init = {}) {
      const response = await fetch(front.url + path, { ...init, method });
      const text = await response.text();
      const isText = response.headers.get("content-type")?.startsWith("text/plain") === true;
      const answered: Answered = {
        status: response.status,
        headers: response.headers,
        body: isText ? text : JSON.parse(text),
      };
      check(document, ajv, method, path, answered);
      const { operationId } = find(document, method, path)?.operation ?? {};
      if (response.ok && operationId !== undefined) succeeded.add(operationId);
      return answered;
    },
    call(method, path, body, token = ADMIN) {
      return api.fetch(method, `/api/${path}`, {
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : {
          body: typeof body === "string" ? body : JSON.stringify(body),
        }),
      });
    },
    async expect(status, method, path, body) {
      const answered = await api.call(method, path, body);
      const shown = JSON.stringify(answered.body);
      assert.equal(answered.status, status, `${method} ${path} ${JSON.stringify(body)}: ${shown}`);
      return answered;
    },
  };
  return api;
}

/** A validator for the schemas of a document that also refuses unknown members. */
export function makeAjv(document: Document): Ajv2020 {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  // Its types describe a CommonJS module.
  (formats as unknown as (ajv: Ajv2020) => void)(ajv);
  ajv.addSchema(closed(document) as Record<string, unknown>, "document");
  return ajv;
}

function closed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(closed);
  if (typeof value !== "object" || value === null) return value;
  const all = Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, closed(inner)]));
  const { type, properties, additionalProperties } = all;
  return type === "object" && properties !== undefined && additionalProperties === undefined
    ? { ...all, additionalProperties: false }
    : all;
}

function find(document: Document, method: string, path: string) {
  const [wanted = ""] = path.split("?");
  for (const [template, operations] of Object.entries(document.paths)) {
    const pattern = new RegExp(`^${template.replace("{id}", "[^/]+")}$`);
    const operation = operations[method.toLowerCase()];
    if (pattern.test(wanted) && operation !== undefined) return { template, operation };
  }
  return undefined;
}

function check(
  document: Document,
  ajv: Ajv2020,
  method: string,
  path: string,
  answered: Answered,
): void {
  const found = find(document, method, path);
  assert.ok(found, `${method} ${path} is not in the document`);
  const { template, operation } = found;
  const response = operation.responses[answered.status];
  const what = `${operation.operationId}: ${answered.status} ${JSON.stringify(answered.body)}`;
  assert.ok(response, `not documented: ${what}`);
  const reference = (response as { $ref?: string }).$ref;
  const media = answered.headers.get("content-type")?.split(";")[0] ?? "";
  const escape = (part: string) => part.replaceAll("~", "~0").replaceAll("/", "~1");
  const place = reference?.slice(1) ??
    `/paths/${escape(template)}/${method.toLowerCase()}/responses/${answered.status}`;
  const pointer = `document#${place}/content/${escape(media)}/schema`;
  const validate = ajv.getSchema(encodeURI(pointer)) ?? ajv.compile({ $ref: encodeURI(pointer) });
  assert.ok(validate(answered.body), `${ajv.errorsText(validate.errors)}: ${what}`);
  if (media === "application/problem+json") {
    assert.equal(answered.body.status, answered.status, what);
  }
}
