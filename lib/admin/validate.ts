import * as v from "valibot";
import { invalidAt, jsonPointer, type Mistake, refuseMistakes } from "../core/errors.ts";
import { isObject, kindOf } from "../core/json.ts";

/** Checks what the API and forms are asked, by the schemas of `inputs.ts`. */

type Schema = v.GenericSchema;

/**
 * The parameters of a query as the schema reads them. Each may be given once; unknown ones are refused,
 * because a misspelt filter would show everything. Throws an `AppError` with each mistake.
 */
export function validQuery<Q extends Schema>(
  schema: Q,
  queries: Readonly<Record<string, readonly string[]>>,
): v.InferOutput<Q> {
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

/**
 * A body as the schema reads it. If it has mistakes, `rules` name those beyond the schema in its sound members,
 * so that one answer names all. Throws an `AppError` with each mistake.
 */
export async function validBody<B extends Schema>(
  schema: B,
  rules: (body: Partial<v.InferOutput<B>>) => readonly Mistake[] | Promise<readonly Mistake[]>,
  input: unknown,
): Promise<v.InferOutput<B>> {
  // To valibot an array is an object too.
  if (!isObject(input)) throw invalidAt("", `Must be an object, not ${kindOf(input)}`);
  const { output, mistakes } = validate(schema, input, "member");
  if (mistakes.length > 0) {
    refuseMistakes([...mistakes, ...await rules(output as Partial<v.InferOutput<B>>)]);
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
