import { Buffer } from "node:buffer";
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";

/** A client's half of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding. */
export interface Scram {
  /** The client's first message. */
  readonly first: string;
  /** The client's answer to the server's first message. Throws if that makes no sense. */
  proof(server_first: string): Promise<string>;
  /** Whether the server's last message proves that it knows the password too. */
  accepts(server_final: string): boolean;
}

/** More than any server asks for; 2^24 rounds take seconds of a core. */
const MAX_ITERATIONS = 1 << 24;

/** A conversation with `password`; `nonce` is random unless a test gives one. */
export function makeScram(
  password: string,
  nonce = randomBytes(18).toString("base64"),
): Scram {
  // PostgreSQL takes the user's name from the startup message and ignores the one in here.
  const bare = `n=,r=${nonce}`;
  let expected: Buffer | undefined;
  return {
    first: `n,,${bare}`,
    async proof(server_first) {
      const { r = "", s = "", i = "" } = attributes(server_first);
      const iterations = Number(i);
      if (
        !r.startsWith(nonce) || r === nonce || s === "" ||
        !(Number.isInteger(iterations) && iterations > 0 && iterations <= MAX_ITERATIONS)
      ) throw new Error("The server's SCRAM challenge makes no sense");
      const salted = await derive(saslPrep(password), Buffer.from(s, "base64"), iterations);
      const client_key = hmac(salted, "Client Key");
      const without_proof = `c=${Buffer.from("n,,").toString("base64")},r=${r}`;
      const auth = `${bare},${server_first},${without_proof}`;
      expected = hmac(hmac(salted, "Server Key"), auth);
      const mask = hmac(createHash("sha256").update(client_key).digest(), auth);
      const proof = client_key.map((byte, at) => byte ^ (mask[at] ?? 0));
      return `${without_proof},p=${Buffer.from(proof).toString("base64")}`;
    },
    accepts(server_final) {
      const verifier = Buffer.from(attributes(server_final).v ?? "", "base64");
      return expected !== undefined && verifier.length === expected.length &&
        timingSafeEqual(verifier, expected);
    },
  };
}

function attributes(text: string): Partial<Record<string, string>> {
  return Object.fromEntries(text.split(",").map((part) => [part.slice(0, 1), part.slice(2)]));
}

// RFC 4013 as far as passwords that people choose need it; the server does the same to what it stores.
function saslPrep(password: string): string {
  return password
    .replace(/[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu, " ")
    .replace(/[\u00ad\u034f\u1806\u180b-\u180d\u200c\u200d\u2060\ufe00-\ufe0f\ufeff]/gu, "")
    .normalize("NFKC");
}

function derive(password: string, salt: Buffer, iterations: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // Not the synchronous one: its rounds would hold up every delivery.
    pbkdf2(
      password,
      salt,
      iterations,
      32,
      "sha256",
      (error, key) => error === null ? resolve(key) : reject(error),
    );
  });
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
