/** Programs that are broken on purpose: the checker must catch each. Never the tree itself, a copy. */

interface Patch {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export const SABOTAGES: Readonly<Record<string, Patch>> = {
  // Completes a delivery by its id alone: a stale sender overwrites a newer attempt.
  token: {
    file: "lib/store/results.ts",
    from: '"p.token = r.token and p.leased_until is not null"',
    to: '"true"',
  },
  // Forgets an attempt that is followed by another.
  forget: {
    file: "lib/store/results.ts",
    from: "from going_on where final is null\n    ),",
    to: "from going_on where false\n    ),",
  },
  // Takes a notice although another daemon is sending it.
  unclaimed: {
    file: "lib/store/alerts.ts",
    from: "and coalesce(n.leased_until <= now(), true)",
    to: "",
  },
  // Shows a business everybody's events.
  unscoped: {
    file: "lib/store/scope.ts",
    from: 'return scope === "everything" ? sql`` : sql`and e.business = ${scope.business}`',
    to: "return sql``",
  },
  // Says that an event is erased, and keeps what its receivers answered.
  unblanked: {
    file: "lib/store/erasures.ts",
    from: "select sum(blank_answers(id)) as count from quiet",
    to: "select count(*) as count from quiet",
  },
  // Says 202 before the events are stored.
  "early-ack": {
    file: "lib/delivery/intake.ts",
    from: "      stored = plan.events.length === 0",
    to: "      answer(requests, plan);\n      stored = plan.events.length === 0",
  },
  // Claims for an endpoint as if other daemons had nothing under way.
  limits: {
    file: "lib/store/claims.ts",
    from: "concurrency - leased_count(endpoint_no, max_attempts, concurrency + ${LEASED_DEPTH}),",
    to: "concurrency,",
  },
};

/** Not broken, but in a hurry: a round is shorter than the time after which daemons look for old weeks. */
const HASTE: Patch = {
  file: "lib/maintenance/retention.ts",
  from: 'pattern: "5 */5 * * * *"',
  to: 'pattern: "*/2 * * * * *"',
};

/** Faults under which each of them must show. */
export const SHOWN_BY: Readonly<Record<string, readonly string[]>> = {
  token: ["sigstop-past-lease"],
  forget: ["none"],
  unclaimed: ["none"],
  unscoped: ["none"],
  unblanked: ["none"],
  "early-ack": ["pg-reset-at-commit", "kill-random"],
  limits: ["machines-rolling-restart"],
};

const PARTS = ["main.ts", "deno.json", "deno.lock", "lib", "routes", "migrations", "docs"];

/** Copies the program, so that a run tests one state of it. The copy is the caller's to remove. */
export async function copyTree(tree: string): Promise<string> {
  const copy = await Deno.makeTempDir({ prefix: "bookme-tree-" });
  const { success, stderr } = await new Deno.Command("cp", {
    args: ["-R", ...PARTS.map((part) => `${tree}/${part}`), copy],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return copy;
}

/** Breaks a copy. */
export async function sabotage(copy: string, name: string): Promise<void> {
  const patch = SABOTAGES[name];
  if (patch === undefined) {
    throw new Error(`There is no sabotage ${name}; there are ${Object.keys(SABOTAGES).join(", ")}`);
  }
  await apply(copy, patch);
}

/** Has the daemons of a copy look for old weeks every two seconds, instead of every five minutes. */
export async function hasten(copy: string): Promise<void> {
  await apply(copy, HASTE);
}

async function apply(copy: string, { file, from, to }: Patch): Promise<void> {
  const path = `${copy}/${file}`;
  const text = await Deno.readTextFile(path);
  if (text.split(from).length !== 2) throw new Error(`${file} does not have this once: ${from}`);
  await Deno.writeTextFile(path, text.replace(from, () => to));
}
