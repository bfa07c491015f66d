import { isIdentifier } from "./identifier.ts";
import { parseEventOf, parsePortalLinkId, parseReplayId } from "./ids.ts";
import { nearest } from "./nearest.ts";

/** Qualifiers that narrow a search of deliveries: `status:failed endpoint:crm since:2h`. */
export const QUALIFIERS = [
  "status",
  "endpoint",
  "type",
  "reason",
  "code",
  "since",
  "until",
] as const;
/** One of them. */
export type Qualifier = typeof QUALIFIERS[number];

/** A search as it was typed. */
export type SearchQuery =
  | { readonly kind: "nothing" }
  /** An id, a name, a URL or a part of one. */
  | { readonly kind: "text"; readonly text: string }
  /** Deliveries: each qualifier once, at least one. */
  | { readonly kind: "filters"; readonly filters: ReadonlyMap<Qualifier, string> }
  /** It cannot be searched for: why, in a sentence, and what may be meant, or null. */
  | { readonly kind: "mistake"; readonly message: string; readonly meant: string | null };

/** Longest text that is searched for, in characters. */
const MAX_LENGTH = 500;

// A value may stand in quotes, also one that never ends: people type.
const TOKEN = /(?:[^\s":]+:)?"[^"]*"?|\S+/gu;

/**
 * Reads what was typed into the search box. `status:failed` is a qualifier; `https://crm.example.com` and
 * `localhost:8080` are texts, and so is everything else.
 */
export function parseSearch(typed: string): SearchQuery {
  const text = typed.trim();
  if (text === "") return { kind: "nothing" };
  if (text.length > MAX_LENGTH) return mistake(`Search for at most ${MAX_LENGTH} characters`);
  const words: string[] = [];
  const filters = new Map<Qualifier, string>();
  for (const [token] of text.matchAll(TOKEN)) {
    const [, name, value = ""] = isText(token) ? [] : /^([a-z_]+):"?(.*?)"?$/su.exec(token) ?? [];
    if (name === undefined) {
      words.push(unquoted(token));
      continue;
    }
    const qualifier = QUALIFIERS.find((one) => one === name);
    if (qualifier === undefined) return unknown(name, value);
    if (value === "") return mistake(`${qualifier}: needs a value, such as ${EXAMPLES[qualifier]}`);
    if (filters.has(qualifier)) return mistake(`${qualifier}: is there twice; a delivery has one`);
    filters.set(qualifier, value);
  }
  if (filters.size === 0) {
    const sought = words.join(" ");
    return isIdentifier(sought)
      ? { kind: "text", text: sought }
      : mistake("A search is one line of up to 255 characters");
  }
  if (words.length === 0) return { kind: "filters", filters };
  return mistake(
    `${words.join(" ")} cannot be combined with ${[...filters.keys()].join(", ")}`,
    formatFilters(filters),
  );
}

const EXAMPLES: Readonly<Record<Qualifier, string>> = {
  status: "status:failed",
  endpoint: "endpoint:crm",
  type: "type:booking.created",
  reason: "reason:timeout",
  code: "code:401",
  since: "since:2h",
  until: "until:1h",
};

/** The text that `parseSearch` reads these filters from. */
export function formatFilters(filters: ReadonlyMap<Qualifier, string>): string {
  return [...filters].map(([name, value]) =>
    /[\s"]/u.test(value) ? `${name}:"${value.replaceAll('"', "")}"` : `${name}:${value}`
  ).join(" ");
}

/** Whether a word with a colon is no qualifier all the same: a URL, or a host with its port. */
function isText(token: string): boolean {
  const [, name = "", rest = ""] = /^([^:]*):(.*)$/su.exec(token) ?? [];
  if (rest.startsWith("//")) return true;
  return /^\d{1,5}(\/|$)/.test(rest) && !QUALIFIERS.some((one) => one === name);
}

function unquoted(token: string): string {
  return token.startsWith('"') ? token.replaceAll('"', "").trim() : token;
}

function unknown(name: string, value: string): SearchQuery {
  const near = nearest(name, QUALIFIERS);
  return mistake(
    `${name}: is no filter; there are ${QUALIFIERS.map((one) => `${one}:`).join(", ")}`,
    near === undefined || value === "" ? null : `${near}:${value}`,
  );
}

function mistake(message: string, meant: string | null = null): SearchQuery {
  return { kind: "mistake", message, meant };
}

/** What the form of an id says that it names; null for any other text. */
export function kindOfId(
  text: string,
): "event" | "delivery" | "attempt" | "replay" | "portal link" | null {
  if (parseEventOf(text) !== undefined) {
    const prefix = text.slice(0, 3).toLowerCase();
    return prefix === "evt" ? "event" : prefix === "dlv" ? "delivery" : "attempt";
  }
  if (parseReplayId(text) !== undefined) return "replay";
  return parsePortalLinkId(text) === undefined ? null : "portal link";
}
