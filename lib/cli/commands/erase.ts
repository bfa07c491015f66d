import { setTimeout as sleep } from "node:timers/promises";
import type { Erasure } from "../../admin/shown.ts";
import { MIN_SOUGHT } from "../../core/mention.ts";
import { counted } from "../../core/units.ts";
import { type Api, API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { command, readSecret, UsageError } from "../command.ts";
import { type Io, makeProgress, paletteOf, stoppable } from "../terminal.ts";

const POLL_MS = 250;

export const erase = command({
  name: "erase",
  summary: "Removes what was posted about a person, and the answers to it, for good",
  about:
    `Counts first, and asks before anything is erased; --yes erases at once. Events that match lose their
payloads, confirmation numbers and answers; what is pending of them is cancelled. The daemon
carries it out, and continues after restarts; this command only watches, and Ctrl-C ends the
watching. --containing reads its text from standard input, because every user of this machine can
see arguments: type it and press Ctrl-D, or pipe it in. It is found in any case and any escapes.
docs/erasure.md says what remains: backups, replicas, free space, receivers.`,
  options: {
    event: { type: "string", value: "ID", about: "One event, evt_…" },
    subject: {
      type: "string",
      value: "ID",
      about: "All events of an appointment, a business or a service",
    },
    containing: {
      type: "string",
      value: "-",
      about: "All events that contain the text on standard input",
    },
    "dry-run": { type: "boolean", about: "Count only" },
    yes: { type: "boolean", about: "Skip count and confirmation, for scripts" },
    json: { type: "boolean", about: "Print the API's last answer as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks erase --subject apt_789", "Everything about one appointment"],
    ["bookme-webhooks erase --containing - --dry-run < name.txt", "Count only"],
    ["bookme-webhooks erase --containing - --yes < mail.txt", "Every event with this address"],
  ],
  async run({ io, values }) {
    const { event, subject, containing, "dry-run": dry_run, yes, json } = values;
    if ([event, subject, containing].filter((one) => one !== undefined).length !== 1) {
      throw new UsageError("Name one of --event, --subject and --containing");
    }
    const wanted = event !== undefined
      ? { event }
      : subject !== undefined
      ? { subject }
      : { containing: await readSought(io, containing ?? "") };
    const api = await openApi(io, values);
    using stopping = stoppable();
    if (dry_run || !yes) {
      const found = await carryOut(io, api, { ...wanted, dry_run: true }, stopping.signal);
      if (dry_run || found.matched === 0 || found.state !== "done") {
        if (json) io.out(JSON.stringify(found, null, 2));
        return report(io, found, json);
      }
      if (!confirm(io, found)) return 1;
    }
    const erasure = await carryOut(io, api, wanted, stopping.signal);
    if (json) io.out(JSON.stringify(erasure, null, 2));
    return report(io, erasure, json);
  },
});

async function readSought(io: Io, option: string): Promise<string> {
  if (option !== "-") {
    throw new UsageError(
      "--containing takes -, for a text on standard input, never the text itself: every user of " +
        "this machine can see the arguments, and the shell keeps them in its history",
    );
  }
  const text = await readSecret(io, "--containing", option);
  if ([...text.trim()].length >= MIN_SOUGHT) return text;
  throw new UsageError(`--containing: a text needs at least ${MIN_SOUGHT} characters`);
}

/** Starts an erasure and shows its progress until it ends, or Ctrl-C. */
async function carryOut(
  io: Io,
  api: Api,
  wanted: unknown,
  stopping: AbortSignal,
): Promise<Erasure> {
  using progress = makeProgress(io);
  let now = await api.post<Erasure>("erasures", wanted);
  while (now.state === "running" && !stopping.aborted) {
    progress.show(
      `${Math.floor(100 * now.progress)} %: ${
        counted(now.scanned, "event")
      } read, ${now.matched} found` +
        (now.waiting > 0 ? `, ${now.waiting} not erased yet` : ""),
    );
    // An aborted wait just ends: the loop checks the signal.
    await sleep(POLL_MS, undefined, { signal: stopping }).catch(() => {});
    now = await api.get<Erasure>(`erasures/${pathPart(now.id)}`);
  }
  return now;
}

function confirm(io: Io, { matched }: Erasure): boolean {
  const answer = io.ask(`${counted(matched, "event")}: erase for good? [y/N]`);
  if (answer === null) {
    throw new UsageError("No terminal to confirm on; pass --yes, or --dry-run to count only");
  }
  if (/^y(es)?$/i.test(answer.trim())) return true;
  io.err("Nothing was erased");
  return false;
}

function report(io: Io, now: Erasure, json: boolean): number {
  const { green, red } = paletteOf(io);
  if (now.state === "running") {
    io.err(`The daemon continues; GET /api/erasures/${now.id} shows its progress`);
    return 0;
  }
  if (now.state === "failed") {
    io.err(`${red("✗")} ${now.failure}`);
    return 1;
  }
  if (json) return 0;
  const scanned = `of ${counted(now.scanned, "event")} read`;
  if (now.dry_run) io.out(`${now.matched} ${scanned} would be erased`);
  else {
    io.out(
      `${green("✓")} ${now.matched} ${scanned} erased, with ${now.attempts} answers; ` +
        `${now.cancelled} pending deliveries cancelled`,
    );
  }
  return 0;
}
