import { AppError } from "../../core/errors.ts";
import type { Delivery } from "../../admin/shown.ts";
import { API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { type Command, command } from "../command.ts";
import { paletteOf, printable } from "../terminal.ts";

const MAX_IDS = 10_000;

export const retry = change({
  name: "retry",
  summary: "Sends deliveries again that ended, or now what waits for its next attempt",
  about:
    `Each gets a new round of attempts, and keeps those it had. For many at once by time, endpoint
or type there is replay. Exit code 1 where one of them could not be.`,
  examples: [
    ["bookme-webhooks retry dlv_01kw3…", "One delivery"],
    [
      "bookme-webhooks deliveries --reason tls --json | jq -r '.data[].id' |\n" +
      "    xargs bookme-webhooks retry",
      "All that met a TLS failure",
    ],
  ],
});

export const cancel = change({
  name: "cancel",
  summary: "Cancels deliveries that are pending: they are not sent any more",
  about:
    `An attempt that is under way is the last one. A cancelled delivery can be retried. Exit code 1
where one of them could not be.`,
  examples: [
    ["bookme-webhooks cancel dlv_01kw3…", "One delivery"],
    [
      "bookme-webhooks deliveries --endpoint crm --status pending --limit 1000 --json |\n" +
      "    jq -r '.data[].id' | xargs bookme-webhooks cancel",
      "All that crm still has to get",
    ],
  ],
});

/** A command that asks the same of each delivery that is named. */
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
      json: { type: "boolean", about: "What the API answers, as JSON, a line for each" },
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
          // What is wrong with one need not be with the others; anything else is.
          if (!(error instanceof AppError) || !/not_found|conflict/.test(error.code)) throw error;
          failed++;
          io.err(`${red("✗")} ${printable(id)}: ${error.message}`);
        }
      }
      return failed === 0 ? 0 : 1;
    },
  });
}
