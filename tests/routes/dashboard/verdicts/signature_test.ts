import assert from "node:assert/strict";
import type * as shown from "../../../../lib/admin/shown.ts";
import { findingWords, signatureVerdict } from "../../../../routes/dashboard/verdicts/signature.ts";
import { BUSINESS, headline, OPERATOR, sentences } from "./facts.ts";

type Finding = shown.SignatureCheck["findings"][number];

const VALID: Finding = {
  header: "X-BookMe-Signature",
  valid: true,
  mistakes: [],
  text: "Valid",
  secret: "current",
};
const STANDARD: Finding = { ...VALID, header: "webhook-signature" };

function wrong(mistake: string, text: string, more: Partial<Finding> = {}): Finding {
  return { ...VALID, valid: false, mistakes: [mistake], text, ...more };
}

function verdict(
  findings: Finding[],
  more: Partial<shown.SignatureCheck> = {},
  name: string | null = "crm",
) {
  const valid = findings.every((finding) => finding.valid);
  const check = { valid, findings, previous_ends_at: null, remark: null, ...more };
  return signatureVerdict({ check, name }, OPERATOR);
}

Deno.test("a valid signature is said to be valid, and whose", () => {
  assert.equal(headline(verdict([VALID])), "The signature is valid for crm");
  assert.equal(headline(verdict([VALID, STANDARD])), "Both signatures are valid for crm");
  assert.equal(headline(verdict([VALID], {}, null)), "The signature is valid");
  assert.equal(verdict([VALID]).tone, "calm");
});

Deno.test("the previous secret is valid until it ends", () => {
  const old = wrong("previous_secret", "It is signed with the previous secret", {
    secret: "previous",
  });
  const ends = { previous_ends_at: "2026-11-27T13:59:00.000Z" };
  assert.equal(
    headline(verdict([old], ends)),
    "The signature is valid for the previous secret, which ends on 2026-11-27 13:59",
  );
  assert.equal(
    headline(verdict([old, STANDARD], { previous_ends_at: "2026-11-26T20:00:00.000Z" })),
    "The signature is valid for the previous secret, which ends at 20:00",
  );
  assert.equal(headline(verdict([old])), "The signature is valid for the previous secret");
  assert.equal(verdict([old], ends).tone, "waiting");
  assert.deepEqual(findingWords(old).state, { kind: "waiting", word: "Previous secret" });
});

Deno.test("an old timestamp is said after the signature, which is right", () => {
  const old = wrong("too_old", "The signature is right, but …", { header: "webhook-signature" });
  assert.equal(
    headline(verdict([VALID, old])),
    "Both signatures are valid for crm; the timestamp is more than 5 minutes old",
  );
  // A real mistake is said first.
  const parsed = wrong("reserialised", "The body was parsed and written again; verify the bytes");
  assert.equal(headline(verdict([old, parsed])), "The body was parsed and written again");
});

Deno.test("a mistake is the first line, its remedy the next", () => {
  const said = (finding: Finding, more: Partial<shown.SignatureCheck> = {}) => {
    const { headline: first, ...rest } = verdict([finding], more);
    return [headline({ headline: first, ...rest }), sentences({ headline: first, ...rest })];
  };
  assert.deepEqual(
    said(wrong("reserialised", "The body was parsed and written again; verify the bytes")),
    ["The body was parsed and written again", "Verify the bytes. How to verify a signature"],
  );
  assert.deepEqual(
    said(wrong("newline_in_secret", "It is signed with the secret and a newline; read it without")),
    [
      "The signature is signed with the secret and a newline",
      "Read it without. How to verify a signature",
    ],
  );
  assert.deepEqual(
    said(wrong("uppercase", "The header is in upper case; BookMe sends it in lower case")),
    [
      "The header X-BookMe-Signature is in upper case",
      "BookMe sends it in lower case. How to verify a signature",
    ],
  );
  assert.deepEqual(
    said(wrong("unknown", "Another secret signed it, or the body was changed", { secret: null }), {
      remark: "A secret has at least 24 characters",
    }),
    [
      "Another secret signed it, or the body was changed",
      "The secret that was typed: A secret has at least 24 characters. How to verify a signature",
    ],
  );
});

Deno.test("before anything is checked, the page says what to paste", () => {
  for (const reader of [OPERATOR, BUSINESS]) {
    const none = signatureVerdict(null, reader);
    assert.equal(headline(none), "Paste a request to check its signature");
    assert.match(sentences(none), /How to verify a signature$/);
  }
});
