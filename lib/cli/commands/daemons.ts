import type { Daemon } from "../../admin/shown.ts";
import { isLoopback, isWildcard } from "../../core/address.ts";
import { API_OPTIONS, LIST_OPTIONS, MAX_LISTED, openApi } from "../daemon_api/client.ts";
import { command, integer } from "../command.ts";
import { columnsOf, moreBelow, table, when, wrap } from "../table.ts";
import { type Io, paletteOf } from "../terminal.ts";

export const daemons = command({
  name: "daemons",
  summary: "Lists the daemons that share the database, and whose file is in force",
  about: `One configuration file is in force for all daemons on a database: the one first seen last.
A daemon with an older file works by that one, and sends where it has the secrets.`,
  options: { ...LIST_OPTIONS, ...API_OPTIONS },
  examples: [
    ["bookme-webhooks daemons", "Does every daemon have the same file?"],
    [
      "bookme-webhooks daemons --json | jq -r '.data[] | select(.in_force | not) | .differences[]'",
      "What differs",
    ],
  ],
  async run({ io, values }) {
    const limit = integer("--limit", values.limit, 1, MAX_LISTED);
    const api = await openApi(io, values);
    const page = await api.list<Daemon>("daemons", { cursor: values.cursor }, limit);
    if (values.json) io.out(JSON.stringify(page, null, 2));
    else {
      for (const line of list(io, page.data)) io.out(line);
      moreBelow(io, page);
    }
    return 0;
  },
});

function list(io: Io, daemons: readonly Daemon[]): string[] {
  const { bold, green, yellow } = paletteOf(io);
  const now_ms = Date.now();
  const rows = daemons.map((daemon) => [
    daemon.id,
    addressOf(daemon),
    daemon.version,
    when(io, daemon.started_at, now_ms),
    when(io, daemon.last_seen_at, now_ms),
    daemon.file,
    daemon.in_force ? { text: "yes", paint: green } : { text: "no", paint: yellow },
  ]);
  const head = ["ID", "ADDRESS", "VERSION", "STARTED", "SEEN", "FILE", "IN FORCE"];
  const apart = daemons.filter(({ in_force }) => !in_force);
  return [
    ...table(io, head, rows, ["SEEN", "VERSION", "STARTED"]),
    ...apart.flatMap(({ id, differences }) => [
      "",
      `${bold(id)} has another file than the one in force:`,
      ...differences.flatMap((one) => wrap(`  ${one}`, columnsOf(io))),
    ]),
  ];
}

/** Where a daemon can be reached, and its further addresses as a number: `10.0.0.5:8080 +1`. */
export function addressOf({ listeners }: Pick<Daemon, "listeners">): string {
  const hostOf = (listener: string) => listener.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  const isFar = (listener: string) =>
    !isWildcard(hostOf(listener)) && !isLoopback(hostOf(listener));
  const first = listeners.find(isFar) ?? listeners[0] ?? "?";
  return listeners.length > 1 ? `${first} +${listeners.length - 1}` : first;
}
