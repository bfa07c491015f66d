/**
 * Identifiers. Internally, events and deliveries have UUIDs (version 7, RFC 9562), which sort by time
 * and index well; outside they are `evt_…`, `dlv_…`, `att_…` in Crockford base32.
 *
 * An event's last 32 bits are zero, and a delivery is its event with the endpoint's number in those
 * bits. So the primary key limits an event to one delivery per endpoint, and the deliveries of an event
 * are a range of that key: they need no index on the event.
 */

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const EVENT_CHARS = 20; // 100 bits, of which 96 are the identifier
const FULL_CHARS = 26; // 130 bits, of which 128 are
const ATTEMPT_CHARS = 3; // an attempt's number, after its delivery
const [DASH, ZERO, LOWER_A] = [45, 48, 97]; // character codes

/** Makes event UUIDs. */
export interface EventIds {
  /** A new event UUID, greater than all before it, in its canonical text form. */
  next(now_ms: number): string;
}

const TAIL_END = 2 ** 42; // of the 42 bits after the clock's
const STEP_BITS = 26;

/**
 * A source of event UUIDs. `random` returns 32 random bits. The 42 bits after the clock begin each
 * millisecond with 41 random bits, and grow by a random step of up to 2^26 (RFC 9562, 6.2, method 2).
 * When they are used up, after 32,768 ids or more, or while the clock is behind the last id, ids
 * continue in the last millisecond used or the one after it. Sources of two processes may meet, once in
 * 2^41 pairs of the same millisecond: the primary key of `events` refuses the second.
 */
export function makeEventIds(random: () => number): EventIds {
  let last_ms = -1;
  let tail = 0;

  function begin(ms: number): void {
    last_ms = ms;
    tail = random() * 2 ** 9 + (random() >>> 23);
  }

  return {
    next(now_ms) {
      const ms = Math.floor(now_ms);
      if (ms > last_ms) begin(ms);
      else {
        tail += 1 + (random() >>> (32 - STEP_BITS));
        if (tail >= TAIL_END) begin(last_ms + 1);
      }
      const time = hex(last_ms, 12);
      const a = hex(Math.floor(tail / 2 ** 30), 3);
      const b = hex(0x80000000 + tail % 2 ** 30, 8);
      return `${time.slice(0, 8)}-${time.slice(8)}-7${a}-${b.slice(0, 4)}-${b.slice(4)}00000000`;
    },
  };
}

/** UUID of the delivery of `event` (a UUID) to the endpoint with this internal number. */
export function deliveryUuid(event: string, endpoint_no: number): string {
  return event.slice(0, 28) + hex(endpoint_no, 8);
}

/** The internal number of the endpoint that a delivery's UUID ends with. */
export function endpointNoOf(delivery_uuid: string): number {
  return Number.parseInt(delivery_uuid.slice(28).replace("-", ""), 16);
}

/** `evt_…` of an event UUID. */
export function eventId(uuid: string): string {
  return "evt_" + encode(uuid.slice(0, 28), EVENT_CHARS);
}

/** `dlv_…` of a delivery UUID. */
export function deliveryId(uuid: string): string {
  return "dlv_" + encode(uuid, FULL_CHARS);
}

/** `att_…` of a delivery's attempt with this number: unique, so it need not be stored. */
export function attemptId(delivery_uuid: string, number: number): string {
  return "att_" + encode(delivery_uuid, FULL_CHARS) +
    ALPHABET.charAt((number >>> 10) & 31) + ALPHABET.charAt((number >>> 5) & 31) +
    ALPHABET.charAt(number & 31);
}

/** The UUID of an `evt_…`, or undefined for any other text. */
export function parseEventId(id: string): string | undefined {
  const digits = decode(id, "evt_", EVENT_CHARS, 24);
  return digits === undefined ? undefined : uuid(digits + "00000000");
}

/** The UUID of a `dlv_…`, or undefined for any other text. */
export function parseDeliveryId(id: string): string | undefined {
  const digits = decode(id, "dlv_", FULL_CHARS, 32);
  return digits === undefined ? undefined : uuid(digits);
}

/**
 * The UUID of the event that an `evt_…`, a `dlv_…` or an `att_…` belongs to, or undefined. Takes capitals
 * in front too: it reads what people search for.
 */
export function parseEventOf(text: string): string | undefined {
  const id = text.slice(0, 4).toLowerCase() + text.slice(4);
  const delivery = id.startsWith("att_") ? `dlv_${id.slice(4, 4 + FULL_CHARS)}` : id;
  const uuid = parseDeliveryId(delivery);
  if (uuid === undefined) return parseEventId(id);
  if (id.startsWith("att_") && id.length !== 4 + FULL_CHARS + ATTEMPT_CHARS) return undefined;
  return uuid.slice(0, 28) + "00000000";
}

/** The delivery and the number of an `att_…`, or undefined for any other text. */
export function parseAttemptId(
  id: string,
): { readonly delivery_id: string; readonly number: number } | undefined {
  const [digits, number] = [id.slice(4, 4 + FULL_CHARS), id.slice(4 + FULL_CHARS).toLowerCase()];
  if (!id.startsWith("att_") || number.length !== ATTEMPT_CHARS) return undefined;
  const uuid = parseDeliveryId(`dlv_${digits}`);
  const values = Array.from(number, (char) => ALPHABET.indexOf(char));
  if (uuid === undefined || values.includes(-1)) return undefined;
  return { delivery_id: deliveryId(uuid), number: values.reduce((sum, one) => 32 * sum + one, 0) };
}

