/** Longest RFC 3339 date-time, in characters. */
const MAX_LENGTH = 64;

const DATE_TIME =
  /^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i;

/** Whether a text is an RFC 3339 date-time of a day that exists. PostgreSQL has no year 0000. */
export function isDateTime(text: string): boolean {
  return text.length <= MAX_LENGTH && DATE_TIME.test(text) && dayExists(text);
}

/** Whether the day that a text begins with exists: `2026-02-30` does not. */
export function dayExists(text: string): boolean {
  const [, year, month, day] = /^(\d{4})-(\d\d)-(\d\d)/.exec(text) ?? [];
  // Date reads years before 100 as 19xx; the calendar repeats every 400 years.
  const date = new Date(Date.UTC(2000 + Number(year) % 400, Number(month) - 1, Number(day)));
  return date.getUTCMonth() + 1 === Number(month) && date.getUTCDate() === Number(day);
}

/** An ISO 8601 time in UTC without the fraction of its second. */
export function inSeconds(time: string): string {
  return time.replace(/\.\d+Z$/, "Z");
}

/** The time of an RFC 3339 date-time, in milliseconds since 1970. */
export function millisecondsOf(date_time: string): number {
  // Date knows neither leap seconds nor lower-case letters.
  return Date.parse(date_time.toUpperCase().replace(/:60(?!\d|:)/, ":59"));
}
