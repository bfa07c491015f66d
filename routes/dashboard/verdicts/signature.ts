import type * as shown from "../../../lib/admin/shown.ts";
import { capitalised } from "../../../lib/core/words.ts";
import type { Reader } from "./health.ts";
import { moment, type Verdict, type Words } from "./verdict.ts";

/** A check of signatures, and whose secret it was made with. */
export interface SignatureFacts {
  readonly check: shown.SignatureCheck;
  /** Name of the endpoint; null for a secret that was typed. */
  readonly name: string | null;
}

type Finding = shown.SignatureCheck["findings"][number];

/** The first line of the signature checker: valid, or the mistake. */
export function signatureVerdict(facts: SignatureFacts | null, reader: Reader): Verdict {
  const help = `${reader.house.base}/help#signature`;
  const how: Words = [{ href: help, text: "How to verify a signature" }];
  if (facts === null) {
    return {
      tone: "calm",
      state: { kind: "unused", word: "Nothing checked" },
      headline: ["Paste a request to check its signature"],
      sentences: [[
        "The body and the headers as your server received them. If the signature does not fit, the likely " +
        "mistake is named.",
      ], how],
      actions: [],
    };
  }
  const { check, name } = facts;
  const { findings } = check;
  const whose: Words = name === null ? [] : [` for ${name}`];
  const plural = findings.length > 1;
  const the = plural ? "Both signatures are" : "The signature is";
  if (check.valid) {
    return {
      tone: "calm",
      state: { kind: "delivered", word: "Valid" },
      headline: [`${the} valid`, ...whose],
      sentences: [[
        "The body arrived byte for byte. If your code refuses it nevertheless, it reads another body, header or " +
        "secret.",
      ], how],
      actions: [],
    };
  }
  const wrong = findings.filter(({ valid }) => !valid);
  const only = (mistake: string) =>
    wrong.every(({ mistakes }) => mistakes.length === 1 && mistakes[0] === mistake);
  if (only("previous_secret")) {
    return previous(check, plural && wrong.length === findings.length, reader.now);
  }
  if (only("too_old")) {
    return {
      tone: "calm",
      state: { kind: "delivered", word: "Valid" },
      headline: [`${the} valid`, ...whose, "; the timestamp is more than 5 minutes old"],
      sentences: [[
        "Libraries of Standard Webhooks refuse it by now, as they should; a request that is checked later is " +
        "always old.",
      ]],
      actions: [],
    };
  }
  return mistaken(check, wrong, how);
}

/** The previous secret signed, which is right during an overlap only for receivers that know it. */
function previous(
  { previous_ends_at }: shown.SignatureCheck,
  both: boolean,
  now: number,
): Verdict {
  const ends: Words = previous_ends_at === null
    ? []
    : [", which ends ", ...whenWords(previous_ends_at, now)];
  return {
    tone: "waiting",
    state: { kind: "waiting", word: "Valid for now" },
    headline: [
      both
        ? "Both signatures are valid for the previous secret"
        : "The signature is valid for the previous secret",
      ...ends,
    ],
    sentences: [[
      "A rotation has not arrived everywhere: give your receiver the new secret before the previous one ends.",
    ]],
    actions: [],
  };
}

/** `at 13:59` while that is clear, else `on 26 Nov 13:59`. */
function whenWords(at: string, now: number): Words {
  const part = moment(at, now);
  const is_time = typeof part === "object" && "style" in part && part.style === "time";
  return is_time ? ["at ", part] : ["on ", part];
}

function mistaken(
  { remark }: shown.SignatureCheck,
  wrong: readonly Finding[],
  how: Words,
): Verdict {
  // An old timestamp matters least.
  const [first] = wrong.toSorted((a, b) => weight(a) - weight(b));
  const [cause = "", ...remedies] = (first?.text ?? "").split("; ");
  const remedy = remedies.join("; ");
  return {
    tone: "failing",
    state: { kind: "failed", word: "Not valid" },
    headline: [subject(cause, first?.header ?? "")],
    sentences: [
      ...(remedy === "" ? [] : [[{ strong: `${capitalised(remedy)}.` }] as Words]),
      ...(remark === null ? [] : [[`The secret that was typed: ${remark}.`] as Words]),
      how,
    ],
    actions: [],
  };
}

function weight({ mistakes }: Finding): number {
  return mistakes.includes("too_old") ? 1 : 0;
}

/** A finding's first clause as a sentence of its own. */
function subject(cause: string, header: string): string {
  return cause.replace(/\.$/, "")
    .replace(/^It is /, "The signature is ")
    .replace(/^The header is /, `The header ${header} is `)
    .replace(/^This is the form/, `${header} has the form`)
    .replace(/^This is the placeholder/, `${header} is the placeholder`);
}

/** A finding in the words of a table: state and text. */
export function findingWords(
  { valid, mistakes, text, secret }: Finding,
): { readonly state: Verdict["state"]; readonly text: string } {
  const state = valid
    ? { kind: "delivered", word: "Valid" } as const
    : secret === "previous" && mistakes.length === 1
    ? { kind: "waiting", word: "Previous secret" } as const
    : { kind: "failed", word: "Not valid" } as const;
  return { state, text: valid ? "It fits the body and the secret." : `${text}.` };
}
