import { createHash } from "node:crypto";
import { parseEventId } from "../../lib/core/ids.ts";
import { sleep } from "../support/wait.ts";
import type { Acknowledged } from "./ledger.ts";
import type { Random } from "./random.ts";

/** An event that is offered. */
interface Offer {
  readonly bytes: string;
  readonly hash: string;
  readonly booking: Booking;
  /** A text in its bytes that no other event has: receivers put it into their answers. */
  readonly mark: string;
  /** Ids of the endpoints that match it. */
  readonly owed_to: readonly string[];
}

/** An appointment, and the business that its events belong to. */
interface Booking {
  readonly id: string;
  readonly business: string;
}

/** One event or several. With a key it is repeated until it is acknowledged, else posted once. */
interface Post {
  readonly offers: readonly Offer[];
  readonly key: string | null;
}

/** Where a daemon listens. */
export interface Place {
  readonly hostname: string;
  readonly port: number;
}

export const LOOPBACK = "127.0.0.1";

/** The beginning of its URLs. */
export function originOf({ hostname, port }: Place): string {
  return `http://${hostname}:${port}`;
}

/** What a daemon answered to a post. */
export interface PostAnswer {
  readonly status: number;
  readonly body: string;
}

/** An event that was acknowledged, as it was offered. */
export interface AcknowledgedOffer
  extends Omit<Acknowledged, "owed_to">, Pick<Offer, "owed_to" | "mark"> {
  readonly subject: string;
  readonly business: string;
}

/** Posts events all the time, from several sides at once, and writes down what it was told. */
export interface Client {
  readonly acknowledged: readonly AcknowledgedOffer[];
  /** Posts that ended without an answer: they may have been stored or not. */
  readonly ambiguous: number;
  /** Answers 503. */
  readonly refused: number;
  /** Any other answers, as they came. */
  readonly strange: readonly string[];
  /** Begins or stops posting. What has a key goes on being repeated until it is acknowledged. */
  posting: boolean;
  /** Posts `count` events now, one by one; false where one is not acknowledged in time. */
  post(count: number, within_ms: number): Promise<boolean>;
  /** Resolves when nothing is left to repeat; false where that takes too long. */
  settled(within_ms: number): Promise<boolean>;
  stop(): Promise<void>;
}

export interface ClientOptions {
  readonly random: Random;
  /** Where to post to. */
  readonly places: readonly Place[];
  /** Ids of the endpoints that match an event of a type and a business. */
  readonly match: (type: string, business: string) => readonly string[];
  readonly events_per_s: number;
}

/** Bookings that later events are about, whose business they inherit. */
const MAX_BOOKINGS = 1_000;
const POSTERS = 6;
const PATIENCE_MS = 30_000;

