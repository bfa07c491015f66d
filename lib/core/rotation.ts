import { AppError } from "./errors.ts";

/** When a secret signs, in milliseconds since 1970. */
export interface Timed {
  /** From when on it signs `X-BookMe-Signature`. */
  readonly activates_at: number;
  /** From when on it signs nothing; null: a later rotation will say so. */
  readonly expires_at: number | null;
}

/** A signing secret and its time. */
export interface TimedSecret extends Timed {
  readonly secret: string;
}

/** Secrets that sign at the same time: each makes every request's headers longer. */
const MAX_LIVE_SECRETS = 5;

/**
 * Which of an endpoint's secrets sign at `now`: the first one `X-BookMe-Signature`, all of them
 * `webhook-signature`. The first is the last to have become active; one whose time has not come
 * signs behind it, so that a receiver can change over before or after (contract, section 5).
 */
export function signingAt<T extends Timed>(secrets: readonly T[], now: number): readonly T[] {
  // Nearly always, and on the way of every attempt. The newest never expires.
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
 * The secrets after a rotation to `secret`: it is active from `activates_at` on, and those before it
 * expire `overlap_ms` later. A secret that was to become active and has not is dropped: this one takes
 * its place. Throws an `AppError` where too many would sign at once.
 */
export function rotate(
  secrets: readonly TimedSecret[],
  secret: string,
  activates_at: number,
  overlap_ms: number,
  now: number,
): readonly TimedSecret[] {
  if (secrets.some((old) => old.secret === secret)) {
    throw new AppError("invalid", "This is the endpoint's secret already; give another or none");
  }
  const ends_at = activates_at + overlap_ms;
  const active = liveAt(secrets, now).filter((old) => old.activates_at <= now);
  const [in_force] = signingAt(active, now);
  const before = active
    // Of the one in force, only the rotation that is dropped can have said when it ends.
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
