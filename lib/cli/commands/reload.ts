import { AppError } from "../../core/errors.ts";
import { isObject } from "../../core/json.ts";
import { tlsInWords, type TlsShown } from "../../core/tls_settings.ts";
import { formatDuration } from "../../core/units.ts";
import type { FieldChange, Reloaded } from "../../admin/shown.ts";
import { type Api, API_OPTIONS, openApi } from "../daemon_api/client.ts";
import { command } from "../command.ts";
import { type Io, paletteOf, printable } from "../terminal.ts";

export const reload = command({
  name: "reload",
  summary: "Has the daemon read its configuration file again",
  about:
    `Prints what changed, and what takes effect at the next start only. If pending deliveries would
be cancelled, because an endpoint is removed or selects less, it states how many and asks; without
a terminal it refuses unless --force is given. A file with mistakes changes nothing: each mistake is
printed as check does, and the exit code is 2. (SIGHUP and the API never ask.)`,
  options: {
    force: { type: "boolean", about: "Go ahead even if pending deliveries are cancelled" },
    json: { type: "boolean", about: "Print the API's answer as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks check --diff && bookme-webhooks reload", "See what would change, then do it"],
    ["bookme-webhooks reload --force", "In a script that removes endpoints on purpose"],
  ],
  async run({ io, values }) {
    const api = await openApi(io, values, { may_be_newer: true });
    const planned = await askReload(io, api, true);
    if (planned === undefined) return 2;
    if (!values.force && cancelsAny(planned) && !agreed(io, planned)) return 1;
    const reloaded = await askReload(io, api, false);
    if (reloaded === undefined) return 2;
    if (values.json) io.out(JSON.stringify(reloaded, null, 2));
    else for (const line of changeLines(io, reloaded)) io.out(line);
    return 0;
  },
});

/** Reloads, or with `dry_run` asks what that would change. Prints mistakes; undefined if there are any. */
export async function askReload(
  io: Io,
  api: Api,
  dry_run: boolean,
): Promise<Reloaded | undefined> {
  try {
    return await api.post<Reloaded>("reload", { dry_run });
  } catch (error) {
    const mistakes = error instanceof AppError && error.code === "invalid"
      ? error.detail.errors ?? []
      : [];
    if (mistakes.length === 0) throw error;
    for (const { message } of mistakes) io.err(printable(message));
    return undefined;
  }
}

function cancelsAny({ endpoints: { changed, retired } }: Reloaded): boolean {
  return [...changed, ...retired].some((one) => cancelsOf(one) !== undefined);
}

function agreed(io: Io, planned: Reloaded): boolean {
  for (const line of changeLines(io, planned)) io.err(line);
  const answer = io.ask("Reload, and cancel these deliveries? [y/N]");
  if (answer === null) {
    throw new AppError(
      "conflict",
      "Nothing was changed: a reload would cancel pending deliveries; pass --force to go ahead",
    );
  }
  if (/^y(es)?$/i.test(answer.trim())) return true;
  io.err("Nothing was changed");
  return false;
}

interface Cancels {
  readonly cancels: number;
  readonly cancels_exact: boolean;
}

function cancelsOf({ cancels, cancels_exact }: Cancels): string | undefined {
  if (cancels === 0) return cancels_exact ? undefined : "may cancel pending deliveries";
  const what = cancels === 1 ? "pending delivery" : "pending deliveries";
  return `cancels ${cancels_exact ? "" : "at least "}${cancels} ${what}`;
}

/** The changes of a reload, a line for each. */
export function changeLines(io: Io, { changed, at_next_start, endpoints }: Reloaded): string[] {
  const { green, yellow, red, bold } = paletteOf(io);
  const cancels = (one: Cancels) => {
    const words = cancelsOf(one);
    return words === undefined ? "" : `  ${bold(words)}`;
  };
  // Those of endpoints follow with their values.
  const others = changed.filter((change) => !/^endpoints?[ .](?!reordered)/.test(change));
  const now = others.filter((change) => !at_next_start.includes(change));
  const lines = [
    ...endpoints.added.map(({ id, url, events }) =>
      `${green("+")} ${printable(id)}  ${printable(new URL(url).host)}  ${events.join(" ")}`
    ),
    ...endpoints.changed.flatMap((one) => [
      `${yellow("~")} ${printable(one.id)}${cancels(one)}`,
      ...one.fields.map((change) => `    ${change.field}: ${printable(fromTo(change))}`),
    ]),
    ...endpoints.retired.map((one) => `${red("-")} ${printable(one.id)}${cancels(one)}`),
    ...now.map((change) => `${yellow("~")} ${printable(change)}`),
    ...at_next_start.map((change) => `${yellow("~")} ${printable(change)}, at the next start only`),
  ];
  return lines.length === 0 ? ["Nothing changes"] : lines;
}

function fromTo({ field, from, to }: FieldChange): string {
  // Secrets, header values and TLS keys are not shown: both are the same word.
  return from === to ? "changed" : `${valueOf(field, from)} → ${valueOf(field, to)}`;
}

function valueOf(field: string, value: unknown): string {
  if (value === null) return "none";
  if (Array.isArray(value) && value.length > 0) {
    return value.map((one) => valueOf(field, one)).join(" ");
  }
  if (field === "tls" && isObject(value)) return tlsInWords(value as unknown as TlsShown);
  if (typeof value === "number" && field.endsWith("_ms")) return formatDuration(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}
