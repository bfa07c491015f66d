import type * as shown from "../../../lib/admin/shown.ts";
import { Compare, Filter, Moment, Section, Select, Submit } from "../components/all.ts";
import { metTitle } from "../verdicts/attempts.ts";
import { uncapital } from "../verdicts/endpoint.ts";
import { told } from "../verdicts/verdict.ts";
import type { House } from "../visit.ts";
import { Sentence } from "./verdict.tsx";

/** Stands for the last accepted attempt of the endpoint, in the address. */
export const ACCEPTED = "accepted";

type Side = NonNullable<shown.Comparison["before"]>;

/** Differences between two attempts, and a form to choose others. */
export function ComparisonSection({ house, delivery, name, comparison, chosen }: {
  readonly house: House;
  readonly delivery: shown.DeliveryDetail;
  /** Of the endpoint. */
  readonly name: string;
  readonly comparison: shown.Comparison;
  /** The other side: `accepted`, or the number of an attempt. */
  readonly chosen: string;
}) {
  const { before, after, rows, same } = comparison;
  const numbers = delivery.attempts.map(({ number }) => number);
  return (
    <Section id="compare" title="What changed">
      <Compare
        heads={before === null
          ? ["", ""]
          : [<SideHead side={before} house={house} />, <SideHead side={after} house={house} />]}
        rows={rows.map((row) => ({
          label: row.label,
          before: row.raw ? <code>{row.before}</code> : <Sentence words={told(row.before)} />,
          after: row.raw ? <code>{row.after}</code> : <Sentence words={told(row.after)} />,
          note: row.note === null ? null : <Sentence words={told(row.note)} />,
        }))}
        same={before === null
          ? `${name} has accepted nothing before this attempt, as far as is kept.`
          : rows.length === 0
          ? `Nothing differs. ${same}`
          : same}
        choose={numbers.length === 0
          ? null
          : (
            <Filter action={`${house.base}/deliveries/${delivery.id}`}>
              <Select
                name="with"
                label="Compare"
                value={chosen}
                options={[
                  { value: ACCEPTED, label: "Last accepted" },
                  ...numbers.map((number) => ({
                    value: String(number),
                    label: `Attempt ${number}`,
                  })),
                ]}
              />
              {" against "}
              <Select
                name="attempt"
                label="Against"
                value={String(after.attempt)}
                options={numbers.map((number) => ({
                  value: String(number),
                  label: `Attempt ${number}`,
                }))}
              />{" "}
              <Submit label="Compare" kind="plain" />
            </Filter>
          )}
      />
    </Section>
  );
}

function SideHead({ side, house }: { readonly side: Side; readonly house: House }) {
  const met = side.outcome === "delivered" ? "accepted" : uncapital(metTitle(side, house.audience));
  return (
    <>
      <Moment at={side.started_at} style="step" />
      {`, ${met}`}
    </>
  );
}
