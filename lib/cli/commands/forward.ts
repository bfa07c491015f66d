import { lookup } from "node:dns/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type {
  Attempt,
  DeliveryDetail,
  Endpoint,
  EventSummary,
  StreamDelivery,
  StreamMany,
} from "../../admin/shown.ts";
import { hostPort, isLoopback, portOf } from "../../core/address.ts";
import { AppError, messageOf } from "../../core/errors.ts";
import { inWords } from "../../core/explain.ts";
import { REDACTED } from "../../core/secret.ts";
import { counted } from "../../core/units.ts";
import { command, UsageError } from "../command.ts";
import { type Api, API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { send } from "../daemon_api/request.ts";
import { clock, type Io, paletteOf, printable, stoppable } from "../terminal.ts";
import { took } from "./delivery.ts";

/** How long the local receiver may take: the default of an endpoint. */
const PATIENCE_MS = 30_000;
const MIN_WAIT_MS = 1_000;
const MAX_WAIT_MS = 30_000;
/** Deliveries whose attempts are remembered, so that none is forwarded twice. */
const MAX_KNOWN = 10_000;
/** An attempt may be recorded a little after its end. */
const SLACK_MS = 1_000;

export const forward = command({
  name: "forward",
  summary: "Hands what an endpoint is sent to a local address as well, as it happens",
  about:
    `For developing a receiver against real events: posts each attempt to the endpoint to --to too, with
the same bytes, headers and signatures, and prints the local answer next to the real one. The real
delivery stays as it is. --to must lead to this machine. Continues by itself after a restart of
the daemon; Ctrl-C stops it with a summary. The token must show payloads; that of a portal link will
do.`,
  options: {
    endpoint: {
      type: "string",
      value: "ID",
      completes: "endpoints",
      about: "Endpoint whose attempts are forwarded",
    },
    to: { type: "string", value: "URL", about: "Where to, such as http://127.0.0.1:3000/webhooks" },
    json: { type: "boolean", about: "Print one JSON object per attempt" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks forward --endpoint crm --to http://127.0.0.1:3000/webhooks", "At the daemon"],
    [
      "bookme-webhooks forward --endpoint ep_… --to http://localhost:3000/ \\\n" +
      "    --url https://hooks.example.com --token env:PORTAL_TOKEN",
      "From anywhere, with the token of a portal link",
    ],
  ],
  async run({ io, values }) {
    const { endpoint, to, json } = values;
    if (endpoint === undefined) throw new UsageError("--endpoint is missing");
    if (to === undefined) throw new UsageError("--to is missing");
    const local = await localTarget(to);
    const api = await openApi(io, values);
    const say = json ? io.err : io.out;
    await look(api, endpoint, say);
    using stop = stoppable();
    const forwarder = makeForwarder(io, api, local, json, stop.signal);
    await followEndpoint(io, api, endpoint, stop.signal, {
      ready: () => say(`Forwarding ${endpoint} to ${local.shown}; Ctrl-C stops it`),
      delivery: forwarder.forward,
    });
    say(forwarder.summary());
    return 0;
  },
});

/** A local receiver. */
interface Local {
  readonly shown: string;
  /** The same URL at each address of its host. */
  readonly urls: readonly URL[];
  readonly host: string;
}

/** Where `--to` leads. Throws a `UsageError` unless that is this machine. */
export async function localTarget(text: string): Promise<Local> {
  const url = URL.parse(text);
  const refused = (why: string) =>
    new UsageError(`--to ${why}: give an address of this machine, such as http://127.0.0.1:3000/`);
  if (url === null || url.protocol !== "http:") throw refused("must be an http URL");
  if (url.username !== "" || url.password !== "" || url.hash !== "") {
    throw refused("must have no user, password or fragment");
  }
  const name = url.hostname.replace(/^\[|\]$/g, "");
  if (!isLoopback(name)) throw refused(`leads to ${printable(name)}, not to this machine`);
  const found = name === "localhost"
    ? (await lookup(name, { all: true })).map(({ address }) => address)
    : [name];
  const other = found.find((address) => !isLoopback(address));
  if (other !== undefined) throw refused(`leads to ${other}, which localhost is here`);
  const at = (address: string) =>
    new URL(url.pathname + url.search, `http://${hostPort(address, portOf(url))}`);
  return { shown: url.href, urls: found.map(at), host: url.host };
}

/** Checks that there is something to be forwarded, and says what cannot be. */
async function look(api: Api, id: string, say: (line: string) => void): Promise<void> {
  const endpoint = await api.get<Endpoint>(`endpoints/${pathPart(id)}`);
  const { data: [event] } = await api.list<EventSummary>("events", {}, 1);
  if (event?.payload_hidden === true) throw hidden(api);
  const names = Object.keys(endpoint.headers);
  if (names.length > 0) {
    say(`Without ${names.join(", ")}: values of an endpoint's own headers are not shown`);
  }
  if (endpoint.paused) {
    const until = endpoint.next_probe_at === null
      ? "nothing is sent until it is resumed"
      : "one delivery is tried each hour, and the rest is sent once one arrives";
    say(`The endpoint ${id} is paused: ${until}`);
  }
}

function hidden({ token_name }: Api): AppError {
  return new AppError(
    "forbidden",
    `Payloads are hidden from the token ${token_name} (payloads: false), so nothing can be forwarded; ` +
      "name another one with --token",
  );
}

/** Who hears what the stream says. */
interface Hearing {
  readonly ready: () => void;
  /** `since_ms`: when the first stream began, by the database's clock. */
  readonly delivery: (delivery: StreamDelivery, since_ms: number) => Promise<void>;
}

/** Follows an endpoint until `signal` aborts, over outages and restarts of the daemon. */
async function followEndpoint(
  io: Io,
  api: Api,
  endpoint: string,
  signal: AbortSignal,
  hearing: Hearing,
): Promise<void> {
  let since_ms: number | undefined;
  let last_id: string | undefined;
  let wait_ms = MIN_WAIT_MS;
  while (!signal.aborted) {
    let why = "The daemon ended the stream";
    try {
      for await (const { event, data, id } of api.follow({ endpoint }, last_id, signal)) {
        wait_ms = MIN_WAIT_MS;
        if (event === "ready" && since_ms === undefined) {
          since_ms = Date.parse(JSON.parse(data).at);
          hearing.ready();
        }
        if (event === "delivery") await hearing.delivery(JSON.parse(data), since_ms ?? 0);
        if (event === "many") io.err(tooMany(JSON.parse(data)));
        if (event === "reset") {
          io.err("Attempts of the meantime are missing: the daemon was away long");
        }
        // Only now: what was cut off within is said again.
        last_id = id ?? last_id;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (since_ms === undefined || !isPassing(error)) throw error;
      why = messageOf(error);
    }
    if (signal.aborted) return;
    io.err(`${why}; connecting again in ${inWords(wait_ms)}`);
    await sleep(wait_ms, undefined, { signal }).catch(() => {});
    wait_ms = Math.min(wait_ms * 2, MAX_WAIT_MS);
  }
}

function isPassing(error: unknown): boolean {
  return error instanceof AppError && /^(unavailable|too_many_requests)$/.test(error.code);
}

function tooMany({ deliveries }: StreamMany): string {
  return `${deliveries} deliveries changed at once, too many to be forwarded; a replay with --rate ` +
    "sends them slowly enough";
}

/** What the local receiver answered, or why there is no answer. */
type LocalAnswer =
  | { readonly status: number; readonly duration_ms: number }
  | { readonly error: string };

function makeForwarder(io: Io, api: Api, local: Local, json: boolean, signal: AbortSignal) {
  // The last attempt of each delivery that was forwarded.
  const known = new Map<string, number>();
  let attempts = 0;
  let good = 0;
  let deliveries = 0;

  async function forward(delivery: StreamDelivery, since_ms: number): Promise<void> {
    const { id } = delivery;
    const last = known.get(id) ?? 0;
    if (delivery.attempts <= last) return;
    const detail = await readDelivery(api, id);
    const isNew = ({ number, ended_at }: Attempt) =>
      number > last && Date.parse(ended_at) >= since_ms - SLACK_MS;
    for (const attempt of detail?.attempts.filter(isNew) ?? []) {
      if (attempt.payload_hidden) throw hidden(api);
      const answer = await post(attempt, local, signal);
      if (signal.aborted) return;
      if (!known.has(id)) deliveries++;
      known.set(id, attempt.number);
      attempts++;
      if (isGood(answer)) good++;
      const line = json ? jsonLine : textLine;
      io.out(line(io, delivery, attempt, answer));
    }
    const [oldest] = known.keys();
    if (known.size > MAX_KNOWN && oldest !== undefined) known.delete(oldest);
  }

  return {
    forward,
    summary: () =>
      `Forwarded ${counted(attempts, "attempt")} of ${
        counted(deliveries, "delivery", "deliveries")
      }; ` +
      `${good} answered 2xx here`,
  };
}

/** A delivery with its attempts; undefined if it was purged meanwhile. */
async function readDelivery(api: Api, id: string): Promise<DeliveryDetail | undefined> {
  try {
    return await api.get<DeliveryDetail>(`deliveries/${pathPart(id)}`);
  } catch (error) {
    if (error instanceof AppError && error.code === "not_found") return undefined;
    throw error;
  }
}

/** Posts what an attempt sent, in the same bytes. */
async function post({ request }: Attempt, local: Local, signal: AbortSignal): Promise<LocalAnswer> {
  if (request === null) return { error: "not forwarded, as nothing was sent" };
  const { body } = request;
  if (body === null) return { error: "not forwarded, as the payload is gone" };
  const shown = Object.entries(request.headers).filter(([, value]) => value !== REDACTED);
  const headers = { ...Object.fromEntries(shown), Host: local.host };
  const options = { method: "POST", headers, body, patience_ms: PATIENCE_MS, signal } as const;
  let error = "";
  for (const url of local.urls) {
    const from_ms = performance.now();
    try {
      const { status } = await send(url, options);
      return { status, duration_ms: performance.now() - from_ms };
    } catch (failure) {
      error = messageOf(failure);
      // `localhost` has two addresses, and a receiver may listen at one of them.
      if (!/ECONNREFUSED|refused/.test(error)) break;
    }
  }
  return { error };
}

function isGood(answer: LocalAnswer): boolean {
  return "status" in answer && answer.status >= 200 && answer.status < 300;
}

function textLine(io: Io, delivery: StreamDelivery, attempt: Attempt, answer: LocalAnswer): string {
  const { dim, bold, green, red } = paletteOf(io);
  const here = "error" in answer
    ? printable(answer.error)
    : `${answer.status} in ${took(answer.duration_ms)}`;
  const there = attempt.status === null ? attempt.outcome : String(attempt.status);
  return [
    dim(clock(Date.parse(attempt.ended_at))),
    bold(printable(delivery.type).padEnd(17)),
    printable(delivery.id),
    `attempt ${attempt.number}`,
    `here ${(isGood(answer) ? green : red)(here)}`,
    `there ${(attempt.outcome === "delivered" ? green : red)(there)}`,
  ].join("  ");
}

function jsonLine(_: Io, delivery: StreamDelivery, attempt: Attempt, answer: LocalAnswer): string {
  return printable(JSON.stringify({
    time: attempt.ended_at,
    type: delivery.type,
    event_id: delivery.event_id,
    delivery_id: delivery.id,
    attempt: attempt.number,
    here: answer,
    there: { outcome: attempt.outcome, status: attempt.status },
  }));
}
