import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import morph from "idiomorph/dist/idiomorph.min.js" with { type: "text" };
import script from "./assets/dashboard.js" with { type: "text" };
import style from "./assets/style.css" with { type: "text" };

/** A file that pages load. */
export interface Asset {
  readonly name: string;
  /** Its path, with a hash of its content: what is at it never changes. */
  readonly path: string;
  readonly type: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly gzip: Uint8Array<ArrayBuffer>;
}

function asset(name: string, type: string, text: string): Asset {
  const hash = createHash("sha256").update(text).digest("base64url").slice(0, 12);
  const path = `/dashboard/assets/${name.replace(/\.(\w+)$/, `.${hash}.$1`)}`;
  const bytes = new Uint8Array(Buffer.from(text));
  return { name, path, type, bytes, gzip: new Uint8Array(gzipSync(bytes, { level: 9 })) };
}

const SCRIPT = "text/javascript; charset=utf-8";

/** Every file that pages load, in the order of their use; both houses use the same. */
export const ASSETS: readonly Asset[] = [
  asset("style.css", "text/css; charset=utf-8", style),
  asset("idiomorph.js", SCRIPT, morph),
  asset("dashboard.js", SCRIPT, script),
];
