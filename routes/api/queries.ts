import * as v from "valibot";
import { must } from "../../lib/admin/fields.ts";

/** Pieces of the schemas of queries, whose values are text. */

/** Text that `parse` makes something of, in a query. An undefined answer refuses it. */
export function parsed<T>(parse: (text: string) => T | undefined, message: string) {
  return v.pipe(
    v.string(must("a string")),
    v.maxLength(255, message),
    v.check((value) => parse(value) !== undefined, message),
  );
}

const MAX_LIMIT = 200;
const LIMIT_RULE = `Must be a number from 1 to ${MAX_LIMIT}`;

/** `limit` of a list. */
export const limit = v.optional(
  v.pipe(
    v.string(),
    v.regex(/^\d{1,4}$/, LIMIT_RULE),
    v.transform(Number),
    v.number(),
    v.integer(),
    v.minValue(1, LIMIT_RULE),
    v.maxValue(MAX_LIMIT, LIMIT_RULE),
  ),
  "50",
);

const ATTEMPT_RULE = "Must be the number of an attempt";

/** Number of an attempt. */
export const attempt = v.pipe(
  v.string(),
  v.regex(/^[1-9]\d{0,4}$/, ATTEMPT_RULE),
  v.transform(Number),
  v.number(),
);

/** `true` or `false` of a query. */
export const flag = v.pipe(
  v.picklist(["true", "false"], "Must be true or false"),
  v.transform((value) => value === "true"),
  v.boolean(),
);
