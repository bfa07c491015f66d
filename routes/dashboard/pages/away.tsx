import type { JSX } from "hono/jsx/jsx-runtime";
import type { LastKnown } from "../last_known.ts";
import type { House } from "../visit.ts";

/** Below that it is one statement that got no answer, not the database. */
const SILENT_MS = 3_000;

/** Says that the database is away, what that means, and the last known numbers with their age. */
export function AwayPage(
  { house, silent_ms, now, known }: {
    readonly house: House;
    /** How long the database has been silent, in milliseconds. */
    readonly silent_ms: number;
    /** In milliseconds since 1970. */
    readonly now: number;
    readonly known: LastKnown | undefined;
  },
): JSX.Element {
  return (
    <>
      <h1>
        {silent_ms < SILENT_MS
          ? "The database did not answer in time"
          : `The database has not answered for ${inWords(silent_ms)}`}
      </h1>
      <p>
        {house.audience === "operator"
          ? "New posts from BookMe get a 503, so BookMe keeps them and tries again. "
          : "New bookings are kept meanwhile. "}
        <strong>Nothing accepted is lost</strong>; sending resumes when the database is back.
      </p>
      <p>
        <a href={house.base}>Try again</a>
      </p>
      {known === undefined ? null : (
        <section>
          <h2>
            Numbers from <time datetime={new Date(known.at).toISOString()}>{clock(known.at)}</time>,
            {" "}
            {inWords(Math.max(0, now - known.at))} ago
          </h2>
          <dl>
            {known.figures.map(({ label, value, note }) => (
              <div>
                <dt>{label}</dt>
                <dd>
                  {value} {note}
                </dd>
              </div>
            ))}
          </dl>
        </section>
      )}
    </>
  );
}

function clock(at: number): string {
  return `${new Date(at).toISOString().slice(11, 19)} UTC`;
}

function inWords(ms: number): string {
  const [count, unit] = ms < 120_000
    ? [Math.round(ms / 1_000), "second"]
    : ms < 7_200_000
    ? [Math.round(ms / 60_000), "minute"]
    : [Math.round(ms / 3_600_000), "hour"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
