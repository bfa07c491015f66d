import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { loadConfig } from "../../config/load.ts";
import { AppError } from "../../core/errors.ts";
import { EVENT_TYPES, SAMPLE_BUSINESS } from "../../core/event_types.ts";
import { isObject } from "../../core/json.ts";
import { matchesType } from "../../core/matching.ts";
import { makeSecret } from "../../core/secret.ts";
import { makeSigner } from "../../core/signature.ts";
import type { Daemon } from "../../daemon.ts";
import { type Log, makeLog } from "../../observe/log.ts";
import { command, integer } from "../command.ts";
import { type DemoEvent, makeDemoEvents } from "./events.ts";
import { type Received, type Receiver, startReceiver } from "../receiver.ts";
import { send } from "../daemon_api/request.ts";
import { clock, type Io, onStop, type Palette, paletteOf, printable } from "../terminal.ts";

interface DemoEndpoint {
  readonly id: string;
  readonly events: readonly string[];
  /** How often it answers 503 to an event before it takes it. */
  readonly fail_first: number;
  readonly about: string;
}

const ENDPOINTS: readonly DemoEndpoint[] = [
  { id: "crm", events: ["booking.*"], fail_first: 0, about: "wants bookings only" },
  { id: "analytics", events: ["*"], fail_first: 0, about: "wants everything" },
  { id: "flaky", events: ["*"], fail_first: 2, about: "answers 503 twice to each event first" },
];

/** Seconds before each attempt: short, so that a recovery can be watched. */
const RETRY_S = [0, 2, 5];
const SEED = 20251031;
const PACE_MS = 1000;
const ONCE_TIMEOUT_MS = 60_000;

export const demo = command({
  name: "demo",
  summary: "Shows everything at work with made-up bookings; leaves nothing behind",
  about:
    `Starts the daemon on an embedded database in a temporary directory, with three endpoints on
this machine that verify signatures. One of them fails at first, so that you see retries. Posts
the eight samples of BookMe's documentation, then a booking event about every second, until Ctrl-C.
Prints how to open the dashboard, and the portal of one business, in a browser. Needs no
configuration and no network.`,
  options: {
    port: {
      type: "string",
      default: "8080",
      value: "PORT",
      about: "Port; a free one if it is taken",
    },
    once: {
      type: "boolean",
      about: "End once the eight samples have arrived everywhere; exit with 1 if one did not",
    },
  },
  examples: [
    ["bookme-webhooks demo", "The tour"],
    ["bookme-webhooks demo --once", "Test that it works on this machine"],
  ],
  async run({ io, values }) {
    const wanted = integer("--port", values.port, 0, 65_535);
    const stopping = new AbortController();
    using _ = onStop(() => stopping.abort());
    await using stack = new AsyncDisposableStack();
    const show = makeView(io);
    const stage = await setUp(stack, wanted, show);
    stack.defer(() => stop(stage.daemon));
    show.introduce(stage, wanted);
    const signal = stopping.signal;
    await postSamples(stage, io.isTerminal ? 300 : 0, signal);
    show.invite(stage, await makePortalLink(stage));
    if (values.once) return await judge(stage, signal);
    show.heading("Bookings, about one every second, until Ctrl-C:");
    await postBookings(stage, signal);
    show.summarise(stage);
    return 0;
  },
});

async function stop(daemon: Daemon): Promise<void> {
  // A second signal cuts off what is under way.
  using _ = onStop(() => void daemon.stop());
  await daemon.stop();
}

/** Everything that the demonstration consists of. */
interface Stage {
  readonly daemon: Daemon;
  readonly directory: string;
  readonly receivers: ReadonlyMap<string, Receiver>;
  readonly sign: (payload: string) => string;
  readonly tally: Tally;
  readonly show: View;
  readonly started_at_ms: number;
}

