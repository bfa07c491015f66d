import { Buffer } from "node:buffer";

/**
 * One HTTP/1.1 response, read from bytes as they come (RFC 9112). A clear status line decides the
 * outcome. Whatever curl, Node or Python read after it, or around it, is read here too; a mistake that
 * makes the length of the body unclear only costs the connection.
 *
 * The result does not depend on how the bytes were split. Memory is bounded by the limits below.
 */

/** Maximum bytes of all heads of one response together, interim ones included. */
export const MAX_HEAD_BYTES = 64 * 1024;
/** Maximum bytes kept of the final head. */
export const MAX_KEPT_HEAD_BYTES = 8 * 1024;
/** Maximum bytes kept of a body. */
export const MAX_BODY_BYTES = 64 * 1024;
/** Maximum bytes kept of what is no response. */
export const MAX_RECEIVED_BYTES = 4 * 1024;

const MAX_FIELDS = 256;
const MAX_CHUNK_LINE_BYTES = 1024;
const MAX_TRAILER_BYTES = 8 * 1024;
const MAX_QUOTE_CHARS = 120;
const MAX_IDLE_S = 60;

const HTAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const DOT = 46;
const COLON = 58;
const VERSION_PREFIX = "HTTP/";
const NOTHING = new Uint8Array(0);

type Framing = "length" | "chunked" | "close";
type ChunkStep = "size" | "data" | "data_end" | "trailer";

/** A response being read. Only `readResponse` and `endResponse` write to it. */
export interface Response {
  /** `failed`: there was no clear status line. From `body` on, status and head are final. */
  phase: "head" | "body" | "done" | "failed";
  /** The mistake, if `failed`, and its place: `byte 10 of the head: malformed status line "…"`. */
  mistake: string;
  /** The first bytes that came, if `failed`: at most 4 KiB. */
  received: Uint8Array;
  /** Whether a byte has come. */
  started: boolean;
  /** 0 before the status line. */
  status: number;
  /** Status line and fields of the final response, lines split by \r\n, cut at 8 KiB. */
  head: string;
  retry_after: string | undefined;
  /** Whether the body lacks bytes that were sent, or was malformed. */
  truncated: boolean;
  /** Whether the connection can carry another request once `done`. */
  reusable: boolean;
  /** Seconds that the receiver keeps an idle connection, if it says so. */
  keep_alive_s: number | undefined;

  // Of the head: bytes not yet read, the start of the present line, and how far it was searched.
  pending: Uint8Array;
  line_start: number;
  searched: number;
  head_bytes: number;
  fields: number;
  version_minor: number;
  /** Not as RFC 9112 has it, so the connection carries nothing more. */
  untidy: boolean;
  /** Untidy in such a way that only closing ends the body. */
  unclear: boolean;
  /** The last field, in lower case, if it matters here: its value may go on in the next line. */
  last_field: string;
  content_length: number | undefined;
  chunked: boolean;
  close: boolean;
  persist: boolean;

  // Of the body.
  framing: Framing;
  remaining: number;
  /** Room for it; the first `kept` bytes are in use. */
  body: Uint8Array;
  kept: number;
  step: ChunkStep;
  line: string;
  trailer_bytes: number;
}

/** A response before its first byte. */
export function newResponse(): Response {
  return {
    phase: "head",
    mistake: "",
    received: NOTHING,
    started: false,
    status: 0,
    head: "",
    retry_after: undefined,
    truncated: false,
    reusable: false,
    keep_alive_s: undefined,
    pending: NOTHING,
    line_start: 0,
    searched: 0,
    head_bytes: 0,
    fields: 0,
    version_minor: 1,
    untidy: false,
    unclear: false,
    last_field: "",
    content_length: undefined,
    chunked: false,
    close: false,
    persist: false,
    framing: "length",
    remaining: 0,
    body: NOTHING,
    kept: 0,
    step: "size",
    line: "",
    trailer_bytes: 0,
  };
}

/**
 * Reads the next bytes and keeps none of their memory. Bytes after the end of the response only make
 * its connection not reusable.
 */
export function readResponse(response: Response, bytes: Uint8Array): void {
  if (bytes.length === 0 || response.phase === "failed") return;
  response.started = true;
  if (response.phase === "head") {
    readHead(response, bytes);
  } else if (response.phase === "body") {
    readBody(response, bytes, 0);
  } else {
    response.reusable = false;
  }
}

