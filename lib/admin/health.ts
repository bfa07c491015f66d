import { attemptsByHour, type HourRow } from "../store/reports/health.ts";
import type { AdminContext, Asker } from "./context.ts";
import { findEndpoint } from "./lookup.ts";

/** Attempts of one hour. */
export interface HealthBar {
  /** Its beginning and its end, ISO 8601. */
  readonly from: string;
  readonly to: string;
  readonly delivered: number;
  readonly failed: number;
}

const HOUR_MS = 3_600_000;

/** The attempts of an endpoint in each of the last `hours` hours, this one included, the oldest first. */
export async function getHealth(
  ctx: AdminContext,
  by: Asker,
  id: string,
  hours: number,
): Promise<HealthBar[]> {
  const { no } = await findEndpoint(ctx, by, id);
  return barsOf(await attemptsByHour(ctx.db.admin, by.scope, hours, [no]), hours, ctx.now());
}

/** Bars of the last `hours` hours at `now` (milliseconds since 1970); those without attempts are empty. */
export function barsOf(rows: readonly HourRow[], hours: number, now: number): HealthBar[] {
  const last = Math.floor(now / HOUR_MS) * HOUR_MS;
  const byHour = Map.groupBy(rows, ({ hour }) => hour);
  const sum = (found: readonly HourRow[], of: (row: HourRow) => number) =>
    found.reduce((total, row) => total + of(row), 0);
  return Array.from({ length: hours }, (_, at) => {
    const hour = last - (hours - 1 - at) * HOUR_MS;
    const found = byHour.get(hour) ?? [];
    return {
      from: new Date(hour).toISOString(),
      to: new Date(hour + HOUR_MS).toISOString(),
      delivered: sum(found, (row) => row.delivered),
      failed: sum(found, (row) => row.failed),
    };
  });
}
