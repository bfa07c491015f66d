import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { makeSecret, secretMistake } from "../../core/secret.ts";
import {
  command,
  duration,
  integer,
  readPrevious,
  readSecret,
  SECRET_VALUE,
  UsageError,
} from "../command.ts";
import { type Received, startReceiver } from "../receiver.ts";
import { clock, onStop, type Palette, paletteOf, printable } from "../terminal.ts";

/** Most of a payload that is shown, in characters. */
const MAX_SHOWN = 16_384;
const MAX_DELAY_MS = 3_600_000;

export const listen = command({
  name: "listen",
  summary: "Runs a local receiver that verifies, prints, and can misbehave",
  about:
    `A receiver for developers. Verifies X-BookMe-Signature and webhook-signature and names what
is wrong with a signature, prints one line per request (and the payload on a terminal), marks
repeated events, and answers 200, or 401 to a wrong signature. Without --secret it makes a new one.
Prints the lines for config.yaml; Ctrl-C stops it.`,
  options: {
    port: { type: "string", default: "9000", value: "PORT", about: "Port; 0 picks a free one" },
    host: { type: "string", default: "127.0.0.1", value: "ADDRESS", about: "Address to listen on" },
    path: { type: "string", default: "/webhooks/bookme", value: "PATH", about: "Path of the URL" },
    secret: { type: "string", value: SECRET_VALUE, about: "Source of the secret" },
    "previous-secret": {
      type: "string",
      multiple: true,
      value: SECRET_VALUE,
      about: "An earlier secret, to recognise it; repeatable",
    },
    status: { type: "string", value: "CODE", about: "Answer every request with this status" },
    delay: { type: "string", default: "0s", value: "TIME", about: "Wait before each answer" },
    "fail-first": {
      type: "string",
      default: "0",
      value: "N",
      about: "Answer 503 to the first N requests of each event",
    },
    json: { type: "boolean", about: "Print one JSON object per request" },
  },
  examples: [
    ["bookme-webhooks listen", "With a new secret; paste what it prints"],
    ["bookme-webhooks listen --secret file:crm.secret --port 9001", "With the secret of crm"],
    ["bookme-webhooks listen --fail-first 2", "Watch retries"],
    ["bookme-webhooks listen --status 500 --delay 5s", "Watch slow failures"],
  ],
  async run({ io, values }) {
    const { host, path, json } = values;
    if (!/^\/[!-~]*$/.test(path) || /[?#]/.test(path)) {
      throw new UsageError("--path must begin with / and have no spaces, ? or #");
    }
    const options = {
      host,
      path,
      port: integer("--port", values.port, 0, 65_535),
      delay_ms: duration("--delay", values.delay, MAX_DELAY_MS),
      fail_first: integer("--fail-first", values["fail-first"], 0, 1_000_000),
      ...(values.status === undefined
        ? {}
        : { status: integer("--status", values.status, 200, 599) }),
    };
    const secret = values.secret === undefined
      ? makeSecret(new Uint8Array(randomBytes(32)))
      : await readSecret(io, "--secret", values.secret);
    const mistake = secretMistake(secret);
    if (mistake !== undefined) throw new UsageError(`--secret: ${mistake}`);
    const previous = await readPrevious(io, values["previous-secret"]);

    const palette = paletteOf(io);
    const received = (request: Received) => {
      if (json) io.out(jsonLine(request));
      else io.out(describe(request, palette, io.isTerminal));
    };
    const receiver = await startReceiver({ ...options, keys: { secret, previous }, received });
    const stopped = Promise.withResolvers<void>();
    using _ = onStop(stopped.resolve);
    const say = json ? io.err : io.out;
    say(`${palette.bold("Listening")} on ${receiver.url}; Ctrl-C stops it\n`);
    say(snippet(receiver.url, values.secret, secret));
    await stopped.promise;
    await receiver.stop();
    return 0;
  },
});

/** What to put into the configuration for this receiver. */
function snippet(url: string, reference: string | undefined, secret: string): string {
  // A wildcard is where to listen, not where to send to.
  const target = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
  const where = reference === undefined
    ? `${secret}    # new at each start; keep one with --secret`
    : reference === "-"
    ? "env:LISTEN_SECRET    # the one that was given"
    : reference.startsWith("file:")
    ? JSON.stringify(`file:${resolve(reference.slice("file:".length))}`)
    : reference;
  return `For config.yaml (entries of one section belong together):

secrets:
  listen: ${where}
endpoints:
  - id: listen
    url: ${target}
    secret: listen
    events: ["*"]
`;
}

/** A request in words: one line, what is wrong with its signatures, and, if wanted, its payload. */
export function describe(request: Received, palette: Palette, with_payload: boolean): string {
  const { type, event_id, attempt, test, duplicate, verified, status } = request;
  const good = status >= 200 && status < 300;
  const line = [
    palette.dim(clock(request.at_ms)),
    palette.bold(printable(type ?? "no X-BookMe-Event").padEnd(17)),
    printable(event_id ?? "no event id"),
    `attempt ${printable(attempt ?? "?")}`,
    verified ? palette.green("✓ verified") : palette.red("✗ not verified"),
    (good ? palette.green : palette.red)(String(status)),
    ...(duplicate ? [palette.yellow("duplicate")] : []),
    ...(test ? [palette.cyan("test")] : []),
  ].join("  ");
  return [
    line,
    ...signatureLines(request).map((text) => palette.red(`          ${text}`)),
    ...(with_payload ? [payloadLines(request.body).map((text) => `    ${text}`).join("\n")] : []),
  ].join("\n");
}

function signatureLines({ verified, bookme, standard }: Received): string[] {
  if (verified) return [];
  return [
    `X-BookMe-Signature ${bookme.valid ? "✓" : `✗ ${bookme.text}`}`,
    `webhook-signature  ${standard.valid ? "✓" : `✗ ${standard.text}`}`,
  ];
}

function payloadLines(body: Uint8Array): string[] {
  const text = new TextDecoder().decode(body);
  let shown = text;
  try {
    // A payload with line breaks is shown as received.
    if (!text.trim().includes("\n")) shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Not JSON, or nested too deeply: as it came.
  }
  const more = shown.length - MAX_SHOWN;
  return [
    ...shown.slice(0, MAX_SHOWN).split(/\r?\n/).map(printable),
    ...(more > 0 ? [`… and ${more} more characters`] : []),
  ];
}

/** A request as one line of JSON. */
export function jsonLine(request: Received): string {
  const { at_ms, body, bookme, standard, ...rest } = request;
  // A JSON text has these characters only in its strings, where the escape means the same.
  return printable(JSON.stringify({
    time: new Date(at_ms).toISOString(),
    ...rest,
    attempt: rest.attempt === null ? null : Number(rest.attempt),
    x_bookme_signature: bookme.valid ? "valid" : bookme.mistakes.join(" "),
    webhook_signature: standard.valid ? "valid" : standard.mistakes.join(" "),
    payload: new TextDecoder().decode(body),
  }));
}
