import { type Invariant, INVARIANTS } from "./ledger.ts";
import type { Round } from "./round.ts";

const NAMES = Object.keys(INVARIANTS) as Invariant[];
const BEGIN = "<!-- made by deno task torture --write: begin -->";
/** Violations of one invariant that are printed. */
const MAX_SHOWN = 10;
const END = "<!-- end -->";

/** One line about a round, and one for each violation, the first of each invariant. */
export function inWords(round: Round): string[] {
  const { fault, skipped, violations, counts, strikes, took_s, drained_s } = round;
  if (skipped !== undefined) return [`${fault}: skipped: ${skipped}`];
  const verdict = violations.length === 0 ? "ok" : `${violations.length} VIOLATIONS`;
  return [
    `${fault}: ${verdict}; ${strikes} strikes, ${counts.acknowledged} acknowledged, ` +
    `${round.ambiguous} unanswered, ${round.refused} refused, ${counts.deliveries} deliveries ` +
    `(${counts.failed} failed), ${counts.attempts} attempts (${counts.interrupted} interrupted), ` +
    `${counts.requests} requests, ${counts.repeated} taken again, ${counts.late} late; ` +
    `${round.kills} kills, ${counts.announced} alerts announced, ${counts.erased} events erased, ` +
    `${counts.dropped} partitions dropped; drained in ${drained_s.toFixed(0)} s of ${
      took_s.toFixed(0)
    }`,
    ...NAMES.flatMap((name) => {
      const broken = violations.filter(({ invariant }) => invariant === name);
      const more = broken.length - MAX_SHOWN;
      return [
        ...broken.slice(0, MAX_SHOWN).map(({ text }) => `  ${name}: ${text}`),
        ...(more > 0 ? [`  ${name}: and ${more} more`] : []),
      ];
    }),
  ];
}

/** What all rounds amount to. */
export function summary(rounds: readonly Round[]): string {
  const total = (of: (round: Round) => number) => rounds.reduce((sum, round) => sum + of(round), 0);
  const deliveries = total(({ counts }) => counts.deliveries);
  const repeated = total(({ counts }) => counts.repeated);
  return `${rounds.length} rounds, ${total(({ strikes }) => strikes)} strikes, ` +
    `${total(({ kills }) => kills)} kills, ` +
    `${
      total(({ counts }) => counts.acknowledged)
    } events acknowledged, ${deliveries} deliveries, ` +
    `${total(({ counts }) => counts.requests)} requests, ` +
    `${per10000(repeated, deliveries)} of 10,000 deliveries taken again, ` +
    `${total(({ violations }) => violations.length)} violations`;
}

function per10000(part: number, whole: number): string {
  return whole === 0 ? "0" : (part / whole * 10_000).toFixed(1);
}

/** Rounds of one fault as one. */
export function merge(rounds: readonly Round[]): Round[] {
  return [...Map.groupBy(rounds, ({ fault }) => fault).values()].map((same) =>
    same.reduce((a, b) => ({
      ...a,
      strikes: a.strikes + b.strikes,
      kills: a.kills + b.kills,
      ambiguous: a.ambiguous + b.ambiguous,
      refused: a.refused + b.refused,
      took_s: a.took_s + b.took_s,
      violations: [...a.violations, ...b.violations],
      untested: a.untested.filter((name) => b.untested.includes(name)),
      counts: Object.fromEntries(
        Object.entries(a.counts).map(([name, count]) => [
          name,
          count + b.counts[name as keyof typeof b.counts],
        ]),
      ) as unknown as Round["counts"],
    }))
  );
}

const NOT_TESTED = "–";
const COLUMNS = [
  "fault",
  ...NAMES,
  "strikes",
  "events",
  "deliveries",
  "attempts",
  "interrupted",
  "taken again per 10,000",
  "seed",
  "date",
];

function lineOf(cells: readonly (string | number)[]): string {
  return `| ${cells.join(" | ")} |`;
}

function cellsOf(line: string): string[] {
  return line.split("|").slice(1, -1).map((cell) => cell.trim());
}

/** The page with these rounds in its table; those of other faults stay as they are. */
export function writeTable(page: string, rounds: readonly Round[], versions: string): string {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  const [names = [], , ...old] = begin < 0
    ? []
    : page.slice(begin, end).split("\n").filter((line) => line.startsWith("| ")).map(cellsOf);
  // By the names of its columns then: it may have fewer.
  const lines = new Map(old.map((cells) => {
    const cellOf = (column: string) => cells[names.indexOf(column)] ?? NOT_TESTED;
    return [cellOf("fault"), lineOf(COLUMNS.map(cellOf))];
  }));
  for (const round of merge(rounds)) lines.set(round.fault, tableLine(round));
  const text = [
    BEGIN,
    "",
    `Last run: ${versions}.`,
    "",
    lineOf(COLUMNS),
    lineOf(COLUMNS.map(() => "---")),
    ...lines.values(),
    "",
    ...NAMES.map((name) => `- ${name}: ${INVARIANTS[name]}`),
    "",
    END,
  ].join("\n");
  if (begin < 0) return `${page.trimEnd()}\n\n${text}\n`;
  return page.slice(0, begin) + text + page.slice(end + END.length);
}

function tableLine(round: Round): string {
  const { counts, violations, skipped, untested } = round;
  const cells = skipped !== undefined ? NAMES.map(() => "not run") : NAMES.map((name) => {
    const broken = violations.filter(({ invariant }) => invariant === name).length;
    if (broken > 0) return `**${broken}**`;
    return untested.includes(name) ? NOT_TESTED : "holds";
  });
  const { acknowledged, deliveries, attempts, interrupted, repeated } = counts;
  const numbers = [round.strikes, acknowledged, deliveries, attempts, interrupted];
  const date = new Date().toISOString().slice(0, 10);
  const last = [per10000(repeated, deliveries), round.seed, date];
  return lineOf([round.fault, ...cells, ...numbers, ...last]);
}
