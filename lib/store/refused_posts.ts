import type { Sql } from "postgres";
import type { Refusal } from "../core/refusals.ts";
import { literal, texts } from "./arrays.ts";
import { HOURS_KEPT_MS, MINUTES_KEPT_MS } from "./stats.ts";

/** Refused posts of one kind since a daemon last wrote them down. */
export interface Refused {
  readonly refusal: Refusal;
  readonly posts: number;
  /** By the database's clock, in milliseconds since 1970. */
  readonly last_at: number;
  readonly last_address: string | null;
}

/** Adds refused posts to the counts of the minute and the hour in which the last of each kind came. */
export async function addRefused(sql: Sql, refused: readonly Refused[]): Promise<void> {
  await sql`
    insert into refused_posts as p (span, starts_at, refusal, posts, last_at, last_address)
    select span, date_trunc(span, r.last_at, 'UTC'), r.refusal, r.posts, r.last_at, r.last_address
    from unnest(
      string_to_array(${texts(refused.map((r) => r.refusal))}, chr(30)),
      ${literal(refused.map((r) => r.posts))}::bigint[],
      string_to_array(${
    texts(refused.map((r) => new Date(r.last_at).toISOString()))
  }, chr(30))::timestamptz[],
      string_to_array(${texts(refused.map((r) => r.last_address))}, chr(30), '')
    ) as r (refusal, posts, last_at, last_address), unnest(array['minute', 'hour']) as span
    -- Sorted, so that two daemons cannot deadlock.
    order by span, r.refusal
    on conflict (span, starts_at, refusal) do update set posts = p.posts + excluded.posts,
      last_at = greatest(p.last_at, excluded.last_at),
      last_address = case when excluded.last_at >= p.last_at
        then excluded.last_address else p.last_address end`;
}

/** Removes up to `limit` old counts of each span, of the age of `purgeStats`. */
export async function purgeRefused(sql: Sql, limit: number): Promise<number> {
  const rows = await sql`
    delete from refused_posts where ctid = any(array(
      select ctid from refused_posts
      where (span = 'minute' and starts_at < now() - ${MINUTES_KEPT_MS}::bigint * interval '1 ms')
        or (span = 'hour' and starts_at < now() - ${HOURS_KEPT_MS}::bigint * interval '1 ms')
      limit ${limit}))
    returning 1`;
  return rows.length;
}
