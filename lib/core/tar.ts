import { Buffer } from "node:buffer";

/** Headers of tar archives (POSIX.1-1988, ustar), as far as a backup needs them. */

/** Everything in an archive is padded to a multiple of this. */
export const BLOCK = 512;

/** An entry of an archive: a regular file or a directory. */
export interface TarEntry {
  /** Its path, at most 100 bytes of ASCII. */
  readonly name: string;
  readonly is_directory: boolean;
  /** Bytes of its content, 0 for a directory. */
  readonly size: number;
}

/** The end of an archive: two empty blocks. */
export const TAR_END: Uint8Array = new Uint8Array(2 * BLOCK);

/** Bytes that follow a content of that size, up to the next block. */
export function paddingOf(size: number): number {
  return (BLOCK - size % BLOCK) % BLOCK;
}

const [MODE_FILE, MODE_DIRECTORY] = [0o600, 0o700];
const [FILE, DIRECTORY] = ["0", "5"];
/** The place of the checksum, which counts as spaces when it is made. */
const [SUM_FROM, SUM_TO] = [148, 156];

/** The header of an entry; `at_s` is the time of its last change, in seconds since 1970. */
export function tarHeader({ name, is_directory, size }: TarEntry, at_s: number): Uint8Array {
  if (!/^[\x21-\x7e]{1,100}$/.test(name)) throw new Error(`No name for an archive: ${name}`);
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number) =>
    header.write(value.toString(8).padStart(digits, "0"), at, "latin1");
  header.write(name, 0, "latin1");
  octal(is_directory ? MODE_DIRECTORY : MODE_FILE, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(at_s, 136, 11);
  header.write(is_directory ? DIRECTORY : FILE, 156, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  octal(sumOf(header), SUM_FROM, 6);
  header.write("\x00 ", SUM_FROM + 6, "latin1");
  return header;
}

/** The entry of a header; null for the empty block that ends an archive. Throws an `Error` for anything else. */
export function readTarHeader(block: Uint8Array): TarEntry | null {
  if (block.every((byte) => byte === 0)) return null;
  const header = Buffer.from(block.buffer, block.byteOffset, block.length);
  const text = (from: number, to: number) =>
    header.toString("latin1", from, to).replace(/\0.*$/s, "");
  const number = (from: number, to: number) => parseInt(text(from, to).trim(), 8);
  const type = text(156, 157);
  const size = number(124, 136);
  const is_sound = number(SUM_FROM, SUM_TO) === sumOf(header) && Number.isSafeInteger(size) &&
    (type === FILE || type === DIRECTORY);
  if (!is_sound) throw new Error("It has a header that is damaged, or of another kind");
  return { name: text(0, 100), is_directory: type === DIRECTORY, size };
}

function sumOf(header: Uint8Array): number {
  const spaces = 0x20 * (SUM_TO - SUM_FROM);
  return header.reduce(
    (sum, byte, at) => at >= SUM_FROM && at < SUM_TO ? sum : sum + byte,
    spaces,
  );
}