/**
 * Ends a response early: its connection ended (`closed`), or its body has no more time. One that was
 * closed after a final status line is done; another one still in its head stays there, for the caller
 * to judge.
 */
export function endResponse(response: Response, closed: boolean): void {
  if (response.phase === "done") response.reusable = false;
  if (response.phase === "head" && closed) {
    if (response.status === 0) readLastLine(response);
    if (response.status >= 200) settle(response, response.pending);
  }
  if (response.phase === "body") finish(response, !(closed && response.framing === "close"), false);
}

/** Hands over the kept part of the body, so that an idle connection does not hold it. */
export function takeBody(response: Response): Uint8Array {
  const { body, kept } = response;
  response.body = NOTHING;
  return kept === body.length ? body : body.subarray(0, kept);
}

/** A peer's text, quoted for a log: cut to 120 characters, control and non-ASCII ones escaped. */
export function quote(text: string): string {
  const cut = text.length > MAX_QUOTE_CHARS;
  const safe = text.slice(0, MAX_QUOTE_CHARS).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
  return `"${safe.slice(0, MAX_QUOTE_CHARS)}${cut || safe.length > MAX_QUOTE_CHARS ? "…" : ""}"`;
}

function readHead(response: Response, bytes: Uint8Array): void {
  const own = response.pending.length > 0;
  let buffer = own ? concat(response.pending, bytes) : bytes;
  response.pending = NOTHING;
  for (;;) {
    let end = buffer.indexOf(LF, response.searched);
    const first = response.status === 0;
    const text = first ? textStart(buffer) : 0;
    if (first) {
      // Before the line is complete: another protocol may never complete one.
      const odd = oddByte(buffer, text);
      if (odd >= 0) return failStatusLine(response, buffer, odd);
      // All empty lines at once: the text after them would be searched for from each of them.
      if (end >= 0 && end < text) end = buffer.lastIndexOf(LF, text - 1);
    }
    const seen = response.head_bytes + (end < 0 ? buffer.length : end + 1);
    if (seen > MAX_HEAD_BYTES) {
      if (response.status >= 200) return settle(response, buffer);
      return fail(
        response,
        buffer,
        MAX_HEAD_BYTES - response.head_bytes,
        `head over ${MAX_HEAD_BYTES} bytes`,
      );
    }
    if (end < 0) {
      response.searched = buffer.length;
      response.pending = own ? buffer : new Uint8Array(buffer);
      return;
    }
    response.searched = end + 1;
    const start = response.line_start;
    let line_end = end;
    while (line_end > start && buffer[line_end - 1] === CR) line_end--;
    if (line_end !== end - 1) response.untidy = true;
    if (first && text >= line_end) line_end = start;
    if (line_end > start) {
      if (first) readStatusLine(response, buffer, line_end);
      else readField(response, buffer, start, line_end);
    } else if (first) { // an empty line before the response
      response.untidy = true;
      buffer = restart(response, buffer, end + 1);
      continue;
    } else if (response.status >= 200) {
      return endHead(response, buffer, end + 1);
    } else if (response.status === 101) {
      return fail(response, buffer, 0, "101 Switching Protocols, not asked for");
    } else {
      endInterim(response);
      buffer = restart(response, buffer, end + 1);
      continue;
    }
    if (!isInHead(response)) return;
    response.line_start = end + 1;
  }
}

function endHead(response: Response, buffer: Uint8Array, body_start: number): void {
  response.head = headText(response, buffer);
  if (response.content_length !== undefined && response.chunked) response.untidy = true;
  chooseFraming(response);
  const keep = response.version_minor === 1 ? !response.close : response.persist && !response.close;
  // A receiver that announces a body where none belongs may send it, as the next response.
  const announced = response.chunked || (response.content_length ?? 0) > 0;
  const sound = response.framing !== "close" && !(isBodiless(response) && announced);
  response.reusable = keep && sound && !response.untidy;
  response.phase = "body";
  if (response.framing === "length" && response.remaining === 0) finish(response, false, true);
  if (body_start < buffer.length) readResponse(response, buffer.subarray(body_start));
}

/** Ends a response within its head, after a final status line. */
function settle(response: Response, buffer: Uint8Array): void {
  response.untidy = true;
  response.head = headText(response, buffer);
  response.pending = NOTHING;
  finish(response, true, false);
}

