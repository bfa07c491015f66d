import type { Sql } from "postgres";

/** A session in force, as stored. */
export interface SessionRow {
  /** ISO 8601 */
  readonly expires_at: string;
  /** HMAC of the admin token, in hexadecimal digits; null for a portal session. */
  readonly token_proof: string | null;
  /** The portal link, which is in force too; null for an operator's session. */
  readonly link: {
    readonly id: string;
    readonly business: string;
    readonly read_only: boolean;
    /** ISO 8601 */
    readonly expires_at: string;
  } | null;
}

/** Stores an operator's session, for `life_ms`. Digests are SHA-256 in hexadecimal digits. */
export async function createTokenSession(
  sql: Sql,
  { digest, token_proof, life_ms }: {
    readonly digest: string;
    readonly token_proof: string;
    readonly life_ms: number;
  },
): Promise<void> {
  await sql`
    insert into sessions (digest, token_proof, expires_at)
    values (decode(${digest}, 'hex'), decode(${token_proof}, 'hex'),
      now() + ${life_ms}::bigint * interval '1 ms')`;
}

/**
 * Stores a session of the portal link with this digest, for `life_ms` or until the link ends. Returns the link's
 * id; undefined if none is in force.
 */
export async function createLinkSession(
  sql: Sql,
  { digest, link_digest, life_ms }: {
    readonly digest: string;
    readonly link_digest: string;
    readonly life_ms: number;
  },
): Promise<string | undefined> {
  const [row] = await sql<{ portal_link: string }[]>`
    insert into sessions (digest, portal_link, expires_at)
    select decode(${digest}, 'hex'), id, least(expires_at, now() + ${life_ms}::bigint * interval '1 ms')
    from portal_links
    where digest = decode(${link_digest}, 'hex') and revoked_at is null and expires_at > now()
    returning portal_link`;
  return row?.portal_link;
}

/** The session whose cookie has this digest, if it and its link are in force. */
export async function findSession(sql: Sql, digest: string): Promise<SessionRow | undefined> {
  const [row] = await sql<SessionRow[]>`
    select encode(s.token_proof, 'hex') as token_proof, to_json(s.expires_at) as expires_at,
      case when l.id is not null then json_build_object('id', l.id, 'business', l.business,
        'read_only', l.read_only, 'expires_at', l.expires_at) end as link
    from sessions s
    left join portal_links l on l.id = s.portal_link and l.revoked_at is null and l.expires_at > now()
    where s.digest = decode(${digest}, 'hex') and s.expires_at > now()
      and (s.token_proof is not null or l.id is not null)`;
  return row;
}

/** Ends a session, if it has not ended. */
export async function deleteSession(sql: Sql, digest: string): Promise<void> {
  await sql`delete from sessions where digest = decode(${digest}, 'hex')`;
}

/** Removes up to `limit` sessions that are over, with their forms. Returns how many. */
export async function deleteExpiredSessions(sql: Sql, limit: number): Promise<number> {
  const { count } = await sql`
    delete from sessions where digest in (
      select digest from sessions where expires_at <= now() order by expires_at limit ${limit})`;
  return count;
}

// --- forms -------------------------------------------------------------------------------------------------

/** How long the note of a form can be read, in milliseconds. */
export const NOTE_MS = 120_000;

/** A form of a session, that was submitted. */
export interface FormKey {
  /** Digest of the session's cookie, in hexadecimal digits. */
  readonly digest: string;
  readonly once: string;
}

/** Takes the submission of a form upon itself; false if another one did, or the session has ended. */
export async function beginForm(sql: Sql, { digest, once }: FormKey): Promise<boolean> {
  const { count } = await sql`
    insert into session_forms (session, once)
    select digest, ${once} from sessions where digest = decode(${digest}, 'hex') and expires_at > now()
    on conflict do nothing`;
  return count > 0;
}

/** Whether the submission of a form has ended, and where it went: null if it broke off. Undefined for none. */
export async function findForm(
  sql: Sql,
  { digest, once }: FormKey,
): Promise<{ readonly is_done: boolean; readonly location: string | null } | undefined> {
  const [row] = await sql<{ is_done: boolean; location: string | null }[]>`
    select done_at is not null as is_done, location from session_forms
    where session = decode(${digest}, 'hex') and once = ${once}`;
  return row;
}

/** Ends the submission of a form. */
export async function endForm(
  sql: Sql,
  { digest, once }: FormKey,
  location: string | null,
  note: Uint8Array | null,
): Promise<void> {
  await sql`
    update session_forms set done_at = now(), location = ${location}, note = ${note}
    where session = decode(${digest}, 'hex') and once = ${once}`;
}

/** Lets a form be submitted again: nothing of it was done. */
export async function freeForm(sql: Sql, { digest, once }: FormKey): Promise<void> {
  await sql`
    delete from session_forms where session = decode(${digest}, 'hex') and once = ${once}`;
}

/** The sealed note of a form, and where it is shown; undefined if it has none, or that is over. */
export async function findNote(
  sql: Sql,
  { digest, once }: FormKey,
): Promise<{ readonly note: Uint8Array; readonly location: string } | undefined> {
  const [row] = await sql<{ note: Uint8Array; location: string }[]>`
    select note, location from session_forms
    where session = decode(${digest}, 'hex') and once = ${once} and note is not null
      and done_at > now() - ${NOTE_MS}::bigint * interval '1 ms'`;
  return row;
}

/** Forgets up to `limit` notes that are over. Returns how many. */
export async function forgetNotes(sql: Sql, limit: number): Promise<number> {
  const { count } = await sql`
    update session_forms set note = null where (session, once) in (
      select session, once from session_forms
      where note is not null and done_at <= now() - ${NOTE_MS}::bigint * interval '1 ms'
      order by done_at limit ${limit})`;
  return count;
}
