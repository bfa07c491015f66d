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

// The Levenshtein distance, in which two neighbours that changed places are one slip.
function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const swapped = i > 0 && j > 0 && a[i] === b[j - 1] && a[i - 1] === b[j];
      next.push(Math.min(
        (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1),
        (row[j + 1] ?? 0) + 1,
        (next[j] ?? 0) + 1,
        swapped ? (before[j - 1] ?? 0) + 1 : Infinity,
      ));
    }
    [before, row] = [row, next];
  }
  return row[b.length] ?? 0;
}
