import { LIMITS } from "../../lib/core/endpoint_rules.ts";
import { AppError, type Mistake } from "../../lib/core/errors.ts";
import { REDACTED } from "../../lib/core/secret.ts";
import { DURATION, formatDuration, parseDuration } from "../../lib/core/units.ts";
import type * as shown from "../../lib/admin/shown.ts";
import type { Form, FormState } from "./forms.ts";

/** The settings of an endpoint as fields of a form, and back as a body of the API. */

/** Values of the fields, by their names. */
export type Values = FormState["values"];

/** The endpoint whose settings are edited; null for a new one. */
type Before = shown.Endpoint | null;

/** The members of the API's body that fields write, besides `version`. */
export type SettingsBody = Readonly<Record<string, unknown>>;

/** Fields that make up `tls`, by their members. */
const TLS_FIELDS = { ca: "tls_ca", cert: "tls_cert", key: "tls_key" } as const;

/** The settings of an endpoint as texts of fields. */
export function settingsValues(endpoint: shown.Endpoint, types: readonly string[]): Values {
  const known = new Set(types);
  return {
    version: [String(endpoint.version)],
    url: [endpoint.url],
    description: [endpoint.description ?? ""],
    events: endpoint.events.filter((name) => known.has(name)),
    patterns: [endpoint.events.filter((name) => !known.has(name)).join(", ")],
    businesses: [(endpoint.businesses ?? []).join(", ")],
    headers: [
      Object.entries(endpoint.headers).map(([name, value]) => `${name}: ${value}`).join("\n"),
    ],
    timeout: [formatDuration(endpoint.timeout_ms)],
    retry: [endpoint.retry_ms.map(formatDuration).join(", ")],
    concurrency: [endpoint.concurrency === null ? "" : String(endpoint.concurrency)],
    rate_limit: [endpoint.rate_limit ?? ""],
    ...(endpoint.traceparent ? { traceparent: ["on"] } : {}),
    ...(endpoint.unsigned ? { unsigned: ["on"] } : {}),
  };
}

/** The entries of a list, typed with commas or lines between them. */
export function entries(text: string): string[] {
  return text.split(/[,\n]/).map((entry) => entry.trim()).filter((entry) => entry !== "");
}

/** What a form says, as the body of the API's request, and what in it cannot be read. */
export interface Read {
  readonly body: SettingsBody;
  /** Pointers are names of fields. */
  readonly mistakes: readonly Mistake[];
}

/**
 * The settings of a form: all of a new endpoint, or those that differ from how it was. In the portal
 * businesses are not among them.
 */
export function readSettings(form: Form, before: Before, has_businesses: boolean): Read {
  const mistakes: Mistake[] = [];
  const refuse = (field: string, message: string) =>
    void mistakes.push({ pointer: `/${field}`, message });
  const events = selected(form);
  const businesses = entries(form.text("businesses"));
  const all: Record<string, unknown> = {
    url: form.text("url"),
    description: form.text("description") || null,
    events,
    ...(has_businesses ? { businesses: businesses.length === 0 ? null : businesses } : {}),
    headers: readHeaders(form, refuse),
    timeout_ms: inheritable(form, "timeout", before, readDuration(refuse)),
    retry_ms: inheritable(form, "retry", before, readDurations(refuse)),
    concurrency: readInteger(form.text("concurrency"), refuse),
    rate_limit: form.text("rate_limit").replaceAll(" ", "") || null,
    tls: readTls(form, before),
    traceparent: form.flag("traceparent"),
    unsigned: form.flag("unsigned"),
  };
  const body = Object.fromEntries(
    Object.entries(all).filter(([member, value]) =>
      value !== undefined && (before === null ? isSaid(value) : differs(member, value, before))
    ),
  );
  return { body, mistakes };
}

/** The event types that are checked, then the patterns that are typed. */
function selected(form: Form): string[] {
  return [...form.list("events").filter((name) => name !== ""), ...entries(form.text("patterns"))];
}

function isSaid(value: unknown): boolean {
  return value !== null && value !== false &&
    !(typeof value === "object" && !Array.isArray(value) && Object.keys(value).length === 0);
}

/** Whether a member is to be changed. */
function differs(member: string, value: unknown, before: shown.Endpoint): boolean {
  if (member === "tls") return true;
  if (member === "events" || member === "businesses") {
    const sorted = (list: unknown) => JSON.stringify(Array.isArray(list) ? list.toSorted() : list);
    return sorted(value) !== sorted(before[member]);
  }
  if (member === "headers") {
    const names = Object.keys(value as object);
    return JSON.stringify(names.toSorted()) !==
        JSON.stringify(Object.keys(before.headers).toSorted()) ||
      Object.values(value as object).some((one) => one !== REDACTED);
  }
  const inherited: readonly string[] = before.inherited;
  const was = inherited.includes(member) ? null : before[member as keyof shown.Endpoint];
  return JSON.stringify(value) !== JSON.stringify(was);
}

type Refuse = (field: string, message: string) => void;