/** Starts a client that does not post yet. */
export function startClient({ random, places, match, events_per_s }: ClientOptions): Client {
  const acknowledged: AcknowledgedOffer[] = [];
  const strange: string[] = [];
  const again: Post[] = [];
  const run = random.int(0, 0xffffff).toString(36);
  const bookings: Booking[] = [];
  let made = 0;
  let busy = 0;
  let ambiguous = 0;
  let refused = 0;
  let stopped = false;

  function makePost(size: number, keyed: boolean): Post {
    return {
      offers: Array.from({ length: size }, makeOffer),
      key: keyed ? `${run}-${made}` : null,
    };
  }

  function makeOffer(): Offer {
    const type = random.pick(TYPES);
    const name = `${run}_${++made}`;
    const is_heir = bookings.length > 0 && random.chance(0.3);
    const business = random.pick(["bus_1", "bus_2"]);
    const booking = is_heir ? random.pick(bookings) : { id: `apt_${business}_${name}`, business };
    const named = is_heir ? "" : `"business":{"id":"${booking.business}"},`;
    const mark = `~${booking.business}.${name}~`;
    const members = `"id":"${booking.id}",${named}"confirmationNumber":"${mark}"`;
    const bytes = textOf(type, members, random);
    const hash = createHash("sha256").update(bytes).digest("hex");
    return { bytes, hash, booking, mark, owed_to: match(type, booking.business) };
  }

  /** Whether it is done with. */
  async function offer(what: Post): Promise<boolean> {
    const answer = await post(random.pick(places), requestOf(what)).catch(() => undefined);
    if (answer?.status === 200 || answer?.status === 202) {
      takeDown(what, answer.body);
      return true;
    }
    if (answer === undefined) ambiguous++;
    // 408 from one that was frozen between a connection and its request. Nothing is stored then either.
    else if (answer.status === 503 || answer.status === 408) refused++;
    else strange.push(`${answer.status} ${answer.body.slice(0, 200)}`);
    return what.key === null;
  }

  function takeDown({ offers, key }: Post, body: string): void {
    const answers: { id: string; deliveries: number }[] = [JSON.parse(body)].flat();
    offers.forEach(({ hash, booking, owed_to, mark }, at) => {
      bookings.push(booking);
      const { id = "", deliveries = -1 } = answers[at] ?? {};
      acknowledged.push({
        event_id: parseEventId(id) ?? id,
        hash,
        key: key === null ? null : `${key}#${at}`,
        deliveries,
        owed_to,
        mark,
        subject: booking.id,
        business: booking.business,
      });
    });
    bookings.splice(0, bookings.length - MAX_BOOKINGS);
  }

  async function poster(): Promise<void> {
    while (!stopped) {
      const fresh = () => makePost(random.chance(0.7) ? 1 : random.int(2, 12), random.chance(0.5));
      const next = again.shift() ?? (client.posting ? fresh() : undefined);
      if (next === undefined) {
        await sleep(20);
        continue;
      }
      busy++;
      if (!await offer(next)) {
        again.push(next);
        await sleep(100);
      }
      busy--;
      await sleep((2_000 * POSTERS * next.offers.length * random.next()) / events_per_s);
    }
  }

  const client: Client = {
    acknowledged,
    strange,
    get ambiguous() {
      return ambiguous;
    },
    get refused() {
      return refused;
    },
    posting: false,
    async post(count, within_ms) {
      const end = performance.now() + within_ms;
      for (let i = 0; i < count; i++) {
        const one = makePost(1, true);
        while (!await offer(one)) {
          if (performance.now() > end) return false;
          await sleep(50);
        }
      }
      return true;
    },
    async settled(within_ms) {
      const end = performance.now() + within_ms;
      while ((again.length > 0 || busy > 0) && performance.now() < end) await sleep(50);
      return again.length === 0 && busy === 0;
    },
    async stop() {
      stopped = true;
      await Promise.all(posters);
    },
  };
  const posters = Array.from({ length: POSTERS }, poster);
  return client;
}

const TYPES = ["booking.created", "booking.confirmed", "booking.cancelled"];

// Spelled so that whoever parses and prints it again gives other bytes.
function textOf(type: string, members: string, random: Random): string {
  const odd = random.pick(['"caf\\u00e9"', '"\\u0000\\ud83d\\ude00"', "1e2", "1.0", '"ü \\/ 漢"']);
  const filler = "x".repeat(random.chance(0.05) ? 20_000 : random.int(0, 200));
  return `{ "event":"${type}" ,"timestamp":"2026-11-24T10:00:00Z","data":{"appointment":` +
    `{${members},"odd":${odd},"b":1,"a":2,"b2":"${filler}"}}}`;
}

function requestOf({ offers, key }: Post): string {
  const texts = offers.map(({ bytes }) => bytes);
  const body = texts.length === 1 ? texts.join("") : `[${texts.join(",\n ")}]`;
  const length = new TextEncoder().encode(body).length;
  return "POST /ingest HTTP/1.1\r\nHost: torture\r\nContent-Type: application/json\r\n" +
    (key === null ? "" : `Idempotency-Key: ${key}\r\n`) +
    `Content-Length: ${length}\r\nConnection: close\r\n\r\n${body}`;
}

/** One request on a connection of its own, never repeated by itself. Rejects without a whole answer. */
export async function post(place: Place, request: string): Promise<PostAnswer> {
  const connection = await connectTo(place);
  const timer = setTimeout(() => connection.close(), PATIENCE_MS);
  try {
    const bytes = new TextEncoder().encode(request);
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    const text = await new Response(connection.readable).text();
    const end = text.indexOf("\r\n\r\n");
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1]);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end))?.[1] ?? NaN);
    const body = text.slice(end + 4);
    if (end < 0 || new TextEncoder().encode(body).length < length) throw new Error("Cut off");
    return { status, body };
  } finally {
    clearTimeout(timer);
    try {
      connection.close();
    } catch {
      // The reader has closed it.
    }
  }
}

const CONNECT_MS = 3_000;

/** Connects to a daemon. Rejects when that takes long: one that takes nothing in keeps us for minutes. */
export async function connectTo(place: Place): Promise<Deno.TcpConn> {
  const connecting = Deno.connect({ hostname: place.hostname, port: place.port });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      connecting.then((connection) => connection.close(), () => {});
      reject(new Error(`No connection to ${place.hostname}:${place.port} within ${CONNECT_MS} ms`));
    }, CONNECT_MS);
  });
  try {
    return await Promise.race([connecting, late]);
  } finally {
    clearTimeout(timer);
  }
}
