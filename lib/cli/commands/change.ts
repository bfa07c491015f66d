import { AppError } from "../../core/errors.ts";
import type { Delivery } from "../../admin/shown.ts";
import { API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { type Command, command } from "../command.ts";
import { paletteOf, printable } from "../terminal.ts";

const MAX_IDS = 10_000;

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
    options: {
      json: { type: "boolean", about: "Print the API's answers as JSON, one per line" },
      ...API_OPTIONS,
    },
    async run({ io, values, positionals }) {
      const { green, red } = paletteOf(io);
      const api = await openApi(io, values);
      let failed = 0;
      for (const id of new Set(positionals)) {
        try {
          const delivery = await api.post<Delivery>(`deliveries/${pathPart(id)}/${name}`);
          io.out(
            values.json
              ? JSON.stringify(delivery)
              : `${green("✓")} ${printable(id)}: ${printable(delivery.explanation)}`,
          );
        } catch (error) {
          // A mistake about one delivery does not concern the others; anything else does.
          if (!(error instanceof AppError) || !/not_found|conflict/.test(error.code)) throw error;
          failed++;
          io.err(`${red("✗")} ${printable(id)}: ${error.message}`);
        }
      }
      return failed === 0 ? 0 : 1;
    },
  });
}
