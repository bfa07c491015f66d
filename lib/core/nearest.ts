/** The one of `names` that `given` probably means, or undefined if none is near. */
export function nearest(given: string, names: readonly string[]): string | undefined {
  return nearestFirst(given, names)[0];
}

/** Those of `names` that `given` may mean, the nearest first. */
export function nearestFirst(given: string, names: readonly string[]): string[] {
  const most = (name: string) => Math.max(1, name.length / 3);
  return names
    // No distance is below the difference in length, and long names are expensive.
    .filter((name) => Math.abs(name.length - given.length) <= most(name))
    .map((name) => ({ name, distance: distance(given.toLowerCase(), name.toLowerCase()) }))
    .filter((found) => found.distance <= most(found.name))
    .toSorted((a, b) => a.distance - b.distance)
    .map(({ name }) => name);
}

// The Levenshtein distance, with one row.
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, char] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const changed = (row[j] ?? 0) + (char === b[j] ? 0 : 1);
      next.push(Math.min(changed, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
