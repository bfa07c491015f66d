import { AppError } from "./errors.ts";

/** When a secret signs, in milliseconds since 1970. */
export interface Timed {
  /** Start of signing `X-BookMe-Signature`. */
  readonly activates_at: number;
  /** End of all signing; null until a later rotation sets it. */
  readonly expires_at: number | null;
}

/** A signing secret and its time. */
export interface TimedSecret extends Timed {
  readonly secret: string;
}

/** Most secrets that sign at the same time: each makes every request's headers longer. */
const MAX_LIVE_SECRETS = 5;

/**
 * The secrets of an endpoint that sign at `now`: the first one signs `X-BookMe-Signature`, all of them
 * `webhook-signature`. The first is the one that became active last. A secret that is not active yet
 * signs after it, so that a receiver can switch before or after the rotation (contract, section 5).
 */
export function signingAt<T extends Timed>(secrets: readonly T[], now: number): readonly T[] {
  // Nearly always, and for every attempt. The newest secret never expires.
  if (secrets.length < 2) return secrets;
  const live = secrets.filter((secret) => isLive(secret, now));
  const active = live.filter((secret) => secret.activates_at <= now);
  const first = active.reduce<T | undefined>(
    (latest, secret) =>
      latest === undefined || secret.activates_at >= latest.activates_at ? secret : latest,
    undefined,
  );
  return first === undefined ? live : [first, ...live.filter((secret) => secret !== first)];
}

/** Secrets that have not expired. */
export function liveAt<T extends Timed>(secrets: readonly T[], now: number): readonly T[] {
  return secrets.filter((secret) => isLive(secret, now));
}

function isLive(secret: Timed, now: number): boolean {
  return secret.expires_at === null || now < secret.expires_at;
}

/** When the first of them expires, or null. */
export function firstExpiry(secrets: readonly Timed[]): number | null {
  const times = secrets.map((secret) => secret.expires_at).filter((at) => at !== null);
  return times.length === 0 ? null : Math.min(...times);
}

/**
 * The secrets after a rotation to `secret`, which is active from `activates_at` on; those before it
 * expire `overlap_ms` later. It replaces a secret that is not active yet. Throws an `AppError` if too
 * many would sign at once.
 */
export function rotate(
  secrets: readonly TimedSecret[],
  secret: string,
  activates_at: number,
  overlap_ms: number,
  now: number,
): readonly TimedSecret[] {
  if (secrets.some((old) => old.secret === secret)) {
    throw new AppError("invalid", "Already the endpoint's secret; pass another one or none");
  }
  const ends_at = activates_at + overlap_ms;
  const active = liveAt(secrets, now).filter((old) => old.activates_at <= now);
  const [in_force] = signingAt(active, now);
  const before = active
    // Only a replaced rotation can have set the end of the current secret.
    .map((old) => ({
      ...old,
      expires_at: old === in_force ? ends_at : Math.min(old.expires_at ?? Infinity, ends_at),
    }))
    .filter((old) => isLive(old, now));
  if (before.length >= MAX_LIVE_SECRETS) {
    throw new AppError(
      "conflict",
      `${before.length} secrets sign for this endpoint already; wait until an overlap ends, or ` +
        "rotate with overlap 0s, which ends them all",
    );
  }
  return [...before, { secret, activates_at, expires_at: null }];
}

/** A rotation under way, in milliseconds since 1970. */
export interface Overlap {
  /** When the new secret signs `X-BookMe-Signature`. */
  readonly activates_at: number;
  /** When the last of those before it stops signing. */
  readonly ends_at: number;
}

/** The rotation under way at `now`, or null. */
export function overlapAt(secrets: readonly Timed[], now: number): Overlap | null {
  const live = liveAt(secrets, now);
  const newest = live.find(({ expires_at }) => expires_at === null);
  if (newest === undefined || live.length < 2) return null;
  const ends_at = Math.max(...live.map(({ expires_at }) => expires_at ?? 0));
  return { activates_at: newest.activates_at, ends_at };
}

/**
 * The secrets if those that a rotation replaced sign until `ends_at`, or no more if that is now. Of
 * several replaced ones only the last to expire can be prolonged: an earlier end was asked for, too.
 * Throws an `AppError` without a rotation under way, or if nothing would sign `X-BookMe-Signature` until
 * the new secret does.
 */
export function moveOverlap(
  secrets: readonly TimedSecret[],
  ends_at: number,
  now: number,
): readonly TimedSecret[] {
  const overlap = overlapAt(secrets, now);
  if (overlap === null) {
    throw new AppError("conflict", "No rotation is under way, so no overlap can end");
  }
  if (ends_at < overlap.activates_at) {
    const activates_at = new Date(overlap.activates_at).toISOString();
    throw new AppError(
      "conflict",
      `The new secret signs from ${activates_at} on, and the old one must until then; end the ` +
        "overlap no earlier, or rotate again, which replaces the new secret",
    );
  }
  return liveAt(secrets, now).map((secret) => {
    const { expires_at } = secret;
    if (expires_at === null) return secret;
    const is_last = expires_at === overlap.ends_at;
    return { ...secret, expires_at: is_last ? ends_at : Math.min(expires_at, ends_at) };
  }).filter((secret) => isLive(secret, now));
}
