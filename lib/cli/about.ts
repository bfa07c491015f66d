import { COMMIT, VERSION } from "../core/version.ts";
import { POSTGRES_VERSION } from "../store/cluster.ts";
import { SCHEMA_VERSION } from "../store/migrations.ts";

/** What this program is made of, and what it runs on. */
export interface About {
  readonly version: string;
  /** Null in a checkout. */
  readonly commit: string | null;
  /** `typescript` is null in an executable without a compiler. */
  readonly runtime: {
    readonly deno: string;
    readonly v8: string;
    readonly typescript: string | null;
  };
  /** Version of the embedded PostgreSQL. */
  readonly postgres: string;
  /** Number of the newest migration. */
  readonly schema: number;
}

/** The answer of `--version --json`. */
export function about(): About {
  const { deno, v8, typescript } = Deno.version;
  return {
    version: VERSION,
    commit: COMMIT,
    runtime: { deno, v8, typescript: typescript === "" ? null : typescript ?? null },
    postgres: POSTGRES_VERSION,
    schema: SCHEMA_VERSION,
  };
}