/** A field that follows the configuration while it is empty, or says what it inherits. */
function inheritable<T>(
  form: Form,
  field: "timeout" | "retry",
  before: Before,
  read: (field: string, text: string) => T | undefined,
): T | null | undefined {
  const text = form.text(field);
  if (text === "") return null;
  const member = `${field}_ms` as const;
  const squeeze = (value: string) => entries(value).join(",");
  if (before?.inherited.includes(member)) {
    const inherited = [before[member]].flat().map(formatDuration).join(",");
    if (squeeze(text) === inherited) return null;
  }
  return read(field, text);
}

const DURATION_RULE = "Write a number and a unit, like 10s or 1m";

function readDuration(refuse: Refuse) {
  return (field: string, text: string): number | undefined => {
    if (DURATION.test(text)) return parseDuration(text);
    refuse(field, DURATION_RULE);
    return undefined;
  };
}

function readDurations(refuse: Refuse) {
  return (field: string, text: string): number[] | undefined => {
    const texts = entries(text);
    const wrong = texts.find((one) => !DURATION.test(one));
    if (wrong === undefined) return texts.map(parseDuration);
    refuse(field, `Write numbers with units, like 0s, 1m, 5m; ${JSON.stringify(wrong)} is none`);
    return undefined;
  };
}

function readInteger(text: string, refuse: Refuse): number | null | undefined {
  if (text === "") return null;
  if (/^\d{1,9}$/.test(text)) return Number.parseInt(text);
  refuse(
    "concurrency",
    `Write a number from ${LIMITS.concurrency.min} to ${LIMITS.concurrency.max}`,
  );
  return undefined;
}

/** Lines of `Name: value`. */
function readHeaders(form: Form, refuse: Refuse): Record<string, string> | undefined {
  const headers: Record<string, string> = Object.create(null);
  for (const line of form.text("headers").split("\n").map((one) => one.trim())) {
    if (line === "") continue;
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim();
    const value = line.slice(colon + 1).trim();
    if (colon < 1 || value === "") {
      // The line may be a credential.
      refuse("headers", "Write a name, a colon and a value on each line, like X-Tenant: bella");
      return undefined;
    }
    if (Object.hasOwn(headers, name)) {
      refuse("headers", `${JSON.stringify(name)} is there twice`);
      return undefined;
    }
    headers[name] = value;
  }
  return { ...headers };
}

/** The texts that are typed; those left empty stay, and those to be removed are null. */
function readTls(form: Form, before: Before): Record<string, string | null> | null | undefined {
  const removed = form.list("tls_remove");
  const typed = Object.entries(TLS_FIELDS).flatMap(([member, field]): [string, string | null][] => {
    const text = form.text(field);
    if (text !== "") return [[member, text]];
    return removed.includes(member === "ca" ? "ca" : "client") ? [[member, null]] : [];
  });
  if (typed.length === 0) return undefined;
  return before === null && typed.every(([, value]) => value === null)
    ? undefined
    : Object.fromEntries(typed);
}

const FIELDS: Readonly<Record<string, string>> = {
  timeout_ms: "timeout",
  retry_ms: "retry",
};

/** The same mistakes, with pointers to the fields of the form. */
export function toFields(errors: readonly Mistake[], form: Form): Mistake[] {
  const checked = form.list("events").filter((name) => name !== "").length;
  return errors.map(({ pointer, message }) => {
    const [, member = "", entry = ""] = pointer.split("/");
    if (member === "tls") {
      const field = TLS_FIELDS[entry as keyof typeof TLS_FIELDS] ?? "tls_ca";
      return { pointer: `/${field}`, message };
    }
    if (member === "events") {
      const field = entry !== "" && Number(entry) >= checked ? "patterns" : "events";
      return { pointer: `/${field}`, message };
    }
    if (member === "headers" && entry !== "") {
      const name = entry.replaceAll("~1", "/").replaceAll("~0", "~");
      return { pointer: "/headers", message: `${name}: ${message}` };
    }
    return member === ""
      ? { pointer, message }
      : { pointer: `/${FIELDS[member] ?? member}`, message };
  });
}

/** The error with pointers to fields, and further mistakes of the form itself before it. */
export function fieldError(
  error: unknown,
  form: Form,
  mistakes: readonly Mistake[] = [],
): unknown {
  if (!(error instanceof AppError)) return error;
  const { errors } = error.detail;
  if (errors === undefined) return error;
  return new AppError(error.code, error.message, {
    ...error.detail,
    errors: [...mistakes, ...toFields(errors, form)],
  });
}

/** Typed values without credentials: values of headers, the key of a certificate, a secret. */
export function withoutSecrets(values: Values): Values {
  const { tls_key: _key, secret: _secret, ...rest } = values;
  const headers = (values.headers ?? []).map((text) =>
    text.split("\n").map((line) => {
      const [name = "", value = ""] = line.split(/:(.*)/s);
      if (value.trim() === REDACTED || line.trim() === "") return line;
      return line.includes(":") ? `${name}: ` : "";
    }).join("\n")
  );
  return { ...rest, ...(values.headers === undefined ? {} : { headers }) };
}
