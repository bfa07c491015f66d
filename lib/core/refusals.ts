import { type ErrorCode, HTTP_STATUS } from "./errors.ts";
import { isOperational } from "./matching.ts";

/** Why a post to `/ingest` is refused, with the code of the answer (contract, section 4). */
const CODES = {
  malformed: "malformed",
  signature_missing: "unauthorized",
  signature_wrong: "unauthorized",
  address: "forbidden",
  loop: "loop",
  conflict: "conflict",
  too_large: "too_large",
  unsupported_media_type: "unsupported_media_type",
  invalid: "invalid",
  too_many_requests: "too_many_requests",
  unavailable: "unavailable",
} as const satisfies Readonly<Record<string, ErrorCode>>;

/** Why a post is refused. */
export type Refusal = keyof typeof CODES;

/** The names of all refusals. */
export const REFUSALS = Object.keys(CODES) as readonly Refusal[];

/** The status of the answer to a post refused for this reason. */
export function refusalStatus(refusal: Refusal): number {
  return HTTP_STATUS[CODES[refusal]];
}

/** The refusal that an answer's `code` stands for; undefined if posts are not refused with it. */
export function refusalOf(code: string, signed: boolean): Refusal | undefined {
  if (code === "unauthorized") return signed ? "signature_wrong" : "signature_missing";
  return REFUSALS.find((refusal) => CODES[refusal] === code);
}

/**
 * How an event counts that was stored, or is known already. Undefined for one that BookMe has not posted: tests are
 * an operator's, and operational events our own.
 */
export function answerToEvent(
  { type, test, duplicate }: {
    readonly type: string;
    readonly test: boolean;
    readonly duplicate: boolean;
  },
): "stored" | "duplicate" | undefined {
  if (test || isOperational(type)) return undefined;
  return duplicate ? "duplicate" : "stored";
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
 * One line about the posts refused in a time such as `the last hour`, the most frequent reason first, and
 * the remedy for that; undefined without any.
 */
export function summariseRefusals(
  refused: readonly RefusedPosts[],
  time: string,
): { readonly text: string; readonly remedy: string } | undefined {
  const sorted = refused.toSorted((a, b) => b.posts - a.posts);
  const [most] = sorted;
  if (most === undefined) return undefined;
  const parts = sorted.map(({ refusal, posts, last_address }) =>
    (sorted.length === 1 ? "" : `${posts} because `) + refusalInWords(refusal) +
    (last_address === null ? "" : ` (the last from ${last_address})`)
  );
  const sum = refused.reduce((total, { posts }) => total + posts, 0);
  return {
    text: `BookMe's posts are refused: ${sum} in ${time}, ${parts.join("; ")}`,
    remedy: refusalRemedy(most.refusal),
  };
}
