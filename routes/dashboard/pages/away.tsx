import type { JSX } from "hono/jsx/jsx-runtime";
import { Figures, LinkButton, Moment, Section, Verdict } from "../components/all.ts";
import type { LastKnown } from "../last_known.ts";
import type { House } from "../visit.ts";

/** Below that it is one statement that got no answer, not the database. */
const SILENT_MS = 3_000;

/** Says that the database is away, what that means, and the last known numbers with their age. */
export function AwayPage(
  { house, here, silent_ms, now, known }: {
    readonly house: House;
    /** Path and query of the page that was asked for. */
    readonly here: string;
    /** How long the database has been silent, in milliseconds. */
    readonly silent_ms: number;
    /** In milliseconds since 1970. */
    readonly now: number;
    readonly known: LastKnown | undefined;
  },
): JSX.Element {
  const is_silent = silent_ms >= SILENT_MS;
  const answered_at = new Date(now - silent_ms).toISOString();
  const is_operator = house.audience === "operator";
  return (
    <>
      <Verdict
        tone="waiting"
        state={{ kind: "waiting", word: is_operator ? "Database away" : "Not available now" }}
        aside={is_silent
          ? (
            <>
              Last answer <Moment at={answered_at} />
            </>
          )
          : null}
        headline={headline(is_operator, is_silent ? silent_ms : null)}
        actions={<LinkButton href={here} label="Try again" />}
      >
        <p>
          {is_operator
            ? "New posts from BookMe get a 503, so BookMe keeps them and tries again. "
            : "Your bookings are kept meanwhile. "}
          <strong>Nothing accepted is lost</strong>; sending resumes when the database is back.
        </p>
      </Verdict>
      {known === undefined ? null : (
        <Section
          title="Last known numbers"
          aside={
            <>
              From <Moment at={new Date(known.at).toISOString()} />,{" "}
              {inWords(Math.max(0, now - known.at))} ago
            </>
          }
        >
          <Figures items={known.figures} />
        </Section>
      )}
    </>
  );
}

function headline(is_operator: boolean, silent_ms: number | null): string {
  if (!is_operator) return "These pages cannot be shown now";
  return silent_ms === null
    ? "The database does not answer"
    : `The database has not answered for ${inWords(silent_ms)}`;
}

function inWords(ms: number): string {
  const [count, unit] = ms < 120_000
    ? [Math.round(ms / 1_000), "second"]
    : ms < 7_200_000
    ? [Math.round(ms / 60_000), "minute"]
    : [Math.round(ms / 3_600_000), "hour"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
