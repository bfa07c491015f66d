import { inWords } from "../../core/explain.ts";
import type { Replay } from "../../admin/shown.ts";
import { formatRate } from "../../core/units.ts";
import { API_OPTIONS, LIST_OPTIONS, MAX_LISTED, openApi, pathPart } from "../daemon_api/client.ts";
import { command, integer, UsageError } from "../command.ts";
import { type Cell, facts, moreBelow, table, when, whenExactly } from "../table.ts";
import { type Io, type Palette, paletteOf, printable } from "../terminal.ts";

export const replays = command({
  name: "replays",
  summary: "Lists replays with their progress, newest first; shows or cancels one",
  about:
    `A replay is started by replay and carried out by the daemons. Cancelling one ends it where it is:
deliveries that it has made pending stay pending.`,
  positionals: { usage: "[ID]", min: 0, max: 1 },
  options: {
    cancel: { type: "boolean", about: "Cancel the replay ID" },
    ...LIST_OPTIONS,
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks replays", "What is running, and how far is it?"],
    ["bookme-webhooks replays rpl_06yn4b7c2d5f0000e1g3", "One of them"],
    ["bookme-webhooks replays rpl_06yn4b7c2d5f0000e1g3 --cancel", "End it where it is"],
  ],
  async run({ io, values, positionals: [id] }) {
    const limit = integer("--limit", values.limit, 1, MAX_LISTED);
    if (id === undefined && values.cancel) {
      throw new UsageError("--cancel needs the ID of a replay");
    }
    const api = await openApi(io, values);
    if (id !== undefined) {
      const path = `replays/${pathPart(id)}`;
      const replay = values.cancel
        ? await api.post<Replay>(`${path}/cancel`)
        : await api.get<Replay>(path);
      if (values.json) io.out(JSON.stringify(replay, null, 2));
      else for (const line of describe(io, replay)) io.out(line);
      return 0;
    }
    const page = await api.list<Replay>("replays", { cursor: values.cursor }, limit);
    if (values.json) io.out(JSON.stringify(page, null, 2));
    else if (page.data.length === 0) io.out("No replays");
    else {
      for (const line of list(io, page.data)) io.out(line);
      moreBelow(io, page);
    }
    return 0;
  },
});

function list(io: Io, replays: readonly Replay[]): string[] {
  const palette = paletteOf(io);
  const now_ms = Date.now();
  return table(
    io,
    ["ID", "CREATED", "BY", "STATE", "REPLAYED", "ENDPOINT", "STATUS", "TYPE", "RATE"],
    replays.map((replay) => [
      replay.id,
      when(io, replay.created_at, now_ms),
      replay.created_by,
      stateCell(replay, palette),
      progressOf(replay),
      replay.endpoint ?? "all",
      [...statusOf(replay), replay.reason, replay.code].filter((one) => one !== null).join(" "),
      replay.type ?? "all",
      formatRate(replay.rate_per_s) ?? "-",
    ]),
    ["RATE", "TYPE", "BY", "STATUS"],
  );
}

function describe(io: Io, replay: Replay): string[] {
  const palette = paletteOf(io);
  const now_ms = Date.now();
  return [
    palette.bold(printable(replay.id)),
    ...facts(io, [
      ["state", stateCell(replay, palette)],
      ["replayed", progressOf(replay)],
      ["left out", leftOut(replay)],
      ["time left", timeLeft(replay)],
      ["endpoint", replay.endpoint ?? "all"],
      ["status", statusOf(replay).join(" ")],
      ["reason", replay.reason],
      ["code", replay.code],
      ["type", replay.type ?? "all"],
      ["since", replay.since],
      ["until", replay.until],
      ["rate", formatRate(replay.rate_per_s)],
      ["created", `${whenExactly(replay.created_at, now_ms)} by ${replay.created_by}`],
      ["ended", whenExactly(replay.ended_at, now_ms)],
    ]),
  ];
}

function statusOf({ missing, status }: Replay): readonly string[] {
  return missing ? ["missing"] : status;
}

function progressOf({ replayed, matched, matched_exact, state }: Replay): string {
  const share = matched === 0 || state !== "running"
    ? ""
    : ` (${Math.min(100, Math.floor(100 * replayed / matched))} %)`;
  return `${replayed} of ${matched}${matched_exact ? "" : "+"}${share}`;
}

/** Deliveries that were not replayed, in words, or null. */
export function leftOut({ without_payload, meanwhile }: Replay): string | null {
  const parts = [
    ...(without_payload === 0 ? [] : [`${without_payload} without a payload (retention.payloads)`]),
    ...((meanwhile ?? 0) === 0 ? [] : [`${meanwhile} delivered or changed meanwhile`]),
  ];
  return parts.length === 0 ? null : parts.join(", ");
}

/** How long a paced replay takes from here on. */
function timeLeft(replay: Replay): string | null {
  const { state, rate_per_s, replayed, without_payload, matched, matched_exact } = replay;
  if (state !== "running" || rate_per_s === null) return null;
  const left_ms = 1000 * Math.max(0, matched - replayed - without_payload) / rate_per_s;
  return `about ${inWords(left_ms)}${matched_exact ? "" : " or more"}`;
}

function stateCell({ state }: Replay, palette: Palette): Cell {
  const paint = { running: palette.yellow, done: palette.green, cancelled: palette.dim }[state];
  return { text: state, paint };
}
