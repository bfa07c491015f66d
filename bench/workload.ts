/**
 * The events that the bench sends, the same bytes for every contender: the documentation's
 * `booking.created` with the number of the event at the end, so that a receiver and a database can
 * say which one they saw. Runs under Deno and Node.
 */

const BEFORE =
  '{"event":"booking.created","timestamp":"2025-10-31T15:30:00Z","data":{"appointment":' +
  '{"id":"apt_789","confirmationNumber":"BK7X9M2P","business":{"id":"';
const MIDDLE = '","name":"Bella Hair Salon","slug":"bella-hair-salon"},"service":{"id":"svc_456",' +
  '"name":"Haircut & Style","duration":60,"price":7500},"customer":{"name":"John Doe",' +
  '"email":"john@example.com","phone":"+1-555-0199"},"appointmentDate":"2025-11-01",' +
  '"startTime":"10:00","endTime":"11:00","status":"pending","notes":"First time customer",' +
  '"createdAt":"2025-10-31T15:30:00Z"},"number":"';
const AFTER = '"}}';

/** Digits of an event's number, which stands just before the last three characters of its body. */
export const NUMBER_DIGITS = 8;

/** How the body is put together, for SQL that makes the same one. */
export const BODY_PARTS = { before: BEFORE, middle: MIDDLE, after: AFTER } as const;

/** The business that makes an event owed to one endpoint only. */
export function businessOf(endpoint: number): string {
  return `bus_${endpoint}`;
}

/** The body of one event. */
export function bodyOf(number: number, business: string): string {
  return BEFORE + business + MIDDLE + String(number).padStart(NUMBER_DIGITS, "0") + AFTER;
}

/** The number in a body, read from its end. */
export function numberIn(body: Uint8Array, end: number): number {
  let number = 0;
  for (let i = end - AFTER.length - NUMBER_DIGITS; i < end - AFTER.length; i++) {
    number = number * 10 + (body[i] ?? 48) - 48;
  }
  return number;
}

/** The secret of every endpoint. */
export const SECRET = "whsec_YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2g=";