async function setUp(stack: AsyncDisposableStack, wanted: number, show: View): Promise<Stage> {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-demo-" });
  stack.defer(() => Deno.removeSync(directory, { recursive: true }));
  show.line(`Starting on an embedded PostgreSQL in ${directory} …`);
  const secrets = new Map(
    ["ingest", ...ENDPOINTS.map(({ id }) => id)].map((name) => [
      name,
      makeSecret(new Uint8Array(randomBytes(32))),
    ]),
  );
  const tally = makeTally();
  const receivers = new Map<string, Receiver>();
  for (const { id, fail_first } of ENDPOINTS) {
    const receiver = await startReceiver({
      path: `/${id}`,
      keys: { secret: secrets.get(id) ?? "" },
      fail_first,
      received(request) {
        show.received(id, request, tally.received(id, request));
      },
    });
    receivers.set(id, receiver);
    stack.defer(() => receiver.stop());
  }
  const path = `${directory}/config.yaml`;
  Deno.writeTextFileSync(path, configText(await freePort(wanted), receivers));
  const config = loadConfig(path, (name) => secrets.get(name.toLowerCase()));
  const { start } = await import("../../daemon.ts");
  const ingest = makeSigner(secrets.get("ingest") ?? "");
  return {
    daemon: await start(config, show.log),
    directory,
    receivers,
    sign: (payload) => ingest.bookme(new TextEncoder().encode(payload)),
    tally,
    show,
    started_at_ms: Date.now(),
  };
}

function configText(port: number, receivers: ReadonlyMap<string, Receiver>): string {
  const retry = RETRY_S.map((wait_s) => `${wait_s}s`).join(", ");
  const endpoints = ENDPOINTS.map(({ id, events }) =>
    `  - id: ${id}
    url: ${receivers.get(id)?.url}
    secret: ${id}
    events: ${JSON.stringify(events)}
`
  );
  return `environment: development
server: { listen: "127.0.0.1:${port}" }
database: { directory: ./data, min_free: 64MiB }
secrets:
  ingest: env:INGEST
${
    ENDPOINTS.map(({ id }) => `  ${id}: env:${id.toUpperCase()}\n`).join("")
  }ingest: { secret: ingest }
delivery: { timeout: 10s, retry: [${retry}] }
endpoints:
${endpoints.join("")}`;
}

/** The port, or 0 (any free one) where something else listens there. */
function freePort(port: number): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(0));
    probe.listen({ host: "127.0.0.1", port }, () => probe.close(() => resolve(port)));
  });
}

async function postSamples(stage: Stage, pause_ms: number, signal: AbortSignal): Promise<void> {
  stage.show.heading("The eight samples of BookMe's documentation, posted to /ingest:");
  for (const { name, sample } of EVENT_TYPES) {
    if (signal.aborted) return;
    await post(stage, { type: name, payload: sample });
    await pause(pause_ms, signal);
  }
}

async function postBookings(stage: Stage, signal: AbortSignal): Promise<void> {
  const events = makeDemoEvents(SEED);
  while (!signal.aborted) {
    await pause(PACE_MS * (0.6 + 0.8 * Math.random()), signal);
    if (!signal.aborted) await post(stage, events.next(Date.now()));
  }
}

