import { Buffer } from "node:buffer";
import { zstdDecompressSync } from "node:zlib";
import type { PGliteOptions } from "@electric-sql/pglite";

/** The smallest WebAssembly module. PGlite loads initdb's at each start, and no database is made by it here. */
const NO_MODULE = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));

/**
 * The files of PGlite that are not JavaScript, as options for opening a cluster. An executable has them compressed,
 * from `deploy/bundle.ts`: each megabyte of it costs ten milliseconds of every start, whatever database it is on.
 */
export async function pgliteFiles(): Promise<
  Pick<PGliteOptions, "pgliteWasmModule" | "initdbWasmModule" | "fsBundle">
> {
  const initdbWasmModule = NO_MODULE;
  if (!Deno.build.standalone) return { initdbWasmModule };
  return {
    pgliteWasmModule: await WebAssembly.compile(unpacked("./pglite.wasm.zst")),
    initdbWasmModule,
    fsBundle: new Blob([unpacked("./pglite.data.zst")]),
  };
}

function unpacked(name: string): Buffer<ArrayBuffer> {
  const packed = Deno.readFileSync(new URL(name, import.meta.url));
  return zstdDecompressSync(packed) as Buffer<ArrayBuffer>;
}
