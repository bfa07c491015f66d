import { isObject } from "../../core/json.ts";
import type { AuditEntry } from "../../admin/shown.ts";
import { API_OPTIONS, LIST_OPTIONS, MAX_LISTED, openApi } from "../daemon_api/client.ts";
import { command, integer, period } from "../command.ts";
import { moreBelow, table, when } from "../table.ts";
import { type Io, paletteOf } from "../terminal.ts";

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
    entries.map(({ at, actor, address, action, object, before, after }) => [
      when(io, at, now_ms),
      actor,
      { text: address ?? "-", paint: dim },
      action,
      object,
      describeChange(before, after),
    ]),
  );
}

/** The members that differ, `url: "https://a/" → "https://b/"`; of what is new or gone, all of them. */
export function describeChange(before: unknown, after: unknown): string {
  const old = isObject(before) ? before : {};
  const now = isObject(after) ? after : {};
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])];
  return names.flatMap((name) => {
    const [from, to] = [JSON.stringify(old[name]), JSON.stringify(now[name])];
    if (isObject(old[name]) && isObject(now[name])) {
      const inner = describeChange(old[name], now[name]);
      return inner === "" ? [] : [inner];
    }
    if (from === to) return [];
    const change = from === undefined ? to : to === undefined ? `${from} → -` : `${from} → ${to}`;
    return [`${name}: ${change}`];
  }).join(", ");
}
