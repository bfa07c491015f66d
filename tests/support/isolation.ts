/** What walks through a house have in common. */

import assert from "node:assert/strict";
import type { Sql } from "postgres";
import type { House, Names, Party } from "./house.ts";

/** A text without these names. */
export function nameless(text: string, names: Names): string {
  const { endpoint, event, delivery, replay, alert, business, subject, confirmation, actor } =
    names;
  return [confirmation, delivery, delivery.slice(4), endpoint, event, replay, alert].concat(
    [actor, actor.replace("portal:", ""), subject, subject.slice(0, -1), business],
  ).reduce((rest, name) => rest.replaceAll(name, "NAME"), text);
}

/** Fails if a text has anything in it that belongs to another party than `own`, but for what was asked. */
export function refuseMarksIn(house: House, own: Party | null, asked: string, text: string): void {
  const lower = text.toLowerCase();
  for (const party of [...house.businesses, house.operator]) {
    if (party === own) continue;
    for (const mark of party.marks) {
      // The id asked about may come back.
      if (asked.includes(mark)) continue;
      assert.ok(
        !lower.includes(mark.toLowerCase()),
        `${asked} shows ${own?.word ?? "nobody"} ${mark}: ${text}`,
      );
    }
  }
}

const TABLES = ["endpoints", "endpoint_versions", "events", "keys", "subjects", "fleet"].concat(
  [
    "pending_deliveries",
    "ended_deliveries",
    "attempts",
    "replays",
    "audit",
    "portal_links",
    "erasures",
    "alerts",
    "alert_notices",
    "alert_contacts",
  ],
);

/** A digest of each table's rows; with `but`, without the rows of that business. */
export async function stateOf(sql: Sql, but?: Party): Promise<Record<string, string>> {
  const own = "(select no from endpoints where owner = $1)";
  const without: Record<string, string> = but === undefined ? {} : {
    endpoints: "t.owner is distinct from $1",
    endpoint_versions: `t.endpoint_no not in ${own}`,
    events: "t.business is distinct from $1",
    fleet: "false and $1 = ''",
    pending_deliveries: `t.endpoint_no not in ${own}`,
    ended_deliveries: `t.endpoint_no not in ${own}`,
    attempts: `t.endpoint_no not in ${own}`,
    replays: `t.endpoint_no not in ${own}`,
    alerts: "t.business is distinct from $1",
    alert_notices: "t.alert_id not in (select id from alerts where business = $1)",
    alert_contacts: "t.business <> $1",
    audit: "t.actor not in (select 'portal:' || id from portal_links where business = $1)",
  };
  const state: Record<string, string> = {};
  for (const table of TABLES) {
    const which = without[table];
    const [row] = await sql.unsafe<{ digest: string }[]>(
      `select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) || count(*) as digest
        from ${table} t where ${which ?? "true"}`,
      which === undefined || but === undefined ? [] : [but.business],
    );
    state[table] = row?.digest ?? "";
  }
  return state;
}

/** A table in Markdown; the first row is its head. */
export function tableText(all: readonly (readonly string[])[]): string {
  const widths = all[0]?.map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0))) ?? [];
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`;
  const [head = [], ...body] = all;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...body.map(line)].join("\n");
}
