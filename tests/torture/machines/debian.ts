import { cached, machineBin } from "../../support/postgres.ts";
import { exists, say } from "../../support/programs.ts";
import { Skip } from "../fault.ts";

/** What a cluster that fails over by itself needs, from Debian's packages. */
export interface Programs {
  readonly etcd: readonly string[];
  readonly patroni: readonly string[];
  readonly haproxy: readonly string[];
  readonly pgbouncer: readonly string[];
  /** PostgreSQL's own, with `pg_basebackup` and `pg_rewind`. */
  readonly postgres: string;
  /** The environment of them all. */
  readonly env: Readonly<Record<string, string>>;
}

const PACKAGES = [
  "patroni",
  "python3-etcd",
  "python3-psycopg2",
  "etcd-server",
  "haproxy",
  "pgbouncer",
];
const PYTHON = "/usr/bin/python3";

/**
 * The programs. Their packages are unpacked, once per machine, and not installed: that would start services.
 * Throws `Skip` where they cannot be had.
 */
export async function debianPrograms(): Promise<Programs> {
  const postgres = machinePostgres();
  if (!exists(`${postgres}/pg_rewind`)) {
    throw new Skip("PostgreSQL's programs are not installed (apt-get install postgresql)");
  }
  if (!exists(PYTHON)) throw new Skip("Python is not installed (apt-get install python3)");
  const root = await cached("debian-patroni", unpack).catch((error) => {
    throw new Skip(`Debian's ${PACKAGES.join(", ")} cannot be had: ${error.message}`);
  });
  const libraries = [...Deno.readDirSync(`${root}/usr/lib`)]
    .filter(({ name }) => name.endsWith("-linux-gnu")).map(({ name }) => `${root}/usr/lib/${name}`);
  return {
    etcd: [`${root}/usr/bin/etcd`],
    patroni: [PYTHON, `${root}/usr/bin/patroni`],
    haproxy: [`${root}/usr/sbin/haproxy`],
    pgbouncer: [`${root}/usr/sbin/pgbouncer`],
    postgres,
    env: {
      PATH: "/usr/bin:/bin",
      LD_LIBRARY_PATH: libraries.join(":"),
      PYTHONPATH: `${root}/usr/lib/python3/dist-packages`,
    },
  };
}

function machinePostgres(): string {
  try {
    return machineBin();
  } catch {
    return "";
  }
}

async function unpack(directory: string): Promise<void> {
  say("Getting Debian's packages for a cluster that fails over by itself …");
  Deno.mkdirSync(`${directory}/archives/partial`, { recursive: true });
  await must("apt-get", "-qq", "update");
  // Those, and what is missing here of what they need.
  await must(
    "apt-get",
    ...["-qq", "install", "--download-only", "--no-install-recommends", "-y"],
    ...["-o", `Dir::Cache::archives=${directory}/archives`, ...PACKAGES],
  );
  for (const { name } of Deno.readDirSync(`${directory}/archives`)) {
    if (name.endsWith(".deb")) {
      await must("dpkg-deb", "--extract", `${directory}/archives/${name}`, directory);
    }
  }
  Deno.removeSync(`${directory}/archives`, { recursive: true });
}

async function must(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, {
    args,
    env: { DEBIAN_FRONTEND: "noninteractive" },
    stdin: "null",
    stdout: "null",
  }).output();
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr).trim()}`);
}
