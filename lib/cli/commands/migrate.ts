import { loadConfig } from "../../config/load.ts";
import { command, CONFIG } from "../command.ts";

export const migrate = command({
  name: "migrate",
  summary: "Brings the database to this version's schema, and stops",
  about:
    `serve does the same when it starts, under a lock; this is for those who want it to be a step
of its own. An embedded database is made where there is none, and must not be in use.`,
  options: { config: CONFIG },
  examples: [["bookme-webhooks migrate --config config.yaml", "Before a new version is started"]],
  async run({ io, values }) {
    const config = loadConfig(values.config, io.env);
    const { openDatabase } = await import("../../store/database.ts");
    const db = await openDatabase(config);
    await db.close();
    for (const name of db.migrated) io.out(`Applied ${name}`);
    if (db.migrated.length === 0) io.out("Nothing to apply: the schema is up to date");
    return 0;
  },
});
