/** Whether a JSON value is an object: neither null nor an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A JSON value's type with its article, for messages. Never the value: a log may carry it. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** The mistake of a value that is missing or has another type than the expected one. */
export function typeMistake(expected: string, value: unknown): string {
  return value === undefined ? "Is missing" : `Must be ${expected}, not ${kindOf(value)}`;
}
