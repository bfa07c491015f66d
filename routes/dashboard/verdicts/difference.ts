import diff from "microdiff";
import { isObject } from "../../../lib/core/json.ts";
import { formatDuration } from "../../../lib/core/units.ts";

/** A member that a change touched. Null: it was not there, or is not any more. */
export interface MemberChange {
  /** `timeout_ms` */
  readonly field: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** Differences between two states of something, member by member; lists are compared as a whole. */
export function differences(before: unknown, after: unknown): MemberChange[] {
  return diff(leaves(before), leaves(after)).map((change) => ({
    field: change.path.join(" "),
    before: change.type === "CREATE" ? null : withUnit(change.path, change.oldValue),
    after: change.type === "REMOVE" ? null : withUnit(change.path, change.value),
  }));
}

/** Milliseconds as they are written in the configuration, too: `86400000 (1d)`. */
function withUnit(path: readonly (string | number)[], value: unknown): string {
  const is_ms = typeof value === "number" && /_ms$/.test(String(path.at(-1)));
  return is_ms ? `${value} (${formatDuration(value)})` : shownValue(value);
}

// One level: what is made new has all of its members shown. A list whose order changed would be a change of
// every entry. A member without a value is as good as none.
function leaves(value: unknown): Record<string, unknown> {
  if (!isObject(value)) return value === null || value === undefined ? {} : { value };
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, member]) => {
      if (member === null) return [];
      if (!isObject(member)) return [[name, Array.isArray(member) ? listOf(member) : member]];
      return Object.entries(leaves(member)).map(([inner, leaf]) => [
        name === "settings" ? inner : `${name} ${inner}`,
        leaf,
      ]);
    }),
  );
}

function listOf(entries: readonly unknown[]): string {
  return entries.map(shownValue).join(", ");
}

function shownValue(value: unknown): string {
  if (typeof value === "string") return value === "" ? "empty" : value;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
