import type { Context } from "hono";
import { actOnce, findNote, type Note, type Outcome } from "../../lib/admin/forms.ts";
import { AppError, HTTP_STATUS } from "../../lib/core/errors.ts";
import type { RouteContext } from "../context.ts";
import type { PageStatus } from "./layout.tsx";
import type { PageEnv, Visit } from "./visit.ts";

export type { Note };

/** A form as it was posted. Absent fields are as empty ones. */
export interface Form {
  /** The field's only or first value, without white space at its ends. */
  text(name: string): string;
  /** All values of a field. */
  list(name: string): string[];
  /** Whether a checkbox is checked. */
  flag(name: string): boolean;
  readonly all: Readonly<Record<string, readonly string[]>>;
}

/** State of a form that is rendered again: the values that were typed, and why it was refused. */
export interface FormState {
  readonly values: Readonly<Record<string, readonly string[]>>;
  /** By name of the field. */
  readonly errors: ReadonlyMap<string, string>;
  /** Mistakes that belong to no field. */
  readonly message: string | null;
}

/** How a form that was submitted is answered. */
export interface Submission {
  /** Does it. `once` is unique to the form; the page that follows is at `location`. */
  act(once: string): Promise<Outcome>;
  /** Shows the form again, with this status. */
  refused(state: FormState, status: PageStatus): Response | Promise<Response>;
}

/** A form without a mistake, with these values. */
export function freshForm(values: FormState["values"] = {}): FormState {
  return { values, errors: new Map(), message: null };
}

/** The form that was posted. It comes from a page of this session. */
export function readForm(c: Context<PageEnv>): Promise<Form> {
  return Promise.resolve(c.get("form"));
}

/** A posted form with the mistakes that `error` names: each next to its field, the rest as the message. */
export function formState(form: Form, error: AppError): FormState {
  const { errors = [] } = error.detail;
  const fields = new Map<string, string>();
  const rest: string[] = [];
  for (const { pointer, message } of errors) {
    const keys = pointer.split("/").slice(1);
    const field = fieldOf(form, keys);
    const entry = /^\d+$/.test(keys[1] ?? "")
      ? `Entry ${Number(keys[1]) + 1}: ${message}`
      : message;
    if (field === "" || !Object.hasOwn(form.all, field)) {
      rest.push(field === "" ? message : `${keys.join(" ")}: ${message}`);
    }
    if (field !== "" && !fields.has(field)) fields.set(field, entry);
  }
  const message = errors.length === 0 ? error.message : rest.join("; ");
  return { values: form.all, errors: fields, message: message === "" ? null : message };
}

/** The field that a JSON pointer means: `tls.ca`, `tls_ca` or `tls`; `retry` for `retry_ms`, which is typed. */
function fieldOf(form: Form, keys: readonly string[]): string {
  const [first = ""] = keys;
  const names = [keys.join("."), keys.join("_"), first, first.replace(/_ms$/, "")];
  return names.find((name) => name !== "" && Object.hasOwn(form.all, name)) ?? first;
}

/**
 * Does what a form asks for, once: a second submission of the same form is led to where the first one went.
 * Answers 303, or with the form again after a refusal of what it asks for.
 */
export async function submit(
  c: Context<PageEnv>,
  ctx: RouteContext,
  _visit: Visit,
  form: Form,
  { act, refused }: Submission,
): Promise<Response> {
  const once = form.text("once");
  try {
    return c.redirect(await actOnce(ctx, c.get("cookie"), once, () => act(once)), 303);
  } catch (error) {
    // A form about nothing that exists is not shown again.
    if (!(error instanceof AppError) || error.code === "not_found") throw error;
    return await refused(formState(form, error), HTTP_STATUS[error.code] as PageStatus);
  }
}

/** The note that the form before this page left, for two minutes; null if there is none. */
export async function readNote(
  c: Context<PageEnv>,
  ctx: RouteContext,
  { here }: Visit,
): Promise<Note | null> {
  const once = c.req.query("note");
  return once === undefined ? null : await findNote(ctx, c.get("cookie"), once, here);
}

/** A form of these fields; none has been checked. */
export function makeForm(fields: URLSearchParams): Form {
  const all: Record<string, string[]> = Object.create(null);
  for (const [name, value] of fields) (all[name] ??= []).push(value);
  return {
    all,
    text: (name) => all[name]?.[0]?.trim() ?? "",
    list: (name) => [...all[name] ?? []],
    flag: (name) => all[name] !== undefined,
  };
}
