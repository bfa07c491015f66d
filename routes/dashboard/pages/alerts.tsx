import { Empty, Section, Verdict } from "../components/all.ts";

/** Conditions that are announced when they begin and when they end. */
export function AlertsPage() {
  return (
    <>
      <Verdict
        tone="calm"
        state={{ kind: "delivered", word: "Quiet" }}
        headline="No alert is open"
      />
      <Section title="Open alerts">
        <Empty cause="No alert is open">
          An alert begins when deliveries fail or are overdue for a while, and ends by itself.
        </Empty>
      </Section>
    </>
  );
}