/** The complete lines of the head, without the last line's end. */
function headText(response: Response, buffer: Uint8Array): string {
  const { line_start } = response;
  if (!response.untidy) return latin1(buffer, 0, Math.min(line_start - 2, MAX_KEPT_HEAD_BYTES));
  return latin1(buffer, 0, Math.min(line_start, MAX_KEPT_HEAD_BYTES))
    .replace(/\r*\n[ \t]+/g, " ") // folded
    .replace(/\r*\n/g, "\r\n").trim().slice(0, MAX_KEPT_HEAD_BYTES);
}

/** Goes on after bytes of the head that are over. */
function restart(response: Response, buffer: Uint8Array, end: number): Uint8Array {
  response.received = receivedWith(response, buffer.subarray(0, end));
  response.head_bytes += end;
  response.line_start = response.searched = 0;
  return buffer.subarray(end);
}

function receivedWith({ received }: Response, more: Uint8Array): Uint8Array {
  if (received.length === MAX_RECEIVED_BYTES) return received;
  return concat(received, more.subarray(0, MAX_RECEIVED_BYTES - received.length));
}

function endInterim(response: Response): void {
  response.status = response.fields = 0;
  response.last_field = "";
  response.unclear = false;
  response.content_length = response.keep_alive_s = response.retry_after = undefined;
  response.chunked = response.close = response.persist = false;
}

/** RFC 9112, 6.3. */
function chooseFraming(response: Response): void {
  if (isBodiless(response)) {
    response.framing = "length";
    response.remaining = 0;
  } else if (response.unclear) {
    response.framing = "close";
  } else if (response.chunked && response.version_minor > 0) {
    response.framing = "chunked";
  } else if (response.content_length !== undefined) {
    response.framing = "length";
    response.remaining = response.content_length;
  } else {
    response.framing = "close";
  }
}

function isBodiless({ status }: Response): boolean {
  return status === 204 || status === 304;
}

/** The place after blanks and empty lines. */
function textStart(buffer: Uint8Array): number {
  let at = 0;
  while (isBlank(buffer[at]) || buffer[at] === CR || buffer[at] === LF) at++;
  return at;
}

/** Where the bytes from `start` on begin to differ from any start of a status line; -1 if they do not. */
function oddByte(buffer: Uint8Array, start: number): number {
  const end = Math.min(start + VERSION_PREFIX.length, buffer.length);
  for (let at = start; at < end; at++) {
    const byte = buffer[at] ?? 0;
    const upper = byte >= 97 && byte <= 122 ? byte - 32 : byte;
    if (upper !== VERSION_PREFIX.charCodeAt(at - start)) return at;
  }
  return -1;
}

interface StatusLine {
  readonly status: number;
  readonly version_minor: number;
  readonly tidy: boolean;
}

/**
 * `HTTP/1.1 200 OK`, or the place of the mistake in it. The reason, and the space before it, may be
 * missing. Blanks may be more than one space, and the version any: what it carries is read as HTTP/1.
 */
function parseStatusLine(buffer: Uint8Array, end: number): StatusLine | number {
  const digit = (at: number) => {
    const value = (buffer[at] ?? 0) - 48;
    return at < end && value >= 0 && value <= 9 ? value : NaN;
  };
  const start = textStart(buffer);
  let at = start + VERSION_PREFIX.length;
  const number = () => {
    let value = digit(at);
    while (digit(++at) >= 0) value = value * 10 + digit(at);
    return value;
  };
  const major = digit(at) >= 0 ? number() : NaN;
  if (Number.isNaN(major)) return at;
  let minor = 0;
  if (at < end && buffer[at] === DOT) {
    at++;
    if (Number.isNaN(digit(at))) return at;
    minor = number();
  }
  const version_end = at;
  while (at < end && isBlank(buffer[at])) at++;
  if (at === version_end) return at;
  const status = digit(at) * 100 + digit(at + 1) * 10 + digit(at + 2);
  if (!(status >= 100)) return at;
  at += 3;
  if (digit(at) >= 0) return at;
  const tidy = start === 0 && buffer[0] === 72 && buffer[1] === 84 && major === 1 && minor <= 1 &&
    version_end === 8 && at === 12 && (at === end || buffer[12] === SPACE) && buffer[8] === SPACE &&
    isText(buffer, 12, end);
  return { status, version_minor: major > 1 ? 1 : major < 1 ? 0 : minor, tidy };
}

