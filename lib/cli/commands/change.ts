import { AppError } from "../../core/errors.ts";
import type { Delivery } from "../../admin/shown.ts";
import { API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { type Command, command } from "../command.ts";
import { type Io, paletteOf, printable } from "../terminal.ts";

/** Most things that one command line changes. */
export const MAX_IDS = 10_000;

/** `--json` of a command that changes each of several things. */
export const ANSWERS_JSON = {
  type: "boolean",
  about: "Print the API's answers as JSON, one per line",
} as const;

/** The result of one change: the API's answer, and the same in words. */
interface Changed {
  readonly answer: unknown;
  readonly text: string;
}

/**
 * Applies a change to each id and prints which were changed and which were not. Answers the exit code:
 * 1 if one of them was not. A fault that concerns them all ends it, and names those not tried.
 */
export async function changeEach(
  io: Io,
  ids: readonly string[],
  json: boolean,
  apply: (id: string) => Promise<Changed>,
): Promise<number> {
  const { green, red } = paletteOf(io);
  const unchanged = (id: string, why: string) => io.err(`${red("✗")} ${printable(id)}: ${why}`);
  const wanted = [...new Set(ids)];
  let failed = 0;
  for (const [at, id] of wanted.entries()) {
    try {
      const { answer, text } = await apply(id);
      io.out(json ? JSON.stringify(answer) : `${green("✓")} ${printable(id)}: ${printable(text)}`);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      unchanged(id, error.message);
      failed++;
      if (/^(not_found|conflict|invalid)$/.test(error.code)) continue;
      for (const other of wanted.slice(at + 1)) unchanged(other, "Not tried");
      return 1;
    }
  }
  return failed === 0 ? 0 : 1;
}

export const retry = change({
  name: "retry",
  summary: "Retries deliveries now: finished ones, and pending ones before their time",
  about:
    `Each gets a new round of attempts, and keeps its earlier ones. To select many by time, endpoint
or type, use replay. Exits with 1 if one of them could not be retried.`,
  examples: [
    ["bookme-webhooks retry dlv_01kw3…", "One delivery"],
    [
      "bookme-webhooks deliveries --reason tls --json | jq -r '.data[].id' |\n" +
      "    xargs bookme-webhooks retry",
      "Everything with a TLS failure",
    ],
  ],
});

export const cancel = change({
  name: "cancel",
  summary: "Cancels pending deliveries",
  about:
    `An attempt under way is finished first. A cancelled delivery can be retried. Exits with 1 if one
of them could not be cancelled.`,
  examples: [
    ["bookme-webhooks cancel dlv_01kw3…", "One delivery"],
    [
      "bookme-webhooks deliveries --endpoint crm --status pending --limit 1000 --json |\n" +
      "    jq -r '.data[].id' | xargs bookme-webhooks cancel",
      "Everything still owed to crm",
    ],
  ],
});

/** A command that changes each of the deliveries named. */
function change(
  definition: Pick<Command, "summary" | "about" | "examples"> & {
    readonly name: "retry" | "cancel";
  },
): Command {
  const { name } = definition;
  return command({
    ...definition,
    positionals: { usage: "ID…", min: 1, max: MAX_IDS },
    options: { json: ANSWERS_JSON, ...API_OPTIONS },
    async run({ io, values, positionals }) {
      const api = await openApi(io, values);
      return await changeEach(io, positionals, values.json, async (id) => {
        const answer = await api.post<Delivery>(`deliveries/${pathPart(id)}/${name}`);
        return { answer, text: answer.explanation };
      });
    },
  });
}
