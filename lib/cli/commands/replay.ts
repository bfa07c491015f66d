import { setTimeout as sleep } from "node:timers/promises";
import { parseRate } from "../../core/units.ts";
import type { Replay, ReplayCount, Stats } from "../../admin/shown.ts";
import { type Api, API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { command, moment, readOption, UsageError } from "../command.ts";
import { type Io, makeProgress, onStop, paletteOf, printable } from "../terminal.ts";

const POLL_MS = 250;

export const replay = command({
  name: "replay",
  summary: "Resends finished deliveries, selected by time and endpoint",
  about:
    `Counts first, and asks before anything is sent. The daemon carries it out in batches, at the
given --rate, and continues after restarts; this command only watches, and Ctrl-C ends the watching.
Resending delivered events makes receivers see them twice, so the default is failed only.`,
  options: {
    endpoint: {
      type: "string",
      value: "ID",
      completes: "endpoints",
      about: "Only deliveries to this endpoint",
    },
    since: { type: "string", value: "TIME", about: "Created since: 2h (ago) or an ISO time" },
    until: { type: "string", value: "TIME", about: "Created before: 30m (ago) or an ISO time" },
    status: {
      type: "string",
      multiple: true,
      value: "STATUS",
      choices: ["failed", "cancelled", "delivered"],
      about: "failed (default), cancelled or delivered; repeatable",
    },
    type: { type: "string", value: "TYPE", about: "Only events of this type" },
    rate: { type: "string", value: "RATE", about: "Maximum rate: 50/s, 300/m, 1000/h" },
    "dry-run": { type: "boolean", about: "Count only" },
    yes: { type: "boolean", about: "Skip the confirmation, for scripts" },
    json: { type: "boolean", about: "Print the API's answer as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    [
      "bookme-webhooks replay --endpoint crm --since 2h",
      "Resend what crm missed, once it is fixed",
    ],
    ["bookme-webhooks replay --endpoint crm --since 2h --dry-run", "Count first"],
    [
      "bookme-webhooks replay --since 2026-11-24T10:00:00Z --until 2026-11-24T10:30:00Z \\\n" +
      "    --status delivered --type booking.created --rate 50/s --yes",
      "Resend half an hour of delivered events, slowly",
    ],
  ],
  async run({ io, values }) {
    const { endpoint, type, rate, since, until } = values;
    if (since === undefined) throw new UsageError("--since is missing: 2h (ago) or an ISO time");
    if (rate !== undefined) readOption("--rate", () => parseRate(rate));
    const now_ms = Date.now();
    const wanted = {
      status: values.status.length === 0 ? ["failed"] : [...new Set(values.status)],
      since: moment("--since", since, now_ms),
      ...(until === undefined ? {} : { until: moment("--until", until, now_ms) }),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(type === undefined ? {} : { type }),
      ...(rate === undefined ? {} : { rate }),
    };
    const api = await openApi(io, values);
    const count = await api.post<ReplayCount>("replays", { ...wanted, dry_run: true });
    const words = describe(count, wanted.status, endpoint);
    if (values["dry-run"] || count.matched === 0) {
      io.out(values.json ? JSON.stringify(count, null, 2) : `${words} would be replayed`);
      return 0;
    }
    if (!values.yes && !confirm(io, words)) return 1;
    const made = await api.post<Replay>("replays", wanted);
    if (values.json) {
      io.out(JSON.stringify(made, null, 2));
      return 0;
    }
    return await watch(io, api, made);
  },
});

function describe(
  { matched, matched_exact }: ReplayCount,
  statuses: readonly string[],
  endpoint: string | undefined,
): string {
  const number = matched_exact ? String(matched) : `At least ${matched}`;
  const to = endpoint === undefined ? "" : ` to ${endpoint}`;
  return `${number} ${statuses.join(" or ")} ${matched === 1 ? "delivery" : "deliveries"}${to}`;
}

function confirm(io: Io, words: string): boolean {
  const answer = io.ask(`${printable(words)}: send again? [y/N]`);
  if (answer === null) {
    throw new UsageError("No terminal to confirm on; pass --yes, or --dry-run to count only");
  }
  if (/^y(es)?$/i.test(answer.trim())) return true;
  io.err("Nothing was sent");
  return false;
}

/** Shows the progress of a replay until it ends. */
async function watch(io: Io, api: Api, made: Replay): Promise<number> {
  const stopping = new AbortController();
  using _ = onStop(() => stopping.abort());
  using progress = makeProgress(io);
  let now = made;
  while (now.state === "running" && !stopping.signal.aborted) {
    progress.show(`${now.replayed} of ${now.matched} are pending again`);
    // An aborted wait just ends: the loop checks the signal.
    await sleep(POLL_MS, undefined, { signal: stopping.signal }).catch(() => {});
    now = await api.get<Replay>(`replays/${pathPart(made.id)}`);
  }
  if (now.state === "running") {
    io.err(
      `The daemon continues; \`bookme-webhooks replays ${now.id}\` shows its progress, and with ` +
        "--cancel cancels it",
    );
    return 0;
  }
  const { green, red } = paletteOf(io);
  const good = now.state === "done";
  io.out(
    `${good ? green("✓") : red("✗")} ${now.replayed} of ${now.matched} replayed${
      good ? "" : ", then it was cancelled"
    }`,
  );
  if (good) await watchDraining(io, api, now, stopping.signal);
  return good ? 0 : 1;
}

/** On a terminal, shows the backlog until all of it has been tried, or Ctrl-C. */
async function watchDraining(
  io: Io,
  api: Api,
  { endpoint }: Replay,
  stopping: AbortSignal,
): Promise<void> {
  if (!io.isTerminal) return;
  using progress = makeProgress(io);
  const query = { window: "1m", ...(endpoint === null ? {} : { endpoint }) };
  for (;;) {
    const { totals } = await api.get<Stats>("stats", query);
    const waiting = totals.pending - totals.overdue - totals.sending;
    const busy = totals.overdue + totals.sending;
    progress.show(
      `Draining: ${busy}${totals.pending_exact ? "" : "+"} to be sent` +
        (waiting > 0 ? `, ${waiting} wait for a later attempt` : ""),
    );
    if (busy === 0 || stopping.aborted) return;
    await sleep(POLL_MS, undefined, { signal: stopping }).catch(() => {});
  }
}
