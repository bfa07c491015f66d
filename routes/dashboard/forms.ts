import type { Context } from "hono";
import { type AppError, HTTP_STATUS } from "../../lib/core/errors.ts";
import type { RouteContext } from "../context.ts";
import type { PageEnv, Visit } from "./visit.ts";

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

/** What a form shows when it is rendered again: the values that were typed, and why it was refused. */
export interface FormState {
  readonly values: Readonly<Record<string, readonly string[]>>;
  /** By name of the field. */
  readonly errors: ReadonlyMap<string, string>;
  /** Mistakes that belong to no field. */
  readonly message: string | null;
}

/** Shown once, by the page that follows a form. */
export interface Note {
  /** The result in a sentence. */
  readonly text: string;
  /** Such as a new secret, or the id of a test's delivery. */
  readonly values?: Readonly<Record<string, string>>;
}

/** How a form that was submitted is answered. */
export interface Submission {
  /** Does it. `once` is unique to the form; the page that follows is at `location`. */
  act(once: string): Promise<{ readonly location: string; readonly note?: Note }>;
  /** Shows the form again, with this status. */
  refused(
    state: FormState,
    status: 403 | 404 | 409 | 413 | 422 | 429,
  ): Response | Promise<Response>;
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
    const [, field] = /^\/([^/]+)/.exec(pointer) ?? [];
    if (field === undefined || !Object.hasOwn(form.all, field)) {
      rest.push(field === undefined ? message : `${pointer.slice(1)}: ${message}`);
    } else if (!fields.has(field)) fields.set(field, message);
  }
  const message = errors.length === 0 ? error.message : rest.join("; ");
  return { values: form.all, errors: fields, message: message === "" ? null : message };
}

/**
 * Does what a form asks for, once: a second submission of the same form is led to where the first one went.
 * Answers 303, or with the form again after an `AppError`.
 */
export async function submit(
  c: Context<PageEnv>,
  _ctx: RouteContext,
  _visit: Visit,
  form: Form,
  { act, refused }: Submission,
): Promise<Response> {
  try {
    const { location } = await act(form.text("once"));
    return c.redirect(location, 303);
  } catch (error) {
    if (!isShown(error)) throw error;
    return await refused(formState(form, error), HTTP_STATUS[error.code] as 422);
  }
}

function isShown(error: unknown): error is AppError {
  return error instanceof Error && error.name === "AppError";
}

/** The note that the form before this page left, for two minutes; null if there is none. */
export function readNote(
  _c: Context<PageEnv>,
  _ctx: RouteContext,
  _visit: Visit,
): Promise<Note | null> {
  return Promise.resolve(null);
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
