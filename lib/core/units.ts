/**
 * Durations, sizes and rates as people write them, in the configuration, the API and on the command
 * line.
 */

import { invalid, show } from "./errors.ts";

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
  GB: 1_000_000_000,
  GiB: 1024 ** 3,
};
const RATE_UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/** The texts that `parseDuration` reads. */
export const DURATION = /^\d{1,9}(ms|s|m|h|d)$/;

/** Milliseconds of `500ms`, `30s`, `15m`, `6h` or `30d`. Throws an `AppError` for anything else. */
export function parseDuration(value: unknown): number {
  const [amount, unit] = split(value, DURATION) ??
    refuse(value, "a duration with its unit, such as 500ms, 30s, 15m, 6h or 30d");
  return amount * (DURATION_UNITS[unit] ?? NaN);
}

/** `90s` or `6h`: a whole number of milliseconds in its largest unit without a remainder. */
export function formatDuration(duration_ms: number): string {
  if (duration_ms === 0) return "0s";
  const [unit, size] = Object.entries(DURATION_UNITS)
    .findLast(([, size]) => duration_ms % size === 0) ?? ["ms", 1];
  return `${duration_ms / size}${unit}`;
}

/** Bytes of `64KiB`, `1MiB`, `1MB`, `2GiB` or `512B`. Throws an `AppError` for anything else. */
export function parseSize(value: unknown): number {
  const [amount, unit] = split(value, /^\d{1,9}(B|KB|KiB|MB|MiB|GB|GiB)$/) ??
    refuse(value, "a size with its unit, such as 64KiB or 1MiB");
  return amount * (SIZE_UNITS[unit] ?? NaN);
}

/** `312.4 MiB`: bytes for people, rounded down to a tenth of the largest unit that fits. */
export function formatSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  const value = Math.floor(bytes / 1024 ** power * 10) / 10;
  return `${value} ${units[power]}`;
}

/** Times per second of `50/s`, `300/m` or `1000/h`. Throws an `AppError` for anything else. */
export function parseRate(value: unknown): number {
  const [amount, unit] = split(value, /^\d{1,9}\/(s|m|h)$/) ??
    refuse(value, "a rate, such as 50/s or 300/m");
  return amount / (RATE_UNITS[unit] ?? NaN);
}

/** `50/s`, or per minute or hour if only that is a whole number. Null stays null. */
export function formatRate(per_s: number | null): string | null {
  if (per_s === null) return null;
  const isWhole = (value: number) => Math.abs(value - Math.round(value)) < 1e-6;
  const [unit, seconds] = Object.entries(RATE_UNITS)
    .find(([, seconds]) => isWhole(per_s * seconds)) ?? ["h", 3600];
  return `${Math.round(per_s * seconds)}/${unit}`;
}

function split(value: unknown, pattern: RegExp): readonly [number, string] | undefined {
  const found = typeof value === "string" ? pattern.exec(value) : null;
  return found === null ? undefined : [Number.parseInt(found[0]), found[1] ?? ""];
}

function refuse(value: unknown, wanted: string): never {
  throw invalid(`Must be ${wanted}, not ${show(value)}`);
}

/** `1 event`, `2 events`. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}
