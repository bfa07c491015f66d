/** Server-sent events, as the HTML standard has them (text/event-stream). */

/** The content type of a stream. */
export const EVENT_STREAM = "text/event-stream";

/** A message of a stream. */
export interface Message {
  /** `message` if the stream names none. */
  readonly event: string;
  /** Empty for one that only has an id. */
  readonly data: string;
  /** Where to resume; undefined if the message has none. */
  readonly id?: string;
}

/** A message with JSON, as it is sent. */
export function messageText(event: string, data: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** An id without a message, as it is sent: where to resume from now on. */
export function idText(id: number | string): string {
  return `id: ${id}\n\n`;
}

/** Most characters of an unfinished message. */
const MAX_PENDING = 4 * 1024 * 1024;

/**
 * Reads a stream, piece by piece: returns the messages that each piece completes. Comments and unknown
 * fields are skipped. Throws an `Error` for a message that does not end.
 */
export function makeMessageReader(): (piece: string) => Message[] {
  let rest = "";
  return (piece) => {
    // A carriage return at the end may be half of a line's end.
    const text = rest + piece;
    const held = text.endsWith("\r") ? 1 : 0;
    const blocks = text.slice(0, text.length - held).replace(/\r\n?/g, "\n").split("\n\n");
    rest = (blocks.pop() ?? "") + text.slice(text.length - held);
    if (rest.length > MAX_PENDING) throw new Error("The stream holds a message that does not end");
    return blocks.map(messageOf).filter((message) =>
      message.data !== "" || message.id !== undefined
    );
  };
}

function messageOf(block: string): Message {
  const fields = block.split("\n").map((line) => {
    const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
    return { name, value };
  });
  const last = (wanted: string) => fields.findLast(({ name }) => name === wanted)?.value;
  const id = last("id");
  return {
    event: last("event") || "message",
    data: fields.filter(({ name }) => name === "data").map(({ value }) => value).join("\n"),
    ...(id === undefined ? {} : { id }),
  };
}
