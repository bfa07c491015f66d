const ENCODER = new TextEncoder();
const borrowed = new Uint8Array(64 * 1024);

/**
 * The text's UTF-8 bytes, to be read at once: the next call writes over them. Making an array for each
 * text costs ten times what encoding does, and feeds the garbage collector.
 */
export function borrowUtf8(text: string): Uint8Array {
  // No character of a JavaScript string takes more than three bytes.
  if (text.length * 3 > borrowed.length) return ENCODER.encode(text);
  return borrowed.subarray(0, ENCODER.encodeInto(text, borrowed).written);
}
