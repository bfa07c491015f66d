/** Why a post to `/ingest` is refused, with the status of the answer (contract, section 4). */
export const REFUSAL_STATUS = {
  malformed: 400,
  signature_missing: 401,
  signature_wrong: 401,
  address: 403,
  loop: 403,
  conflict: 409,
  too_large: 413,
  unsupported_media_type: 415,
  invalid: 422,
  too_many_requests: 429,
  unavailable: 503,
} as const;

/** Why a post is refused. */
export type Refusal = keyof typeof REFUSAL_STATUS;

/** The names of all refusals. */
export const REFUSALS = Object.keys(REFUSAL_STATUS) as readonly Refusal[];

/** The refusal that an answer's `code` stands for; undefined if posts are not refused with it. */
export function refusalOf(code: string, signed: boolean): Refusal | undefined {
  if (code === "unauthorized") return signed ? "signature_wrong" : "signature_missing";
  if (code === "forbidden") return "address";
  return REFUSALS.find((refusal) => refusal === code);
}

/** Refused posts of one kind, counted. */
export interface RefusedPosts {
  readonly refusal: Refusal;
  readonly posts: number;
  /** The address that the last one came from, or null if unknown. */
  readonly last_address: string | null;
}

/** The mistake in the posts, and its remedy. */
const IN_WORDS: Readonly<Record<Refusal, readonly [wrong: string, remedy: string]>> = {
  malformed: [
    "the body is not valid JSON",
    "the answers to BookMe give the position; fix what posts them",
  ],
  signature_missing: [
    "the signature is missing",
    "have BookMe sign its posts with ingest.secret",
  ],
  signature_wrong: [
    "the signature is wrong",
    "compare ingest.secret with BookMe's; `bookme-webhooks verify` checks a body",
  ],
  address: [
    "the sender's address is not allowed",
    "add it to ip_ranges of the environment in force, or the proxy to server.trusted_proxies",
  ],
  loop: [
    "they are this program's own deliveries",
    "point the endpoint's url at a receiver, not at /ingest",
  ],
  conflict: [
    "an id or Idempotency-Key came again with other bytes",
    "give each event an id of its own",
  ],
  too_large: ["the body is too large", "post fewer events at once, or raise ingest.max_body"],
  unsupported_media_type: [
    "the content type is not accepted",
    "post application/json or application/x-ndjson in UTF-8, uncompressed",
  ],
  invalid: [
    "the payload is not valid",
    "the answers to BookMe name each field; check the event types with `bookme-webhooks event-types`",
  ],
  too_many_requests: ["too many came at once", "post more slowly"],
  unavailable: [
    "the database or the memory had no room",
    "BookMe has to post them again; `bookme-webhooks doctor` looks for the reason",
  ],
};

/** The mistake in posts refused for this reason: completes "BookMe's posts are refused: …". */
export function refusalInWords(refusal: Refusal): string {
  return IN_WORDS[refusal][0];
}

/** The remedy for posts refused for this reason. */
export function refusalRemedy(refusal: Refusal): string {
  return IN_WORDS[refusal][1];
}

/**
 * One line about the posts refused in a time such as `the last hour`, the most frequent reason first;
 * undefined without any.
 */
export function summariseRefusals(
  refused: readonly RefusedPosts[],
  time: string,
): string | undefined {
  if (refused.length === 0) return undefined;
  const sorted = refused.toSorted((a, b) => b.posts - a.posts);
  const parts = sorted.map(({ refusal, posts, last_address }) =>
    `${posts} because ${IN_WORDS[refusal][0]}` +
    (last_address === null ? "" : ` (the last from ${last_address})`)
  );
  const sum = refused.reduce((total, { posts }) => total + posts, 0);
  const [only] = sorted;
  return sorted.length === 1 && only !== undefined
    ? `BookMe's posts are refused: ${sum} in ${time}, ${IN_WORDS[only.refusal][0]}` +
      (only.last_address === null ? "" : ` (the last from ${only.last_address})`)
    : `BookMe's posts are refused: ${sum} in ${time}, ${parts.join("; ")}`;
}