/** A link to the portal of the business that the samples are about. */
async function makePortalLink({ daemon }: Stage): Promise<string> {
  const answer = await send(`${daemon.url}/api/portal-links`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${daemon.admin_token?.reveal()}`,
      "content-type": "application/json",
    },
    body: JSON.stringify({ business: SAMPLE_BUSINESS }),
  });
  const made: unknown = answer.status === 201 ? JSON.parse(answer.body) : null;
  if (isObject(made) && typeof made["url"] === "string") return made["url"];
  throw new AppError("conflict", `The portal link was answered ${answer.status}: ${answer.body}`);
}

async function post({ daemon, sign, tally, show }: Stage, event: DemoEvent): Promise<void> {
  tally.posted(event);
  show.posted(event);
  const answer = await send(`${daemon.url}/ingest`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-bookme-signature": sign(event.payload),
    },
    body: event.payload,
  });
  if (answer.status !== 202) {
    throw new AppError("conflict", `${event.type} was answered ${answer.status}: ${answer.body}`);
  }
}

async function pause(wait_ms: number, signal: AbortSignal): Promise<void> {
  // An aborted wait is a finished one: the caller looks at the signal.
  await sleep(wait_ms, undefined, { signal }).catch(() => {});
}

// --- what has happened -----------------------------------------------------------------------------

/** What a tally says of a request: how long after its event was posted it came. */
interface Arrival {
  readonly after_ms: number;
  /** Undefined where the bytes are not those of any event that was posted. */
  readonly event: DemoEvent | undefined;
}

interface EndpointTally {
  requests: number;
  refused: number;
  /** Payloads that arrived verified and were taken. */
  readonly taken: Set<string>;
}

interface Tally {
  posted(event: DemoEvent): void;
  received(endpoint: string, request: Received): Arrival;
  readonly events: ReadonlyMap<string, DemoEvent & { readonly at_ms: number }>;
  of(endpoint: string): EndpointTally;
}

function makeTally(): Tally {
  // By payload, because a request may arrive before the answer that tells the event's id.
  const events = new Map<string, DemoEvent & { at_ms: number }>();
  const endpoints = new Map<string, EndpointTally>(
    ENDPOINTS.map(({ id }) => [id, { requests: 0, refused: 0, taken: new Set() }]),
  );
  const of = (endpoint: string) => {
    const found = endpoints.get(endpoint);
    if (found === undefined) throw new RangeError(`No endpoint ${endpoint}`);
    return found;
  };
  return {
    events,
    of,
    posted: (event) => void events.set(event.payload, { ...event, at_ms: Date.now() }),
    received(endpoint, request) {
      const payload = new TextDecoder().decode(request.body);
      const event = events.get(payload);
      const tally = of(endpoint);
      tally.requests++;
      if (!request.verified || event === undefined) tally.refused++;
      else if (request.status === 200) tally.taken.add(payload);
      return { after_ms: request.at_ms - (event?.at_ms ?? request.at_ms), event };
    },
  };
}

/** How many of the posted events an endpoint is owed. */
function owed(endpoint: DemoEndpoint, tally: Tally): number {
  return [...tally.events.values()].filter(({ type }) => matchesType(endpoint.events, type)).length;
}

/** Waits until the daemon has nothing pending; then says whether everything arrived, as exit code. */
async function judge(stage: Stage, signal: AbortSignal): Promise<number> {
  const { daemon, tally, show } = stage;
  const headers = { authorization: `Bearer ${daemon.admin_token?.reveal()}` };
  const count = async (status: string): Promise<number> => {
    const { body } = await send(`${daemon.url}/api/deliveries?limit=200&status=${status}`, {
      headers,
    });
    const page: unknown = JSON.parse(body);
    if (!isObject(page) || !Array.isArray(page["data"])) throw new AppError("conflict", body);
    return page["data"].length;
  };
  const deadline = performance.now() + ONCE_TIMEOUT_MS;
  let pending = await count("pending");
  while (pending > 0 && performance.now() < deadline && !signal.aborted) {
    await pause(100, signal);
    pending = await count("pending");
  }
  const delivered = await count("delivered");
  const expected = ENDPOINTS.reduce((sum, endpoint) => sum + owed(endpoint, tally), 0);
  const faults = ENDPOINTS.flatMap((endpoint) => {
    const { taken, refused } = tally.of(endpoint.id);
    const missing = owed(endpoint, tally) - taken.size;
    return [
      ...(missing > 0 ? [`${endpoint.id}: ${missing} of the samples did not arrive`] : []),
      ...(refused > 0 ? [`${endpoint.id}: ${refused} requests were not as they were posted`] : []),
    ];
  });
  if (delivered !== expected) {
    faults.push(`The daemon reports ${delivered} deliveries as delivered, of ${expected}`);
  }
  show.summarise(stage);
  for (const fault of faults) show.fault(fault);
  return faults.length === 0 ? 0 : 1;
}

// --- what is shown ---------------------------------------------------------------------------------

interface View {
  readonly log: Log;
  line(text: string): void;
  heading(text: string): void;
  fault(text: string): void;
  introduce(stage: Stage, wanted: number): void;
  /** Says how to look into it in a browser. */
  invite(stage: Stage, portal_url: string): void;
  posted(event: DemoEvent): void;
  received(endpoint: string, request: Received, arrival: Arrival): void;
  summarise(stage: Stage): void;
}

const TYPE_WIDTH = Math.max(...EVENT_TYPES.map(({ name }) => name.length));
const SUBJECT_WIDTH = 10;
const ID_WIDTH = Math.max(...ENDPOINTS.map(({ id }) => id.length));

function makeView(io: Io): View {
  const palette = paletteOf(io);
  const { bold, dim, red, cyan } = palette;
  const line = io.out;
  return {
    line,
    log: { ...makeLog(io.err, "text"), info() {} },
    heading: (text) => line(`\n${bold(text)}\n`),
    fault: (text) => io.err(red(text)),
    introduce({ daemon, directory, receivers }, wanted) {
      if (wanted !== 0 && new URL(daemon.url).port !== String(wanted)) {
        line(`Port ${wanted} is taken; using a free one.`);
      }
      line(`Running at ${bold(daemon.url)}\n`);
      for (const { id, events, about } of ENDPOINTS) {
        const url = (receivers.get(id)?.url ?? "").padEnd(32);
        line(
          `  ${cyan(id.padEnd(ID_WIDTH))}  ${events.join(" ").padEnd(9)}  ${url}  ${dim(about)}`,
        );
      }
      const token = `${directory}/data/admin.token`;
      line(`\nThe admin token is in ${token}. Look at what it keeps of each delivery:\n`);
      line(
        `  curl -s -H "Authorization: Bearer $(cat ${token})" "${daemon.url}/api/deliveries?limit=5"`,
      );
    },
    invite({ daemon }, portal_url) {
      line(`\n${bold("In a browser, until the demo ends:")}\n`);
      line(`  Dashboard  ${cyan(`${daemon.url}/dashboard`)}`);
      // Not part of the address: that would stay in the browser's history.
      line(`  Token      ${daemon.admin_token?.reveal()}`);
      line(`  Portal     ${cyan(portal_url)}  ${dim(`of the business ${SAMPLE_BUSINESS}`)}`);
    },
    posted({ type, payload }) {
      line(
        `${dim(clock(Date.now()))}  ${bold(type.padEnd(TYPE_WIDTH))}  ${
          printable(aboutOf(payload).join("  "))
        }`,
      );
    },
    received: (endpoint, request, arrival) =>
      line(arrivalLine(endpoint, request, arrival, palette)),
    summarise({ tally, started_at_ms }) {
      const seconds = Math.round((Date.now() - started_at_ms) / 1000);
      line(`\n${bold(`${tally.events.size} events in ${seconds} s`)}`);
      for (const endpoint of ENDPOINTS) {
        const { taken, requests, refused } = tally.of(endpoint.id);
        const waiting = owed(endpoint, tally) - taken.size;
        line(
          `  ${cyan(endpoint.id.padEnd(ID_WIDTH))}  ${taken.size} delivered and verified, ` +
            `${requests} attempts` + (waiting > 0 ? `, ${waiting} not yet` : "") +
            (refused > 0 ? red(`, ${refused} not verified`) : ""),
        );
      }
    },
  };
}

function arrivalLine(
  endpoint: string,
  request: Received,
  { after_ms, event }: Arrival,
  { dim, red, green, yellow, cyan }: Palette,
): string {
  const { status, verified, bookme, standard } = request;
  const taken = status === 200;
  const attempt = Number(request.attempt);
  const wait_s = RETRY_S[attempt];
  const after = after_ms < 1000 ? `${after_ms} ms` : `${(after_ms / 1000).toFixed(1)} s`;
  const what = !verified
    ? red(`not verified: ${bookme.valid ? standard.text : bookme.text}`)
    : event === undefined
    ? red("not the bytes that were posted")
    : taken
    ? `verified after ${after}${attempt > 1 ? `, in attempt ${attempt}` : ""}`
    : yellow(wait_s === undefined ? "given up" : `attempt ${attempt}, again in ${wait_s} s`);
  const mark = taken ? green("✓") : red("✗");
  const [subject = ""] = event === undefined ? [] : aboutOf(event.payload);
  return [
    `${dim(clock(request.at_ms))}    ${mark} ${cyan(endpoint.padEnd(ID_WIDTH))}`,
    dim(printable(subject.slice(0, SUBJECT_WIDTH).padEnd(SUBJECT_WIDTH))),
    dim((event?.type ?? "").padEnd(TYPE_WIDTH)),
    (taken ? green : red)(String(status)),
    what,
  ].join("  ");
}

/** What an event is about, for a reader: first its confirmation number, name or id. */
function aboutOf(payload: string): string[] {
  const text = (value: unknown, ...path: string[]): string => {
    const found = path.reduce<unknown>((at, key) => isObject(at) ? at[key] : undefined, value);
    return typeof found === "string" ? found : "";
  };
  const event: unknown = JSON.parse(payload);
  const parts = [
    text(event, "data", "appointment", "confirmationNumber"),
    text(event, "data", "appointment", "customer", "name"),
    text(event, "data", "appointment", "service", "name"),
    text(event, "data", "appointment", "cancellationReason"),
    text(event, "data", "business", "name") || text(event, "data", "business", "id"),
    text(event, "data", "service", "name") || text(event, "data", "service", "id"),
  ];
  return parts.filter((part) => part !== "");
}
