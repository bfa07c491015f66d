/** The faults of now, since when, and whom they affect. */
export function OverviewPage() {
  return <h1>Overview</h1>;
}
