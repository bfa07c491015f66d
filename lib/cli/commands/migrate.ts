import { loadConfig } from "../../config/load.ts";
import { command, CONFIG } from "../command.ts";

export const migrate = command({
  name: "migrate",
  summary: "Migrates the database to this version's schema, and stops",
  about:
    `serve does the same at start, under a lock; use this to make it a separate step. Creates the
embedded database if it does not exist; it must not be in use.`,
  options: { config: CONFIG },
  examples: [["bookme-webhooks migrate --config config.yaml", "Before starting a new version"]],
  async run({ io, values }) {
    const config = loadConfig(values.config, io.env);
    const { openDatabase } = await import("../../store/database.ts");
    const db = await openDatabase(config, {
      info: (message, { cause = "" }) => io.err(`${message}${cause === "" ? "" : ": "}${cause}`),
      error: (message) => io.err(message),
    });
    await db.close();
    for (const name of db.migrated) io.out(`Applied ${name}`);
    if (db.migrated.length === 0) io.out("Nothing to apply: the schema is up to date");
    return 0;
  },
});
