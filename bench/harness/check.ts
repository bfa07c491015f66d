import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { SECRET } from "../workload.ts";
import type { Run } from "./bench.ts";
import type { Arrivals } from "./receivers.ts";

/** What must have arrived: for each endpoint, whether it was owed the event with that number. */
export interface Owed {
  readonly endpoints: number;
  readonly numbers: readonly [from: number, to: number];
  readonly owes: (endpoint: number, number: number) => boolean;
}

/**
 * The check at the end of a run, after the contender has stopped: all that was owed has arrived, the
 * database tells of exactly the attempts that the receivers saw, and what they saw was signed as the
 * contract says. Throws where it is not so. Answers what arrived.
 */
export async function check(run: Run, owed: Owed, endpoints = owed.endpoints): Promise<Arrivals> {
  const { arrivals, firsts } = await run.receivers.dump();
  const seen = seenBy(arrivals, endpoints);
  for (let endpoint = 0; endpoint < owed.endpoints; endpoint++) {
    const got = new Set(seen[endpoint]);
    for (let number = owed.numbers[0]; number < owed.numbers[1]; number++) {
      if (owed.owes(endpoint, number) && !got.has(number)) {
        throw new Error(`Check failed: event ${number} never arrived at endpoint ${endpoint}`);
      }
    }
  }
  compare(seen, await run.prepared.attempts());
  firsts.slice(0, endpoints).forEach((request) => request != null && checkSigned(request));
  return arrivals;
}

function seenBy(arrivals: Arrivals, endpoints: number): number[][] {
  const seen: number[][] = Array.from({ length: endpoints }, () => []);
  for (let i = 0; i < arrivals.count; i++) seen[arrivals.endpoint(i)]?.push(arrivals.number(i));
  for (const numbers of seen) numbers.sort((a, b) => a - b);
  return seen;
}

function compare(
  seen: readonly (readonly number[])[],
  recorded: ReadonlyMap<number, readonly number[]>,
): void {
  seen.forEach((numbers, endpoint) => {
    const attempts = recorded.get(endpoint) ?? [];
    const differs = numbers.findIndex((number, i) => number !== attempts[i]);
    if (differs < 0 && numbers.length === attempts.length) return;
    const at = differs < 0 ? numbers.length : differs;
    throw new Error(
      `Check failed: endpoint ${endpoint} saw ${numbers.length} attempts, the database tells of ` +
        `${attempts.length}; the first difference is at event ${numbers[at]} / ${attempts[at]}`,
    );
  });
}

// Done anew here, with nothing of the contenders' code.
function checkSigned(request: string): void {
  const [head = "", body = ""] = request.split("\r\n\r\n");
  const headers = new Map(
    head.split("\r\n").slice(1).map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const bytes = Buffer.from(body, "latin1");
  const key = Buffer.from(SECRET.slice("whsec_".length), "base64");
  const id = headers.get("webhook-id");
  const timestamp = headers.get("webhook-timestamp");
  const expected = {
    "x-bookme-signature": "sha256=" + createHmac("sha256", SECRET).update(bytes).digest("hex"),
    "webhook-signature": "v1," +
      createHmac("sha256", key).update(`${id}.${timestamp}.`).update(bytes).digest("base64"),
  };
  for (const [name, value] of Object.entries(expected)) {
    if (headers.get(name) !== value) {
      throw new Error(`Check failed: ${name} is not ${value}:\n${head}`);
    }
  }
}