function readStatusLine(response: Response, buffer: Uint8Array, end: number): void {
  const line = parseStatusLine(buffer, end);
  if (typeof line === "number") failStatusLine(response, buffer, line, end);
  else applyStatusLine(response, line);
}

function applyStatusLine(response: Response, { status, version_minor, tidy }: StatusLine): void {
  if (!tidy) response.untidy = true;
  response.version_minor = version_minor;
  response.status = status;
}

/** A status line that the end of the connection ended. */
function readLastLine(response: Response): void {
  const { pending } = response;
  if (oddByte(pending, textStart(pending)) >= 0) return;
  const line = parseStatusLine(pending, pending.length);
  if (typeof line === "number") return;
  applyStatusLine(response, line);
  response.untidy = true;
  response.line_start = pending.length;
}

function readField(response: Response, buffer: Uint8Array, start: number, end: number): void {
  if (++response.fields > MAX_FIELDS) {
    response.untidy = true;
    if (response.status >= 200) return settle(response, buffer);
    return;
  }
  if (isBlank(buffer[start])) return goOn(response, latin1(buffer, start, end));
  response.last_field = "";
  let name_end = start;
  while (name_end < end && TOKEN[buffer[name_end] ?? 0] === 1) name_end++;
  let colon = name_end;
  while (colon < end && isBlank(buffer[colon])) colon++;
  const named = name_end > start && buffer[colon] === COLON;
  if (!named || colon > name_end || !isText(buffer, colon, end)) response.untidy = true;
  if (!named) return;
  switch (name_end - start) { // only names of these lengths matter here
    case 10:
    case 11:
    case 14:
    case 17: {
      const name = latin1(buffer, start, name_end).toLowerCase();
      let from = colon + 1;
      let to = end;
      while (from < to && isBlank(buffer[from])) from++;
      while (to > from && isBlank(buffer[to - 1])) to--;
      response.last_field = name;
      applyField(response, name, latin1(buffer, from, to));
    }
  }
}

/** A folded line, which belongs to the field before it (RFC 9112, 5.2). */
function goOn(response: Response, line: string): void {
  response.untidy = true;
  const { last_field } = response;
  if (last_field === "retry-after") {
    response.retry_after = `${response.retry_after} ${line.trim()}`.trim();
  } else if (last_field === "content-length" || last_field === "transfer-encoding") {
    response.unclear = true;
  }
}

function applyField(response: Response, name: string, value: string): void {
  if (name === "content-length") {
    if (!value.includes(",")) return applyLength(response, value);
    for (const item of value.split(",")) applyLength(response, item.trim());
  } else if (name === "transfer-encoding") {
    const coding = value.toLowerCase();
    if (coding === "chunked" && !response.chunked) {
      response.chunked = true;
      return;
    }
    response.untidy = true;
    if (coding !== "chunked" && coding !== "identity") response.unclear = true;
  } else if (name === "connection") {
    if (value === "keep-alive") { // the usual spelling
      response.persist = true;
      return;
    }
    for (const option of value.toLowerCase().split(",")) {
      if (option.trim() === "close") response.close = true;
      if (option.trim() === "keep-alive") response.persist = true;
    }
  } else if (name === "keep-alive") {
    const timeout = /(?:^|[,;])\s*timeout\s*=\s*(\d{1,9})/i.exec(value)?.[1];
    if (timeout !== undefined) response.keep_alive_s = Math.min(Number(timeout), MAX_IDLE_S);
  } else if (name === "retry-after") {
    response.retry_after = value;
  }
}

function applyLength(response: Response, text: string): void {
  const length = /^\d{1,15}$/.test(text) ? Number(text) : undefined;
  if (length === undefined || (response.content_length ?? length) !== length) {
    response.untidy = response.unclear = true;
  } else {
    response.content_length = length;
  }
}

function readBody(response: Response, bytes: Uint8Array, start: number): void {
  if (response.framing === "chunked") return readChunked(response, bytes, start);
  const room = bytes.length - start;
  const wanted = response.framing === "length" ? Math.min(room, response.remaining) : room;
  if (!keep(response, bytes, start, start + wanted)) return;
  if (response.framing !== "length") return;
  response.remaining -= wanted;
  if (response.remaining === 0) finish(response, false, wanted === room);
}

