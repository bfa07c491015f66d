import { setTimeout as sleep } from "node:timers/promises";
import { parseRate } from "../../core/units.ts";
import { CANCEL_REASONS } from "../../core/cancellation.ts";
import type { Endpoint, Replay, ReplayCount, Stats } from "../../admin/shown.ts";
import {
  allEndpoints,
  type Api,
  API_OPTIONS,
  DELIVERY_FILTERS,
  openApi,
  pathPart,
} from "../daemon_api/client.ts";
import { refuseUnknownType } from "./event_types.ts";
import { leftOut } from "./replays.ts";
import { checkCode, command, period, readOption, UsageError } from "../command.ts";
import { type Io, makeProgress, paletteOf, printable, stoppable } from "../terminal.ts";

const POLL_MS = 250;

export const replay = command({
  name: "replay",
  summary: "Resends finished deliveries, sends waiting ones now, or owes what was never owed",
  about:
    `Counts first, and asks before anything is sent. The daemon carries it out in batches, at the
given --rate, and continues after restarts; this command only watches, and Ctrl-C ends the watching.
Resending delivered events makes receivers see them twice, so the default is failed only. With
--status pending, deliveries that wait for their next attempt get it now; other statuses begin a
new round of attempts. --reason deselected or endpoint_retired selects cancelled ones. --missing
owes an endpoint the events that it selects now and was never owed: those from before it was made,
or before it selected them.`,
  options: {
    endpoint: DELIVERY_FILTERS.endpoint,
    since: {
      type: "string",
      value: "TIME",
      about: "Created since: 2h (ago) or an ISO time; optional for pending",
    },
    until: { type: "string", value: "TIME", about: "Created before: 30m (ago) or an ISO time" },
    status: {
      type: "string",
      multiple: true,
      value: "STATUS",
      choices: ["failed", "cancelled", "delivered", "pending"],
      about: "failed (default), cancelled or delivered (repeatable), or pending",
    },
    missing: { type: "boolean", about: "What --endpoint selects now and was never owed" },
    reason: DELIVERY_FILTERS.reason,
    code: DELIVERY_FILTERS.code,
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
      "bookme-webhooks replay --endpoint crm --status pending --rate 50/s",
      "Do not wait for the next attempts: crm is up again",
    ],
    [
      "bookme-webhooks replay --endpoint crm --since 1d --reason deselected",
      "Send what a narrower selection has cancelled",
    ],
    [
      "bookme-webhooks replay --endpoint crm --since 7d --missing --rate 50/s",
      "Send a new endpoint the events of last week",
    ],
    [
      "bookme-webhooks replay --since 2026-11-24T10:00:00Z --until 2026-11-24T10:30:00Z \\\n" +
      "    --status delivered --type booking.created --rate 50/s --yes",
      "Resend half an hour of delivered events, slowly",
    ],
  ],
  async run({ io, values }) {
    const { endpoint, missing, type, reason, code, rate, until } = values;
    if (missing) checkMissing(values);
    const pending = values.status.includes("pending");
    if (pending && values.status.some((status) => status !== "pending")) {
      throw new UsageError(
        "--status pending stands alone: the others begin a new round of attempts",
      );
    }
    const since = values.since ?? (pending ? "1970-01-01" : undefined);
    if (since === undefined) throw new UsageError("--since is missing: 2h (ago) or an ISO time");
    if (code !== undefined) checkCode(code);
    if (rate !== undefined) readOption("--rate", () => parseRate(rate));
    const now_ms = Date.now();
    const wanted = {
      ...(values.status.length === 0 ? {} : { status: [...new Set(values.status)] }),
      ...period({ since, until }, now_ms),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(missing ? { missing } : {}),
      ...(type === undefined ? {} : { type }),
      ...(reason === undefined ? {} : { reason }),
      ...(code === undefined ? {} : { code }),
      ...(rate === undefined ? {} : { rate }),
    };
    const api = await openApi(io, values);
    const count = await api.post<ReplayCount>("replays", { ...wanted, dry_run: true });
    if (count.matched === 0) await refuseUnknownType(api, type);
    const words = describe(count, wanted);
    const nothing = count.matched === 0 && count.matched_exact;
    if (values["dry-run"] || nothing) {
      io.out(
        values.json
          ? JSON.stringify(count, null, 2)
          : `${words} would be ${missing ? "owed" : pending ? "sent now" : "replayed"}`,
      );
      if (!values.json) remark(io, count);
      if (nothing && reason === "endpoint_retired") {
        io.err("Nothing is sent to a retired endpoint; put it back into the file first");
      }
      if (pending && nothing) await explainDue(io, api, endpoint);
      return 0;
    }
    if (!values.json) remark(io, count);
    const what = missing ? "owe and send them" : pending ? "send now" : "send again";
    if (!values.yes && !confirm(io, words, what)) return 1;
    const made = await api.post<Replay>("replays", wanted);
    if (values.json) {
      io.out(JSON.stringify(made, null, 2));
      return 0;
    }
    return await watch(io, api, made);
  },
});

function checkMissing(
  values: {
    readonly endpoint?: string | undefined;
    readonly status: readonly string[];
    readonly reason?: string | undefined;
    readonly code?: string | undefined;
  },
): void {
  if (values.endpoint === undefined) throw new UsageError("--missing needs --endpoint");
  for (const name of ["status", "reason", "code"] as const) {
    if (values[name] === undefined || values[name].length === 0) continue;
    throw new UsageError(`--missing excludes --${name}: what was never owed has none`);
  }
}

