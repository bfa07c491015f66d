import { loadConfig } from "../../config/load.ts";
import type { EventType as Shown } from "../../admin/shown.ts";
import { OPERATIONAL_TYPES } from "../../core/alerting/event.ts";
import { AppError } from "../../core/errors.ts";
import { type EventType, makeEventTypes } from "../../core/event_types.ts";
import { isOperational } from "../../core/matching.ts";
import { command, CONFIG, UsageError } from "../command.ts";
import type { Api } from "../daemon_api/client.ts";
import { columnsOf, wrap } from "../table.ts";
import { printable } from "../terminal.ts";
import { didYouMean } from "../usage.ts";

export const eventTypes = command({
  name: "event-types",
  alias: "events",
  summary: "Lists event types, or prints the sample payload of one",
  about: `Without --config, lists the eight types of BookMe's documentation and this program's own
(webhooks.*), which an operator's endpoint selects by name; with it, also those that the file adds.
Samples are printed exactly as documented.`,
  positionals: { usage: "[NAME]", min: 0, max: 1 },
  options: {
    config: { type: "string", short: "c", value: "FILE", about: CONFIG.about },
    json: { type: "boolean", about: "Print everything as JSON, samples included" },
  },
  examples: [
    ["bookme-webhooks event-types", "All types"],
    ["bookme-webhooks event-types booking.created", "A sample to build a receiver with"],
    [
      "bookme-webhooks event-types booking.created | curl --json @- http://127.0.0.1:8080/ingest",
      "Post it to a daemon that accepts unsigned events",
    ],
  ],
  run({ io, values, positionals: [name] }) {
    const types = typesOf(values.config, io.env);
    if (name !== undefined) {
      const type = types.find((one) => one.name === name);
      if (type === undefined) {
        const near = didYouMean(name, types.map((one) => one.name));
        throw new UsageError(`Unknown event type ${JSON.stringify(name)}${near}`);
      }
      io.out(values.json ? JSON.stringify(view(type), null, 2) : type.sample);
    } else if (values.json) {
      io.out(JSON.stringify({ data: types.map(view), next_cursor: null }, null, 2));
    } else {
      const width = Math.max(...types.map((type) => type.name.length));
      for (const { name, description } of types) {
        wrap(description, columnsOf(io) - width - 2).forEach((line, nth) =>
          io.out(`${(nth === 0 ? name : "").padEnd(width)}  ${line}`)
        );
      }
    }
    return Promise.resolve(0);
  },
});

const MAX_TYPES = 10_000;

/**
 * Explains why nothing of a type was found: throws an `AppError` if the daemon does not know the type. One
 * that was taken out of the file still has its history, so this is asked only where nothing was found.
 */
export async function refuseUnknownType(api: Api, type: string | undefined): Promise<void> {
  if (type === undefined) return;
  const names = (await api.list<Shown>("event-types", {}, MAX_TYPES)).data.map(({ name }) => name);
  if (names.includes(type)) return;
  const near = didYouMean(type, names);
  const quoted = JSON.stringify(printable(type));
  throw new AppError("not_found", `Nothing matches: there is no event type ${quoted}${near}`);
}

function typesOf(
  path: string | undefined,
  env: (name: string) => string | undefined,
): readonly EventType[] {
  const types = makeEventTypes(path === undefined ? [] : loadConfig(path, env).event_types);
  const posted = types.names.map((name) => types.get(name)).filter((type) => type !== undefined);
  return [...posted, ...OPERATIONAL_TYPES];
}

function view({ name, description, sample }: EventType) {
  return { name, description, operational: isOperational(name), sample };
}
