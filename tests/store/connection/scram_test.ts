import assert from "node:assert/strict";
import { makeScram } from "../../../lib/store/connection/scram.ts";

// The conversation of RFC 7677, section 3, without the user's name, which PostgreSQL leaves out. Its
// proof was computed with Python's hashlib.
const NONCE = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST = `r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`;

Deno.test("makeScram() proves the password to the server, and checks the server's proof", async () => {
  const scram = makeScram("pencil", NONCE);
  assert.equal(scram.first, `n,,n=,r=${NONCE}`);
  assert.equal(
    await scram.proof(SERVER_FIRST),
    `c=biws,r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=qvT2SWdEH5Q06albL+hjSYuUhCG7VndFyzIb7CK4n9k=`,
  );
  assert.ok(scram.accepts("v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg="));
  assert.ok(!scram.accepts("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
  assert.ok(!scram.accepts("e=other-error"));
});

Deno.test("makeScram() accepts no proof of a server before its challenge", () => {
  assert.ok(!makeScram("pencil").accepts("v="));
});

for (
  const [name, challenge] of [
    ["another nonce", SERVER_FIRST.replace("r=r", "r=x")],
    ["no nonce of the server", `r=${NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`],
    ["no salt", SERVER_FIRST.replace(/s=[^,]*/, "s=")],
    ["no rounds", SERVER_FIRST.replace("4096", "0")],
    ["rounds for hours", SERVER_FIRST.replace("4096", "999999999999")],
    ["nothing", ""],
  ] as const
) {
  Deno.test(`makeScram() refuses a challenge with ${name}`, async () => {
    await assert.rejects(makeScram("pencil", NONCE).proof(challenge), /makes no sense/);
  });
}
