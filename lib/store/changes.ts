import type { PendingQuery, Row, Sql } from "postgres";

/** Who does something: the name of an admin token, or what in the program does it by itself. */
export interface Actor {
  readonly name: string;
  /** Where from; null where it comes from the program itself. */
  readonly address: string | null;
}

/** A change as the audit log keeps it. Never a secret in it. */
export interface Change {
  readonly actor: Actor;
  /** `endpoint.created` */
  readonly action: string;
  /** Id of what was changed. */
  readonly object: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** The part of a statement between `with` and `select`. */
export type Fragment = PendingQuery<Row[]>;

/**
 * The CTE `logged`: writes the change to the audit log, in the statement that makes it, where the CTE
 * `changed` has a row.
 */
export function logged(sql: Sql, change: Change): Fragment {
  const { actor, action, object } = change;
  return sql`logged as (
    insert into audit (actor, address, action, object, before, after)
    select ${actor.name}, ${actor.address}, ${action}, ${object},
      ${json(change.before)}::text::jsonb, ${json(change.after)}::text::jsonb
    from (select from changed limit 1) one
  )`;
}

function json(value: unknown): string | null {
  return value == null ? null : JSON.stringify(value);
}

/**
 * The CTEs `revised` and `told`: where `changed` has a row, the endpoints have a new revision and every
 * daemon is told. `told` must be joined by the statement, or it does nothing.
 */
export const ANNOUNCED = `
  revised as (
    update fleet set revision = revision + 1 where exists (select from changed)
  ), told as materialized (
    select pg_notify('bookme_webhooks', 'fleet') where exists (select from changed)
  )`;

/**
 * The CTEs `back` and `owed`: the ended deliveries in the CTE `chosen` are pending again, due now, for a
 * new round of attempts. Their tokens and attempts go on counting.
 */
export const RENEW_CHOSEN = `
  back as (
    delete from ended_deliveries where id = any(array(select id from chosen)) returning *
  ), owed as (
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, token, attempts,
      last_outcome, last_status, last_attempt_at)
    select id, event_id, endpoint_no, created_at, now(), token, attempts, last_outcome, last_status,
      last_attempt_at
    from back
    returning id, endpoint_no
  )`;
