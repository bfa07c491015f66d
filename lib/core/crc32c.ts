/** The reversed polynomial of Castagnoli. */
const POLYNOMIAL = 0x82f63b78;

/** The CRC-32C (RFC 3720) of bytes, or of those that `before` is the checksum of with these after them. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  let crc = ~before;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (POLYNOMIAL & -(crc & 1));
  }
  return ~crc >>> 0;
}
