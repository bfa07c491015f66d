import type { DaemonFacts, Details, Facts, TargetFacts, Trouble } from "./kinds.ts";
import { type Found, isEgressBroken, never, type Rule } from "./rules.ts";

/** An alert about a trouble that daemons report themselves. */
function ofDaemons(kind: Trouble["kind"]): Rule {
  return {
    kind,
    is_reminded: true,
    isExplained: never,
    finds: ({ facts: { daemons, now } }) =>
      daemons.flatMap(({ id, troubles }): Found[] => {
        const trouble = troubles.find((one) => one.kind === kind);
        if (trouble === undefined) return [];
        const began_at = now - trouble.for_ms;
        const details = figuresOf(trouble);
        return [{ subject: id, endpoint_no: null, business: null, began_at, details }];
      }),
    endOf({ subject }, { facts: { daemons } }) {
      const daemon = daemons.find(({ id }) => id === subject);
      if (daemon === undefined) return "stopped";
      return daemon.troubles.some((one) => one.kind === kind) ? null : "cleared";
    },
    figures({ subject }, { facts: { daemons } }) {
      const trouble = daemons.find(({ id }) => id === subject)?.troubles
        .find((one) => one.kind === kind);
      return trouble === undefined ? {} : figuresOf(trouble);
    },
  };
}

function figuresOf({ kind: _, for_ms: __, ...figures }: Trouble): Details {
  return figures;
}

// --- daemons_differ --------------------------------------------------------------------------------------

/** A rolling update takes a while. */
const UPDATE_MS = 300_000;

/** Since when daemons differ, and in what; undefined if they agree. */
function difference({ daemons, file }: Facts): { since: number; details: Details } | undefined {
  const differing = daemons.filter((daemon) => daemon.file !== file?.digest);
  const all = { daemons: daemons.length };
  if (file !== null && differing.length > 0) {
    const since = Math.max(file.seen_at, ...differing.map(({ started_at }) => started_at));
    return { since, details: { ...all, differing: differing.length, differ_in: "file" } };
  }
  const newest = daemons.toSorted((a, b) => b.started_at - a.started_at)[0];
  const others = daemons.filter(({ version }) => version !== newest?.version);
  if (newest === undefined || others.length === 0) return undefined;
  return { since: newest.started_at, details: { ...all, ...versionsOf(others) } };
}

function versionsOf(others: readonly DaemonFacts[]): Details {
  return { differing: others.length, differ_in: "version" };
}

const daemonsDiffer: Rule = {
  kind: "daemons_differ",
  is_reminded: true,
  isExplained: never,
  finds({ facts }) {
    const found = difference(facts);
    if (found === undefined || facts.now - found.since <= UPDATE_MS) return [];
    const { since, details } = found;
    return [{ subject: "", endpoint_no: null, business: null, began_at: since, details }];
  },
  endOf: (_alert, { facts }) => difference(facts) === undefined ? "cleared" : null,
  figures: (_alert, { facts }) => difference(facts)?.details ?? {},
};

// --- target_failing --------------------------------------------------------------------------------------

/** One failure is an accident, unless nothing more is tried. */
const MIN_FAILURES = 2;

function failuresOf({ failures }: TargetFacts): Details {
  return failures === 0 ? {} : { failed: failures };
}

const targetFailing: Rule = {
  kind: "target_failing",
  is_reminded: true,
  isExplained: isEgressBroken,
  finds: ({ facts: { targets, now } }) =>
    targets.filter(({ failures, given_up }) => failures >= MIN_FAILURES || given_up).map((one) => ({
      subject: one.target,
      endpoint_no: one.endpoint_no,
      business: null,
      began_at: one.failing_since ?? now,
      details: failuresOf(one),
    })),
  endOf({ subject, began_at }, { facts: { targets } }) {
    const target = targets.find((one) => one.target === subject);
    if (target === undefined) return "removed";
    // Without failures it is not yet reached: they may have been too long ago to be looked at.
    return target.reached_at !== null && target.reached_at > began_at ? "cleared" : null;
  },
  figures({ subject }, { facts: { targets } }) {
    const target = targets.find((one) => one.target === subject);
    return target === undefined ? {} : failuresOf(target);
  },
};

/** Kinds of alerts about daemons, and about those who get alerts. */
export const DAEMON_RULES: readonly Rule[] = [
  ofDaemons("database_failing"),
  ofDaemons("disk_low"),
  daemonsDiffer,
  targetFailing,
];
