import type { Sql } from "postgres";
import type { ErasureKind, ErasurePhase } from "../erasures.ts";
import { type Page, pageOf, type Paging } from "./page.ts";

/** An erasure and how far it is. */
export interface ErasureRow {
  readonly uuid: string;
  readonly created_at: Date;
  readonly created_by: string;
  readonly kind: ErasureKind;
  readonly dry_run: boolean;
  readonly first_uuid: string;
  readonly last_uuid: string;
  readonly phase: ErasurePhase;
  readonly position: string;
  /** Bigints, as text. */
  readonly scanned: string;
  readonly matched: string;
  readonly attempts: string;
  readonly cancelled: string;
  /** Events found that still have something. */
  readonly waiting: number;
  readonly state: "running" | "done" | "failed";
  readonly ended_at: Date | null;
}

const COLUMNS = `id as uuid, created_at, created_by, kind, dry_run, first_id as first_uuid,
  last_id as last_uuid, phase, position, scanned, matched, attempts, cancelled,
  jsonb_array_length(settling) as waiting, state, ended_at`;

/** One erasure, or undefined. */
export async function getErasure(sql: Sql, uuid: string): Promise<ErasureRow | undefined> {
  const [row] = await sql<ErasureRow[]>`
    select ${sql.unsafe(COLUMNS)} from erasures where id = ${uuid}::uuid`;
  return row;
}

/** Erasures, newest first. */
export async function listErasures(
  sql: Sql,
  { before, limit }: Paging,
): Promise<Page<ErasureRow>> {
  const rows = await sql<ErasureRow[]>`
    select ${sql.unsafe(COLUMNS)} from erasures
    where true ${before === undefined ? sql`` : sql`and id < ${before}::uuid`}
    order by id desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.uuid);
}
