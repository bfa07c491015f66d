import { readText } from "../../config/references.ts";
import { isObject } from "../../core/json.ts";
import type { Endpoint, TestResult } from "../../admin/shown.ts";
import { type Api, API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { command, readOption, UsageError } from "../command.ts";
import { showAdvice, showResponse, took } from "./delivery.ts";
import { columnsOf, wrap } from "../table.ts";
import { type Io, paletteOf, printable } from "../terminal.ts";

export const send = command({
  name: "send",
  summary: "Sends a test event to an endpoint, and prints its answer",
  about:
    `The running daemon sends it like any event, with X-BookMe-Test: true, and retries it on the
endpoint's schedule if it fails. Without --data it sends the sample of the event type. Also says if
the endpoint would not be owed a real event of that type and business. Exits with 0 if the first
attempt was delivered, 1 if not.`,
  positionals: { usage: "TYPE", min: 1, max: 1 },
  options: {
    endpoint: {
      type: "string",
      value: "ID",
      completes: "endpoints",
      about: "Target endpoint; optional if there is only one",
    },
    data: {
      type: "string",
      value: "FILE|-",
      about: "JSON of the event's data, or of a whole event",
    },
    json: { type: "boolean", about: "Print the API's answer as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks send booking.created --endpoint crm", "Does crm accept a booking?"],
    [
      "bookme-webhooks event-types booking.created > event.json && $EDITOR event.json &&\n" +
      "    bookme-webhooks send booking.created --endpoint crm --data event.json",
      "With your own data",
    ],
  ],
  async run({ io, values, positionals: [event = ""] }) {
    const data = values.data === undefined ? undefined : await readData(io, values.data, event);
    const api = await openApi(io, values);
    const endpoint = values.endpoint ?? await onlyEndpoint(api);
    const result = await api.post<TestResult>(`endpoints/${pathPart(endpoint)}/test`, {
      event,
      ...data,
    });
    if (values.json) io.out(JSON.stringify(result, null, 2));
    else tell(io, endpoint, event, result);
    return result.attempt?.outcome === "delivered" ? 0 : 1;
  },
});

/** The data of a test event, and the business that a whole event names. */
interface Data {
  readonly data: unknown;
  readonly business?: unknown;
}

async function readData(io: Io, path: string, event: string): Promise<Data> {
  const text = path === "-"
    ? new TextDecoder().decode(await io.stdin())
    : readOption("--data", () => readText(path, false)).replace(/^\ufeff/, "");
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`--data: ${path} is not JSON: ${(error as Error).message}`);
  }
  // A whole event, as `event-types` prints it, is accepted too.
  if (!isObject(read) || typeof read["event"] !== "string" || !("data" in read)) {
    return { data: read };
  }
  if (read["event"] !== event) {
    throw new UsageError(
      `--data: ${path} is an event of the type ${JSON.stringify(printable(read["event"]))}, not ` +
        JSON.stringify(printable(event)),
    );
  }
  const { data, business } = read;
  return { data, ...(business === undefined ? {} : { business }) };
}

async function onlyEndpoint(api: Api): Promise<string> {
  const { data } = await api.list<Endpoint>("endpoints", {}, 20);
  const [only] = data;
  if (data.length === 1 && only !== undefined) return only.id;
  throw new UsageError(
    data.length === 0
      ? "No endpoint to send to; add one to the configuration"
      : `--endpoint is missing: ${data.map(({ id }) => id).join(", ")}`,
  );
}

function tell(io: Io, endpoint: string, event: string, result: TestResult): void {
  const { bold, dim, green, red, yellow } = paletteOf(io);
  const { attempt, delivery, would_be_owed, reason } = result;
  const what = `${bold(printable(event))} to ${bold(printable(endpoint))}`;
  if (attempt === null) {
    io.out(`${red("✗")} ${what}: not sent yet. ${printable(delivery.explanation)}`);
  } else {
    const good = attempt.outcome === "delivered";
    const met = good
      ? "delivered"
      : `${attempt.outcome}${attempt.cause ? `: ${attempt.cause}` : ""}`;
    const at = attempt.address === null ? "" : ` by ${attempt.address}`;
    io.out(
      `${good ? green("✓") : red("✗")} ${what}: ${printable(met + at)}, after ${
        took(attempt.duration_ms)
      }`,
    );
    if (attempt.response !== null) showResponse(io, attempt.response);
    showAdvice(io, attempt);
  }
  if (!would_be_owed) {
    io.out("");
    const text =
      `! A real event of this type and business would not be owed to ${endpoint}: ${reason}`;
    for (const line of wrap(printable(text), columnsOf(io))) io.out(yellow(line));
  }
  io.out(dim(`\nbookme-webhooks delivery ${printable(delivery.id)} shows the request`));
}
