/**
 * HMAC-SHA-256 (RFC 2104, FIPS 180-4) under a lasting key: the two blocks that depend on the key alone
 * are hashed once, not for each message. For bodies of a kilobyte this is several times as fast as
 * `createHmac`, whose calls out of JavaScript cost more than the hashing; two signatures per request
 * make it worth owning. Long messages go to node:crypto, whose hashing is faster there; the tests
 * compare the two.
 */

import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";

/** Signs messages of one or two parts. */
export interface KeyedHmac {
  /** The 32 bytes of the code. Read them at once: the next call overwrites the array. */
  digest(first: Uint8Array, second?: Uint8Array): Buffer;
}

const BLOCK = 64;
const EMPTY = new Uint8Array();
/** Messages above this many bytes go to node:crypto. */
const LONG = 8_192;

// Fractional parts of the cube roots (K) and square roots (H) of the first primes.
const K = new Int32Array(64);
const H = new Int32Array(8);
{
  const fraction = (x: number) => ((x - Math.floor(x)) * 0x100000000) | 0;
  for (let n = 2, i = 0; i < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
    if (!prime) continue;
    if (i < 8) H[i] = fraction(Math.sqrt(n));
    K[i++] = fraction(Math.cbrt(n));
  }
}

const W = new Int32Array(64);
const last = new Uint8Array(2 * BLOCK);
const inner = new Uint8Array(32);
const outer = Buffer.alloc(32);
const state = new Int32Array(8);

/** A signer under `key`, of any length. */
export function makeHmac(key: Uint8Array): KeyedHmac {
  const block = new Uint8Array(BLOCK);
  if (key.length > BLOCK) {
    state.set(H);
    finish(key, EMPTY, 0);
    write(state, block);
  } else block.set(key);
  const pads = [0x36, 0x5c].map((pad) => {
    const keyed = H.slice();
    compress(keyed, block.map((byte) => byte ^ pad), 0);
    return keyed;
  });
  const [innerState, outerState] = pads;
  return {
    digest(first, second = EMPTY) {
      if (first.length + second.length > LONG) {
        outer.set(createHmac("sha256", key).update(first).update(second).digest());
        return outer;
      }
      state.set(innerState ?? H);
      finish(first, second, BLOCK);
      write(state, inner);
      state.set(outerState ?? H);
      finish(inner, EMPTY, BLOCK);
      write(state, outer);
      return outer;
    },
  };
}

// Hashes both parts, the padding and the length into `state`, which has hashed `before` bytes already.
function finish(first: Uint8Array, second: Uint8Array, before: number): void {
  let at = 0;
  for (; at + BLOCK <= first.length; at += BLOCK) compress(state, first, at);
  const rest = first.length - at;
  let from = 0;
  let filled = rest;
  for (let i = 0; i < rest; i++) last[i] = first[at + i] ?? 0;
  if (rest > 0 && rest + second.length >= BLOCK) {
    from = BLOCK - rest;
    for (let i = 0; i < from; i++) last[rest + i] = second[i] ?? 0;
    compress(state, last, 0);
    filled = 0;
  }
  if (filled === 0) {
    for (; from + BLOCK <= second.length; from += BLOCK) compress(state, second, from);
  }
  for (; from < second.length; from++) last[filled++] = second[from] ?? 0;
  last[filled++] = 0x80;
  const end = filled + 8 > BLOCK ? 2 * BLOCK : BLOCK;
  last.fill(0, filled, end);
  const bytes = before + first.length + second.length;
  writeWord(last, end - 8, Math.floor(bytes / 0x20000000));
  writeWord(last, end - 4, bytes << 3);
  compress(state, last, 0);
  if (end > BLOCK) compress(state, last, BLOCK);
}

function write(words: Int32Array, to: Uint8Array): void {
  for (let i = 0; i < 8; i++) writeWord(to, 4 * i, words[i] ?? 0);
}

function writeWord(to: Uint8Array, at: number, word: number): void {
  to[at] = word >>> 24;
  to[at + 1] = word >>> 16;
  to[at + 2] = word >>> 8;
  to[at + 3] = word;
}

// One block of SHA-256. Eight rounds are written out, each with its variables where the round before
// would have moved them: that is a third faster than moving them. The casts to number satisfy the
// compiler: every index is in range.
function compress(h: Int32Array, bytes: Uint8Array, at: number): void {
  for (let i = 0; i < 16; i++, at += 4) {
    W[i] = (bytes[at] as number) << 24 | (bytes[at + 1] as number) << 16 |
      (bytes[at + 2] as number) << 8 | (bytes[at + 3] as number);
  }
  for (let i = 16; i < 64; i++) {
    const x = W[i - 15] as number;
    const y = W[i - 2] as number;
    const s0 = (x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ (x >>> 3);
    const s1 = (y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ (y >>> 10);
    W[i] = (W[i - 16] as number) + s0 + (W[i - 7] as number) + s1 | 0;
  }
  let a = h[0] as number, b = h[1] as number, c = h[2] as number, d = h[3] as number;
  let e = h[4] as number, f = h[5] as number, g = h[6] as number, k = h[7] as number;
  for (let i = 0; i < 64; i += 8) {
    k = k + first(e, f, g, i) | 0, d = d + k | 0, k = k + second(a, b, c) | 0;
    g = g + first(d, e, f, i + 1) | 0, c = c + g | 0, g = g + second(k, a, b) | 0;
    f = f + first(c, d, e, i + 2) | 0, b = b + f | 0, f = f + second(g, k, a) | 0;
    e = e + first(b, c, d, i + 3) | 0, a = a + e | 0, e = e + second(f, g, k) | 0;
    d = d + first(a, b, c, i + 4) | 0, k = k + d | 0, d = d + second(e, f, g) | 0;
    c = c + first(k, a, b, i + 5) | 0, g = g + c | 0, c = c + second(d, e, f) | 0;
    b = b + first(g, k, a, i + 6) | 0, f = f + b | 0, b = b + second(c, d, e) | 0;
    a = a + first(f, g, k, i + 7) | 0, e = e + a | 0, a = a + second(b, c, d) | 0;
  }
  h[0] = (h[0] as number) + a | 0;
  h[1] = (h[1] as number) + b | 0;
  h[2] = (h[2] as number) + c | 0;
  h[3] = (h[3] as number) + d | 0;
  h[4] = (h[4] as number) + e | 0;
  h[5] = (h[5] as number) + f | 0;
  h[6] = (h[6] as number) + g | 0;
  h[7] = (h[7] as number) + k | 0;
}

// The two sums of a round (FIPS 180-4, 6.2.2): Σ1, Ch, K and W; Σ0 and Maj.
function first(e: number, f: number, g: number, i: number): number {
  const sum = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
  return sum + (g ^ (e & (f ^ g))) + (K[i] as number) + (W[i] as number) | 0;
}
function second(a: number, b: number, c: number): number {
  const sum = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10);
  return sum + ((a & b) | (c & (a | b))) | 0;
}