/** Prints what a replay leaves out, and its notes. */
function remark(io: Io, { left_out, notes }: ReplayCount): void {
  const { delivered, without_payload } = left_out;
  const number = ({ value, exact }: typeof delivered) => `${value}${exact ? "" : "+"}`;
  if (delivered.value > 0) {
    io.err(`Left out: ${number(delivered)} that failed at first and have been delivered since`);
  }
  if (without_payload.value > 0) {
    io.err(
      `Left out of these: ${number(without_payload)} without a payload (retention.payloads)`,
    );
  }
  for (const note of notes) io.err(printable(`Note: ${note}`));
}

/** Pending deliveries that a replay leaves alone because they are due: says how many, and what holds them up. */
async function explainDue(io: Io, api: Api, endpoint: string | undefined): Promise<void> {
  const { totals } = await statsNow(api, endpoint ?? null);
  const due = totals.overdue + totals.sending;
  if (due === 0) return;
  const are = due === 1 ? "is" : "are";
  io.err(`${due}${totals.pending_exact ? "" : "+"} ${are} due already or being sent`);
  for (const line of (await heldUp(api, endpoint ?? null)).map(heldLine)) io.err(line);
}

/** Endpoints that nothing is sent to at present: paused ones, and those that cannot be sent to. */
async function heldUp(api: Api, endpoint: string | null): Promise<Endpoint[]> {
  const endpoints = endpoint === null
    ? await allEndpoints(api)
    : [await api.get<Endpoint>(`endpoints/${pathPart(endpoint)}`)];
  return endpoints.filter(({ state, pending }) => state !== "active" && pending > 0);
}

function heldLine({ id, paused, unsendable_reason }: Endpoint): string {
  const why = paused
    ? `is paused; \`bookme-webhooks resume ${id}\` sends what waits`
    : `cannot be sent to: ${unsendable_reason}`;
  return printable(`${id} ${why}`);
}

function statsNow(api: Api, endpoint: string | null): Promise<Stats> {
  return api.get<Stats>("stats", { window: "1m", ...(endpoint === null ? {} : { endpoint }) });
}

function describe(
  { matched, matched_exact }: ReplayCount,
  { missing, status, reason, code, endpoint }: {
    readonly missing?: boolean;
    readonly status?: readonly string[];
    readonly reason?: string;
    readonly code?: string;
    readonly endpoint?: string;
  },
): string {
  const number = matched_exact ? String(matched) : `At least ${matched}`;
  const of = missing
    ? "missing"
    : CANCEL_REASONS.some((one) => one === reason)
    ? "cancelled"
    : "failed";
  return [
    `${number} ${(status ?? [of]).join(" or ")} ${matched === 1 ? "delivery" : "deliveries"}`,
    ...(endpoint === undefined ? [] : [`to ${endpoint}`]),
    ...(reason === undefined ? [] : [`with ${reason}`]),
    ...(code === undefined ? [] : [`with status ${code}`]),
  ].join(" ");
}

function confirm(io: Io, words: string, what: string): boolean {
  const answer = io.ask(`${printable(words)}: ${what}? [y/N]`);
  if (answer === null) {
    throw new UsageError("No terminal to confirm on; pass --yes, or --dry-run to count only");
  }
  if (/^y(es)?$/i.test(answer.trim())) return true;
  io.err("Nothing was sent");
  return false;
}

/** What its deliveries are, and what has been done to them. */
function wordsOf({ missing, status }: Replay): readonly [string, string] {
  if (missing) return ["pending", "owed"];
  return status.includes("pending") ? ["due now", "made due"] : ["pending again", "replayed"];
}

/** Shows the progress of a replay until it ends. */
async function watch(io: Io, api: Api, made: Replay): Promise<number> {
  using stopping = stoppable();
  using progress = makeProgress(io);
  let now = made;
  while (now.state === "running" && !stopping.signal.aborted) {
    progress.show(`${now.replayed} of ${now.matched} are ${wordsOf(now)[0]}`);
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
    `${good ? green("✓") : red("✗")} ${now.replayed} of ${now.matched} ${wordsOf(now)[1]}${
      good ? "" : ", then it was cancelled"
    }`,
  );
  const left_out = leftOut(now);
  if (left_out !== null) io.err(`Left out: ${left_out}`);
  if (!good) return 1;
  const held = await heldUp(api, now.endpoint);
  for (const line of held.map(heldLine)) io.err(line);
  await watchDraining(io, api, now, held.map(({ id }) => id), stopping.signal);
  return 0;
}

/**
 * On a terminal, shows the backlog until all of it has been tried, or Ctrl-C. That of endpoints which are
 * `held` up does not end.
 */
async function watchDraining(
  io: Io,
  api: Api,
  { endpoint }: Replay,
  held: readonly string[],
  stopping: AbortSignal,
): Promise<void> {
  if (!io.isTerminal) return;
  using progress = makeProgress(io);
  for (;;) {
    const endpoints = (await statsNow(api, endpoint)).endpoints
      .filter(({ endpoint_id }) => !held.includes(endpoint_id));
    const sum = (of: (one: Stats["endpoints"][number]) => number) =>
      endpoints.reduce((total, one) => total + of(one), 0);
    const busy = sum(({ overdue, sending }) => overdue + sending);
    const waiting = sum(({ pending }) => pending) - busy;
    progress.show(
      `Draining: ${busy}${endpoints.every((one) => one.pending_exact) ? "" : "+"} to be sent` +
        (waiting > 0 ? `, ${waiting} wait for a later attempt` : ""),
    );
    if (busy === 0 || stopping.aborted) return;
    await sleep(POLL_MS, undefined, { signal: stopping }).catch(() => {});
  }
}
