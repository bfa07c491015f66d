import { makeWorker, startProcess } from "../harness/processes.ts";
import { type Contender, type Prepared, readAttempts, type Setup } from "./contender.ts";

/** What differs between the peers, as seen from outside. */
interface Peer {
  readonly name: string;
  readonly script: string;
  /** Answers one row `due`: whether something due is not finished. */
  readonly due: string;
  readonly attempts: string;
}

const GRAPHILE: Peer = {
  name: "graphile-worker",
  script: "graphile_worker.ts",
  due: "select exists (select from graphile_worker.jobs where run_at <= now()) as due",
  attempts: `select endpoint, string_agg(number::text, ',' order by number) as numbers
    from attempts group by endpoint`,
};

const PG_BOSS: Peer = {
  name: "pg-boss",
  script: "pg_boss.ts",
  due: `select exists (select from pgboss.job where name = 'deliveries' and state < 'completed'
    and start_after <= now()) as due`,
  attempts: `select (output->>'endpoint')::int as endpoint,
      string_agg(output->>'number', ',' order by (output->>'number')::int) as numbers
    from pgboss.job where name = 'deliveries' and state = 'completed' group by 1`,
};

/** The two peers, run by the Node that the bench brings. */
export function peers(node: string): Contender[] {
  return [GRAPHILE, PG_BOSS].map((peer) => ({
    name: peer.name,
    ours: false,
    prepare: (setup) => prepare(peer, node, setup),
  }));
}

async function prepare(peer: Peer, node: string, setup: Setup): Promise<Prepared> {
  const { database: { sql, url }, urls, owed, directory, authority } = setup;
  const script = new URL(`../peers/${peer.script}`, import.meta.url).pathname;
  const options = JSON.stringify({ database_url: url, urls, owed });
  const open = () =>
    makeWorker(startProcess(node, [script, options], {
      log: `${directory}/${peer.name}.log`,
      env: {
        NODE_ENV: "production",
        ...(authority === undefined ? {} : { NODE_EXTRA_CA_CERTS: authority }),
      },
    }));
  const once = async (what: string, more: Record<string, unknown> = {}) => {
    const worker = open();
    await worker.ask(what, more);
    await worker.process.stop();
  };
  await once("setup");
  return {
    load: (backlog) => once("load", { ...backlog }),
    async start(role = "both") {
      const worker = open();
      const { port } = await worker.ask<{ port: number }>("start", { role });
      const { process } = worker;
      return { process, port, stop: async (patience_ms) => void await process.stop(patience_ms) };
    },
    async finished() {
      const [row] = await sql.unsafe<{ due: boolean }[]>(peer.due);
      return row?.due === false;
    },
    attempts: () => readAttempts(sql, peer.attempts),
  };
}
