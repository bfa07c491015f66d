import { randomBytes } from "node:crypto";
import { makeSecret } from "../../core/secret.ts";
import { command } from "../command.ts";

export const secret = command({
  name: "secret",
  summary: "Prints a new strong secret",
  about:
    `whsec_ and the base64 of 32 random bytes, for secrets and admin tokens. Sender and receiver
need the same one.`,
  options: {},
  examples: [
    ["(umask 077; bookme-webhooks secret > crm.secret)", "For `crm: file:./crm.secret`"],
    ['export BOOKME_SECRET="$(bookme-webhooks secret)"', "For `bookme: env:BOOKME_SECRET`"],
  ],
  run({ io }) {
    io.out(makeSecret(new Uint8Array(randomBytes(32))));
    return Promise.resolve(0);
  },
});
