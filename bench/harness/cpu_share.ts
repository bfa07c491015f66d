/** A limit to what a process may use of the CPUs, as if its machine were smaller. */

/** Of both versions of control groups: where groups are made, and what sets a share of a core. */
const VERSIONS = [
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
] as const;
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
  const groups = pids.map((pid) => `${version.root}/bookme-bench-${pid}`);
  const remove = () => groups.filter(exists).forEach((group) => Deno.removeSync(group));
  try {
    for (const [at, group] of groups.entries()) {
      Deno.mkdirSync(group, { recursive: true });
      const settings = version.set(group, Math.round(PERIOD_US * cores), PERIOD_US);
      for (const [path, text] of [...settings, [`${group}/cgroup.procs`, `${pids[at]}`]] as const) {
        Deno.writeTextFileSync(path ?? "", text ?? "");
      }
    }
  } catch {
    remove();
    return undefined;
  }
  return { remove };
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path) !== undefined;
  } catch {
    return false;
  }
}