/** The time that an event's or a delivery's UUID begins with, in milliseconds since 1970. */
export function timeOfUuid(uuid: string): number {
  return Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16);
}

/** `rpl_…` of a replay's UUID, which is made like an event's. */
export function replayId(uuid: string): string {
  return "rpl_" + encode(uuid.slice(0, 28), EVENT_CHARS);
}

/** The UUID of a `rpl_…`, or undefined for any other text. */
export function parseReplayId(id: string): string | undefined {
  const digits = decode(id, "rpl_", EVENT_CHARS, 24);
  return digits === undefined ? undefined : uuid(digits + "00000000");
}

/** `lnk_…` of a portal link's UUID, which is made like an event's: these ids sort by time too. */
export function portalLinkId(uuid: string): string {
  return "lnk_" + encode(uuid.slice(0, 28), EVENT_CHARS);
}

/** A `lnk_…` as it is stored, or undefined for any other text. */
export function parsePortalLinkId(id: string): string | undefined {
  return decode(id, "lnk_", EVENT_CHARS, 24) === undefined ? undefined : id.toLowerCase();
}

/** `era_…` of an erasure's UUID, which is made like an event's. */
export function erasureId(uuid: string): string {
  return "era_" + encode(uuid.slice(0, 28), EVENT_CHARS);
}

/** The UUID of an `era_…`, or undefined for any other text. */
export function parseErasureId(id: string): string | undefined {
  const digits = decode(id, "era_", EVENT_CHARS, 24);
  return digits === undefined ? undefined : uuid(digits + "00000000");
}

/** `alr_…` of an alert's UUID, which is made like an event's. */
export function alertId(uuid: string): string {
  return "alr_" + encode(uuid.slice(0, 28), EVENT_CHARS);
}

/** The UUID of an `alr_…`, or undefined for any other text. */
export function parseAlertId(id: string): string | undefined {
  const digits = decode(id, "alr_", EVENT_CHARS, 24);
  return digits === undefined ? undefined : uuid(digits + "00000000");
}

/** `aud_…` of the UUID of an entry of the audit log. */
export function auditId(uuid: string): string {
  return "aud_" + encode(uuid, FULL_CHARS);
}

/** The UUID of an `aud_…`, or undefined for any other text. */
export function parseAuditId(id: string): string | undefined {
  const digits = decode(id, "aud_", FULL_CHARS, 32);
  return digits === undefined ? undefined : uuid(digits);
}

/** `ep_…` of an endpoint made by the admin API. `random` has 20 bytes, of which 100 bits count. */
export function endpointId(random: Uint8Array): string {
  return "ep_" + textOf(random.subarray(0, 20));
}

/** `dmn_…` of a daemon. `random` has 10 bytes, of which 50 bits count. */
export function daemonId(random: Uint8Array): string {
  return "dmn_" + textOf(random.subarray(0, 10));
}

function textOf(random: Uint8Array): string {
  return Array.from(random, (byte) => ALPHABET.charAt(byte & 31)).join("");
}

/** Below every UUID of an event. */
export const NO_UUID = "00000000-0000-0000-0000-000000000000";

/** Smallest event UUID of a time: the bound for paging and purging by time. */
export function firstUuidAt(now_ms: number): string {
  return uuid(hex(Math.max(0, Math.floor(now_ms)), 12) + "0".repeat(20));
}

function uuid(digits: string): string {
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-` +
    `${digits.slice(16, 20)}-${digits.slice(20)}`;
}

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, "0");
}

// Digit by digit without BigInt, and one string instead of one per digit: this runs for several headers
// of every attempt.
function encode(uuid: string, chars: number): string {
  const codes = new Array<number>(chars);
  let bits = 0;
  let held = 0; // bits not yet written
  for (let at = 0, written = 0; written < chars; at++) {
    const code = at < uuid.length ? uuid.charCodeAt(at) : ZERO;
    if (code === DASH) continue;
    bits = (bits << 4) | (code < 58 ? code - ZERO : code - LOWER_A + 10);
    held += 4;
    if (held < 5) continue;
    held -= 5;
    codes[written++] = ALPHABET.charCodeAt((bits >>> held) & 31);
    bits &= (1 << held) - 1;
  }
  return String.fromCharCode(...codes);
}

function decode(id: string, prefix: string, chars: number, width: number): string | undefined {
  if (!id.startsWith(prefix) || id.length !== prefix.length + chars) return undefined;
  const spelling = id.slice(prefix.length);
  // Without this, the Kelvin sign would pass: its lower case is a k.
  if (/[^0-9a-z]/i.test(spelling)) return undefined;
  const text = spelling.toLowerCase();
  let digits = "";
  for (let at = 0; at < text.length; at += 4) {
    let bits = 0;
    for (const char of text.slice(at, at + 4).padEnd(4, "0")) {
      const value = ALPHABET.indexOf(char);
      if (value < 0) return undefined;
      bits = (bits << 5) | value;
    }
    digits += hex(bits, 5);
  }
  // The rest is padding; anything else there is a different id that must not pass as this one.
  return /^0*$/.test(digits.slice(width)) ? digits.slice(0, width) : undefined;
}