/** RFC 9112, 7.1. A mistake here only ends the body: the head has decided. */
function readChunked(response: Response, bytes: Uint8Array, start: number): void {
  let at = start;
  while (at < bytes.length && response.phase === "body") {
    if (response.step === "data") {
      const wanted = Math.min(bytes.length - at, response.remaining);
      if (!keep(response, bytes, at, at + wanted)) return;
      at += wanted;
      response.remaining -= wanted;
      if (response.remaining === 0) response.step = "data_end";
    } else {
      const byte = bytes[at++] ?? 0;
      response.line += String.fromCharCode(byte);
      if (response.step === "trailer") response.trailer_bytes++;
      if (byte === LF) {
        readChunkLine(response, response.line, at === bytes.length);
        response.line = "";
      } else if (
        response.line.length > MAX_CHUNK_LINE_BYTES || response.trailer_bytes > MAX_TRAILER_BYTES ||
        response.step === "data_end" && response.line !== "\r"
      ) {
        finish(response, true, false);
      }
    }
  }
}

function readChunkLine(response: Response, line: string, last: boolean): void {
  if (!line.endsWith("\r\n")) return finish(response, true, false);
  if (response.step === "data_end") {
    response.step = "size";
  } else if (response.step === "trailer") {
    if (line === "\r\n") finish(response, false, last);
  } else {
    const size = /^([0-9a-f]{1,12})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n$/i.exec(line)?.[1];
    if (size === undefined) return finish(response, true, false);
    response.remaining = parseInt(size, 16);
    response.step = response.remaining === 0 ? "trailer" : "data";
  }
}

/** Keeps body bytes while there is room; returns false if that ended the body. */
function keep(response: Response, bytes: Uint8Array, start: number, end: number): boolean {
  const room = MAX_BODY_BYTES - response.kept;
  const part = bytes.subarray(start, Math.min(end, start + room));
  const kept = response.kept + part.length;
  if (kept > response.body.length) {
    // Most bodies are one piece. Many small pieces must not cost an object each.
    const larger = new Uint8Array(response.kept === 0 ? kept : Math.max(kept, 2 * response.kept));
    larger.set(response.body);
    response.body = larger;
  }
  response.body.set(part, response.kept);
  response.kept = kept;
  if (end - start <= room) return true;
  finish(response, true, false);
  return false;
}

/** `clean`: the response ended by its own framing, and nothing came after it. */
function finish(response: Response, truncated: boolean, clean: boolean): void {
  response.phase = "done";
  response.truncated = truncated;
  response.line = "";
  if (!clean) response.reusable = false;
}

/** `at` is the place of the mistake in the buffer. */
function fail(response: Response, buffer: Uint8Array, at: number, mistake: string): void {
  response.phase = "failed";
  response.mistake = `byte ${response.head_bytes + at + 1} of the head: ${mistake}`;
  response.received = receivedWith(response, buffer);
  response.pending = NOTHING;
}

function failStatusLine(response: Response, buffer: Uint8Array, at: number, end?: number): void {
  const line_end = end ?? buffer.indexOf(LF, at);
  const text = latin1(
    buffer,
    0,
    Math.min(line_end < 0 ? buffer.length : line_end, MAX_QUOTE_CHARS + 1),
  );
  fail(response, buffer, at, `malformed status line ${quote(text.replace(/\r$/, ""))}`);
}

// A function, because the compiler believes that `phase` cannot have changed.
function isInHead(response: Response): boolean {
  return response.phase === "head";
}

/** Whether the bytes have no NUL and no stray CR (RFC 9110, 5.5); a LF has ended the line already. */
function isText(buffer: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = buffer[at];
    if (byte === 0 || byte === CR) return false;
  }
  return true;
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === HTAB;
}

/** The characters of a field name (RFC 9110, 5.6.2). */
const TOKEN = Uint8Array.from(
  { length: 256 },
  (_, byte) => /[!#$%&'*+.^_`|~0-9A-Za-z-]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

function latin1(buffer: Uint8Array, start: number, end: number): string {
  if (end - start > 32) {
    const view = Buffer.isBuffer(buffer)
      ? buffer
      : Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    return view.toString("latin1", start, end);
  }
  // Names and short values: faster than the call into the runtime.
  let text = "";
  for (let at = start; at < end; at++) text += String.fromCharCode(buffer[at] ?? 0);
  return text;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}
