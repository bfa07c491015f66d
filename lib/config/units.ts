import { AppError } from "../core/errors.ts";

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1000,
  KiB: 1024,
  MB: 1_000_000,
  MiB: 1024 * 1024,
};
const RATE_UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/** Milliseconds of `500ms`, `30s`, `15m`, `6h` or `30d`. Throws an `AppError` for anything else. */
export function parseDuration(value: unknown): number {
  const [amount, unit] = split(value, /^(\d{1,9})(ms|s|m|h|d)$/) ??
    refuse(value, "a duration with its unit, such as 500ms, 30s, 15m, 6h or 30d");
  return amount * (DURATION_UNITS[unit] ?? NaN);
}

/** Bytes of `64KiB`, `1MiB`, `1MB` or `512B`. Throws an `AppError` for anything else. */
export function parseSize(value: unknown): number {
  const [amount, unit] = split(value, /^(\d{1,9})(B|KB|KiB|MB|MiB)$/) ??
    refuse(value, "a size with its unit, such as 64KiB or 1MiB");
  return amount * (SIZE_UNITS[unit] ?? NaN);
}

/** Times per second of `50/s`, `300/m` or `1000/h`. Throws an `AppError` for anything else. */
export function parseRate(value: unknown): number {
  const [amount, unit] = split(value, /^(\d{1,9})\/(s|m|h)$/) ??
    refuse(value, "a rate, such as 50/s or 300/m");
  return amount / (RATE_UNITS[unit] ?? NaN);
}

/** A value in a message: quoted and cut short; what looks like a secret is left out. */
export function show(value: unknown): string {
  if (typeof value !== "string") {
    return value === null || typeof value !== "object"
      ? String(value)
      : Array.isArray(value)
      ? "a list"
      : "a mapping";
  }
  if (value.includes("whsec_")) return "a secret";
  return JSON.stringify(value.length > 60 ? value.slice(0, 60) + "…" : value);
}

function split(value: unknown, pattern: RegExp): readonly [number, string] | undefined {
  const found = typeof value === "string" ? pattern.exec(value) : null;
  return found === null ? undefined : [Number(found[1]), found[2] ?? ""];
}

function refuse(value: unknown, wanted: string): never {
  throw new AppError("invalid", `Must be ${wanted}, not ${show(value)}`);
}
