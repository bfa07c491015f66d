/** A limit to what a process may use of the CPUs, as if its machine were smaller. */

import { exists } from "../../tests/support/programs.ts";

interface Version {
  readonly root: string;
  /** A file that only this version has. */
  readonly has: string;
  /** Files and what is written into them, in this order. */
  set(group: string, quota_us: number, period_us: number): readonly (readonly [string, string])[];
}

/** Of both versions of control groups: where groups are made, and what sets a share of a core. */
const VERSIONS: readonly Version[] = [
  {
    root: "/sys/fs/cgroup/cpu",
    has: "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    set: (group: string, quota_us: number, period_us: number) => [
      [`${group}/cpu.cfs_period_us`, `${period_us}`],
      [`${group}/cpu.cfs_quota_us`, `${quota_us}`],
    ],
  },
  {
    root: "/sys/fs/cgroup",
    has: "/sys/fs/cgroup/cgroup.controllers",
    set: (group: string, quota_us: number, period_us: number) => [
      ["/sys/fs/cgroup/cgroup.subtree_control", "+cpu"],
      [`${group}/cpu.max`, `${quota_us} ${period_us}`],
    ],
  },
];
/** Short, so that a process that has used up its share waits for milliseconds only. */
const PERIOD_US = 10_000;

/**
 * Holds each of these processes to so many cores, until `remove`, by which they must have ended.
 * Answers undefined where that cannot be done: it takes root and control groups.
 */
export function limitCores(
  pids: readonly number[],
  cores: number,
): { remove(): void } | undefined {
  const version = VERSIONS.find(({ has }) => exists(has));
  if (version === undefined) return undefined;
  const groups: string[] = [];
  const remove = () => groups.forEach((group) => Deno.removeSync(group));
  try {
    for (const pid of pids) {
      const group = `${version.root}/bookme-bench-${pid}`;
      Deno.mkdirSync(group, { recursive: true });
      groups.push(group);
      const settings = version.set(group, Math.round(PERIOD_US * cores), PERIOD_US);
      for (const [path, text] of settings) Deno.writeTextFileSync(path, text);
      Deno.writeTextFileSync(`${group}/cgroup.procs`, `${pid}`);
    }
  } catch {
    remove();
    return undefined;
  }
  return { remove };
}
