/**
 * How a time is written: `relative` as an age, `absolute` with its day, `minute` the same without seconds,
 * `time` or `date` alone, `step` to the second and with its day unless that is today.
 */
export type MomentStyle = "relative" | "absolute" | "minute" | "time" | "date" | "step";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/**
 * A time (ISO 8601). The script writes it in the viewer's time zone, ages included; without it, in UTC.
 */
export function Moment(
  { at, style = "absolute" }: { readonly at: string; readonly style?: MomentStyle },
) {
  return <time datetime={at} data-style={style}>{utcWords(at, style)}</time>;
}

/** A sentence as it goes to a terminal, too: its times (ISO 8601) and its `code` are shown as such. */
export function TimedText({ text }: { readonly text: string }) {
  const parts = text.split(/(\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|`[^`]+`)/);
  // Every second part is what the pattern caught.
  return (
    <>
      {parts.map((part, index) =>
        index % 2 === 0
          ? unbroken(part)
          : part.startsWith("`")
          ? <code>{part.slice(1, -1)}</code>
          : <Moment at={part} style="minute" />
      )}
    </>
  );
}

const UNIT = /(\d) (?=(?:%|ms|s|min|h|d|of|(?:second|minute|hour|day)s?)(?!\w))/g;

/** The text with numbers on the same line as their units. */
export function unbroken(text: string): string {
  return text.replace(UNIT, "$1\u00a0");
}

/** An age, as lists have it: `4 min ago`. */
export function Ago({ at }: { readonly at: string }) {
  return <Moment at={at} style="relative" />;
}

/** `26 Nov 14:02 UTC`, `14:02 UTC` or `26 Nov 2026`. */
export function utcWords(at: string, style: MomentStyle): string {
  const has_seconds = style === "absolute" || style === "step";
  const time = `${at.slice(11, has_seconds ? 19 : 16)} UTC`;
  if (style === "time") return time;
  const day = `${Number(at.slice(8, 10))} ${MONTHS[Number(at.slice(5, 7)) - 1]}`;
  return style === "date" ? `${day} ${at.slice(0, 4)}` : `${day} ${time}`;
}

/** How long something took: `84 ms`, `11.4 s`, `1 min 3 s`, `6 h 11 min`, `2 d 3 h`. */
export function Duration({ ms }: { readonly ms: number }) {
  return <>{durationWords(ms)}</>;
}

/** A duration in milliseconds as `Duration` writes it. */
export function durationWords(ms: number): string {
  if (ms < 1) return `${Math.max(0, ms).toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1).replace(/\.0$/, "")} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return both(Math.floor(seconds / 60), "min", seconds % 60, "s");
  const minutes = Math.round(ms / 60_000);
  if (minutes < 1_440) return both(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(ms / 3_600_000);
  return both(Math.floor(hours / 24), "d", hours % 24, "h");
}

function both(large: number, unit: string, small: number, smaller: string): string {
  return small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${smaller}`;
}
