import { Buffer } from "node:buffer";
import type { Attempt, Comparison, DeliveryDetail } from "../../admin/shown.ts";
import { mentionsSignature } from "../../core/advice.ts";
import { curlLines, verifyLines } from "../../core/curl.ts";
import { parseDeliveryId, parseEventId } from "../../core/ids.ts";
import { API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { command, integer, UsageError } from "../command.ts";
import { getEvent, noDelivery, showEvent } from "./event.ts";
import {
  type Cell,
  columnsOf,
  facts,
  hintFacts,
  statusCell,
  table,
  when,
  whenExactly,
  wrap,
} from "../table.ts";
import { type Io, type Palette, paletteOf, printable, printableLines } from "../terminal.ts";

/** Most of a body that is shown, in characters. */
const MAX_SHOWN = 16_384;

export const delivery = command({
  name: "delivery",
  summary: "Explains one delivery: its state, attempts, request and response",
  about: `Prints the request as a curl command that sends exactly the same bytes again. (Its
webhook-timestamp is the old one, which a receiver may refuse.) Control characters of a response are
escaped, so that the terminal does not act on them. With the id of an event, shows all of its
deliveries, as \`event\` does.`,
  positionals: { usage: "ID", min: 1, max: 1 },
  options: {
    attempt: {
      type: "string",
      value: "N",
      about: "Attempt to show (default: the last)",
    },
    compare: {
      type: "boolean",
      about: "Compare it with the last attempt that the endpoint accepted",
    },
    with: { type: "string", value: "N", about: "Compare it with this attempt instead" },
    json: { type: "boolean", about: "Print the API's answer as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks delivery dlv_01kw3…", "Why did it fail?"],
    ["bookme-webhooks delivery dlv_01kw3… --attempt 1", "Its first attempt"],
    ["bookme-webhooks delivery dlv_01kw3… --compare", "What is different from when it worked?"],
    [
      "bookme-webhooks delivery dlv_01kw3… --json | jq -r '.attempts[-1].request.body'",
      "The payload as sent",
    ],
  ],
  async run({ io, values, positionals: [id = ""] }) {
    const wanted = attemptOf("--attempt", values.attempt);
    const other = attemptOf("--with", values.with);
    const api = await openApi(io, values);
    if (parseEventId(id) !== undefined) {
      if (wanted !== undefined) throw new UsageError("--attempt needs the id of a delivery");
      if (values.compare || other !== undefined) {
        throw new UsageError("--compare and --with need the id of a delivery");
      }
      const one = await getEvent(api, id);
      if (values.json) io.out(JSON.stringify(one, null, 2));
      else showEvent(io, one);
      return 0;
    }
    if (parseDeliveryId(id) === undefined) throw noDelivery(id);
    if (values.compare || other !== undefined) {
      const query = { attempt: wanted?.toString(), with: other?.toString() };
      const found = await api.get<Comparison>(`deliveries/${pathPart(id)}/comparison`, query);
      if (values.json) io.out(JSON.stringify(found, null, 2));
      else showComparison(io, found);
      return 0;
    }
    const found = await api.get<DeliveryDetail>(`deliveries/${pathPart(id)}`);
    if (values.json) {
      io.out(JSON.stringify(found, null, 2));
      return 0;
    }
    const attempt = wanted === undefined
      ? found.attempts.at(-1)
      : found.attempts.find(({ number }) => number === wanted);
    if (attempt === undefined && wanted !== undefined) {
      const numbers = found.attempts.map(({ number }) => number).join(", ") || "none";
      throw new UsageError(`--attempt: no attempt ${wanted}; choose one of ${numbers}`);
    }
    showDelivery(io, found);
    showAttempts(io, found.attempts);
    if (attempt !== undefined) showAttempt(io, attempt);
    return 0;
  },
});

function attemptOf(name: string, value: string | undefined): number | undefined {
  return value === undefined ? undefined : integer(name, value, 1, 32_767);
}

function showComparison(io: Io, { before, after, rows, same }: Comparison): void {
  if (before === null) {
    return io.out(
      `Nothing is known that the endpoint accepted before attempt ${after.attempt}; ` +
        "--with N compares it with another attempt",
    );
  }
  const now_ms = Date.now();
  const head = ({ delivery_id, attempt, started_at }: Comparison["after"]) =>
    `${when(io, started_at, now_ms)}, ${
      delivery_id === after.delivery_id ? `attempt ${attempt}` : delivery_id
    }`;
  const lines = rows.map(({ label, before, after, note }) => [
    label,
    before,
    note === null ? after : `${after} (${note})`,
  ]);
  for (const line of table(io, ["", head(before), head(after)], lines)) io.out(line);
  if (rows.length > 0 && same !== "") io.out("");
  for (const line of wrap(printable(same), columnsOf(io))) io.out(line);
}

function showDelivery(io: Io, delivery: DeliveryDetail): void {
  const palette = paletteOf(io);
  const now_ms = Date.now();
  io.out(palette.bold(printable(delivery.id)));
  for (const line of wrap(printable(delivery.explanation), columnsOf(io) - 2)) io.out(`  ${line}`);
  io.out("");
  const lines = facts(io, [
    ["status", statusCell(delivery.status, palette)],
    ...hintFacts(delivery.hints, now_ms),
    ["event", `${delivery.event_id}  ${delivery.event_type}${delivery.test ? "  (test)" : ""}`],
    ["subject", delivery.confirmation_number ?? delivery.subject],
    ["endpoint", delivery.endpoint_id],
    ["created", whenExactly(delivery.created_at, now_ms)],
    ["next attempt", whenExactly(delivery.next_attempt_at, now_ms)],
    ["ended", whenExactly(delivery.ended_at, now_ms)],
  ]);
  for (const line of lines) io.out(line);
}

function showAttempts(io: Io, attempts: readonly Attempt[]): void {
  const palette = paletteOf(io);
  const now_ms = Date.now();
  if (attempts.length === 0) return io.out("\nNo attempt has been recorded");
  io.out("");
  const rows = attempts.map((attempt) => [
    String(attempt.number),
    when(io, attempt.started_at, now_ms),
    took(attempt.duration_ms),
    outcomeCell(attempt, palette),
    attempt.status === null ? "-" : String(attempt.status),
    attempt.address ?? "-",
    attempt.cause ?? "",
  ]);
  const head = ["ATTEMPT", "STARTED", "TOOK", "OUTCOME", "STATUS", "ADDRESS", "CAUSE"];
  for (const line of table(io, head, rows, ["ADDRESS"])) io.out(line);
}

/** A duration as it was measured. */
export function took(duration_ms: number): string {
  return duration_ms < 1000
    ? `${Math.round(duration_ms)} ms`
    : `${(duration_ms / 1000).toFixed(1)} s`;
}

/** The phases of an attempt, in at most 54 columns; empty if it had none. */
function timesOf({ dns_ms, connect_ms, tls_ms, waiting_ms, reused }: Attempt["phases"]): string {
  const phases = { DNS: dns_ms, connect: connect_ms, TLS: tls_ms, waiting: waiting_ms };
  const times = Object.entries(phases).flatMap(([name, ms]) =>
    ms === null ? [] : [`${name} ${ms < 10 ? `${ms.toFixed(1)} ms` : took(ms)}`]
  );
  return times.join(", ") + (reused === true ? ", on a reused connection" : "");
}

function outcomeCell({ outcome }: Attempt, palette: Palette): Cell {
  return { text: outcome, paint: outcome === "delivered" ? palette.green : palette.red };
}

/** An attempt's request, as a command, what came back, and what is likely wrong. */
export function showAttempt(io: Io, attempt: Attempt): void {
  const { bold } = paletteOf(io);
  if (attempt.request !== null) {
    const { body } = attempt.request;
    const name = bold(`Attempt ${attempt.number}`);
    const missing = attempt.payload_hidden
      ? "payload and answer are hidden from this token (payloads: false)"
      : "the payload it sent is gone";
    io.out(`\n${name}${body === null ? `: ${missing}` : ", as a command:"}`);
    if (body !== null) { for (const line of curlLines({ ...attempt.request, body })) io.out(line); }
  }
  const times = timesOf(attempt.phases);
  if (times !== "") io.out(`\n${bold("Time:")} ${times}`);
  if (attempt.response !== null) showResponse(io, attempt.response);
  showAdvice(io, attempt);
}

/** The likely cause of an attempt's outcome; of a signature refused, the command that examines it. */
export function showAdvice(io: Io, { advice, outcome, request, response }: Attempt): void {
  if (advice === null) return;
  io.out("");
  for (const line of wrap(printable(advice), columnsOf(io))) io.out(line);
  const signature = request?.headers["X-BookMe-Signature"];
  if (request?.body == null || signature === undefined || response === null) return;
  const is_about = mentionsSignature({ outcome, headers: response.headers, body: response.body });
  if (is_about) { for (const line of verifyLines(request.body, signature)) io.out(line); }
}

/** The head and body of an answer, inert. */
export function showResponse(io: Io, response: NonNullable<Attempt["response"]>): void {
  const { bold, dim } = paletteOf(io);
  io.out(
    `\n${response.status === null ? bold("It sent") : `${bold("It answered")} ${response.status}`}`,
  );
  for (const [name, value] of response.headers) {
    io.out(`${dim(printable(name) + ":")} ${printable(value)}`);
  }
  const { body, body_encoding, truncated } = response;
  if (body === "") return io.out(dim("(no body)"));
  io.out("");
  if (body_encoding === "base64") {
    return io.out(
      dim(`(${Buffer.byteLength(body, "base64")} bytes that are not text; see --json)`),
    );
  }
  for (const line of printableLines(body.slice(0, MAX_SHOWN))) io.out(line);
  const more = body.length - MAX_SHOWN;
  if (more > 0) io.out(dim(`… and ${more} more characters; see --json`));
  if (truncated) io.out(dim("… and more, which was not kept"));
}
