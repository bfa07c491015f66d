import { loadConfig } from "../../config/load.ts";
import { parseSealKey } from "../../core/seal.ts";
import { counted } from "../../core/units.ts";
import { command, CONFIG } from "../command.ts";

export const rekey = command({
  name: "rekey",
  summary: "Seals the secrets of the API's endpoints again, under the first key",
  about:
    `To change the key: put the new one before the old one in encryption_key of every daemon, restart
them, run rekey, then remove the old one. Daemons on a server may keep running; an embedded database
must not be in use. Running it again does nothing.`,
  options: { config: CONFIG },
  examples: [
    [
      "bookme-webhooks rekey",
      "With `encryption_key: [file:new.key, file:old.key]` in config.yaml",
    ],
    ["openssl rand -base64 32 > new.key && chmod 600 new.key", "A new key"],
  ],
  async run({ io, values }) {
    const config = loadConfig(values.config, io.env);
    const keys = config.encryption_keys.map((key) => parseSealKey(key.reveal()));
    const { rekey } = await import("../../maintenance/sealed_secrets.ts");
    const { openDatabase } = await import("../../store/database.ts");
    const db = await openDatabase(config, {
      info: (message, { cause = "" }) => io.err(`${message}${cause === "" ? "" : ": "}${cause}`),
      error: (message) => io.err(message),
    });
    try {
      const { resealed, unreadable } = await rekey(db, keys);
      io.out(
        resealed === 0 ? "Nothing to seal" : `Sealed: ${counted(resealed, "endpoint")}`,
      );
      for (const id of unreadable) {
        io.err(`${id} is sealed under an unknown key; add that key to encryption_key`);
      }
      return unreadable.length === 0 ? 0 : 1;
    } finally {
      await db.close();
    }
  },
});
