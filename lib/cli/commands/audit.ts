import { isObject } from "../../core/json.ts";
import type { AuditEntry, Reloaded } from "../../admin/shown.ts";
import { API_OPTIONS, LIST_OPTIONS, MAX_LISTED, openApi } from "../daemon_api/client.ts";
import { command, integer, period } from "../command.ts";
import { moreBelow, table, when } from "../table.ts";
import { type Io, paletteOf } from "../terminal.ts";
import { changeLines } from "./reload.ts";

export const audit = command({
  name: "audit",
  summary: "Lists changes, newest first: who changed what, from what to what",
  about:
    `Every change is listed, whether made by an admin token, the configuration file or the program
itself. Secrets are never in it.`,
  options: {
    actor: { type: "string", value: "NAME", about: "Only changes by this admin token" },
    action: { type: "string", value: "ACTION", about: "Only these: endpoint.paused, …" },
    object: { type: "string", value: "ID", about: "Only changes of this endpoint, delivery, …" },
    since: { type: "string", value: "TIME", about: "Made since: 2h (ago) or an ISO time" },
    until: { type: "string", value: "TIME", about: "Made before: 30m (ago) or an ISO time" },
    ...LIST_OPTIONS,
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks audit --since 1d", "What changed since yesterday?"],
    ["bookme-webhooks audit --object crm", "Who paused crm, and why?"],
    ["bookme-webhooks audit --action config.reloaded --limit 1", "The last reload"],
  ],
  async run({ io, values }) {
    const { actor, action, object, cursor } = values;
    const now_ms = Date.now();
    const query = { actor, action, object, cursor, ...period(values, now_ms) };
    const limit = integer("--limit", values.limit, 1, MAX_LISTED);
    const page = await (await openApi(io, values)).list<AuditEntry>("audit", query, limit);
    if (values.json) io.out(JSON.stringify(page, null, 2));
    else if (page.data.length === 0) io.out("No changes match");
    else {
      for (const line of list(io, page.data, now_ms)) io.out(line);
      moreBelow(io, page);
    }
    return 0;
  },
});

function list(io: Io, entries: readonly AuditEntry[], now_ms: number): string[] {
  const { dim } = paletteOf(io);
  return table(
    io,
    ["AT", "BY", "FROM", "ACTION", "OBJECT", "CHANGE"],
    entries.map((entry) => [
      when(io, entry.at, now_ms),
      entry.actor,
      { text: entry.address ?? "-", paint: dim },
      entry.action,
      entry.object,
      describeEntry(io, entry),
    ]),
    ["FROM"],
  );
}

/** A reload in the words of `reload` itself, any other change by its members. */
function describeEntry(io: Io, { action, before, after }: AuditEntry): string {
  if (action !== "config.reloaded" || !isReloaded(after)) return describeChange(before, after);
  const plain = { ...io, isTerminal: false };
  // The fields of an endpoint are indented below it.
  return changeLines(plain, after).join("; ").replaceAll(/; {5}(?=\S)/g, ", ");
}

function isReloaded(after: unknown): after is Reloaded {
  return isObject(after) && isObject(after["endpoints"]);
}

/** The members that differ, within objects too: `url: "https://a/" → "https://b/"`. */
export function describeChange(before: unknown, after: unknown): string {
  const old = isObject(before) ? before : {};
  const now = isObject(after) ? after : {};
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])];
  return names.map((name) => describeMember(name, old[name], now[name]))
    .filter((text) => text !== "").join(", ");
}

function describeMember(name: string, old: unknown, now: unknown): string {
  if (isObject(old ?? now) && isObject(now ?? old)) return describeChange(old, now);
  const [from, to] = [spaced(old), spaced(now)];
  if (from === to) return "";
  // New or gone; what has no value says nothing.
  if (from === undefined) return now === null ? "" : `${name}: ${to}`;
  if (to === undefined) return old === null ? "" : `${name}: ${from} → -`;
  return `${name}: ${from} → ${to}`;
}

/** JSON that can be wrapped: a space after each comma of an array. */
function spaced(value: unknown): string | undefined {
  return Array.isArray(value) ? `[${value.map(spaced).join(", ")}]` : JSON.stringify(value);
}
