import { loadConfig } from "../../config/load.ts";
import type { Config } from "../../config/config.ts";
import { KEY_FILE } from "../../config/first_start.ts";
import type { Manifest } from "../../core/backup.ts";
import { listed } from "../../core/errors.ts";
import { parseSealKey, type SealKey } from "../../core/seal.ts";
import { counted, formatSize } from "../../core/units.ts";
import type { Restored } from "../../store/restore.ts";
import { command, CONFIG, UsageError } from "../command.ts";
import { type Io, paletteOf } from "../terminal.ts";

export const restore = command({
  name: "restore",
  summary: "Restores a backup into the empty directory of the embedded database",
  about: `The directory is that of the configuration (database.directory). It must be empty, but for
encryption.key and admin.token. Digest, manifest and rows are checked before the database gets its
name there. Sessions and portal links end. Every endpoint is paused: nothing is delivered until
resume --all. Deliveries made after the backup may then be sent twice, and events accepted after it
are lost.`,
  positionals: { usage: "FILE", min: 1, max: 1 },
  options: {
    json: { type: "boolean", about: "Print the result as JSON" },
    config: CONFIG,
  },
  examples: [
    [
      "bookme-webhooks restore bookme.tar",
      "Then start the daemon, and: bookme-webhooks resume --all",
    ],
  ],
  async run({ io, values, positionals: [file = ""] }) {
    const { database, encryption_keys } = loadConfig(values.config, io.env);
    if (database.kind === "server") {
      throw new UsageError(
        `${values.config} names a server; restore is for the embedded database (to move it to a ` +
          "server, restore it and run transfer)",
      );
    }
    const { directory } = database;
    const keys = keysOf(encryption_keys, directory);
    const { openArchive } = await import("../../store/archive.ts");
    const { restore } = await import("../../store/restore.ts");
    const { lookAtSealed } = await import("../../maintenance/sealed_secrets.ts");
    using archive = await openArchive(file);
    const { manifest, bytes } = archive;
    const { seen, ...restored } = await restore(
      archive,
      directory,
      (sql) => lookAtSealed(sql, keys),
    );
    if (values.json) {
      io.out(JSON.stringify({ file, directory, manifest, ...restored, ...seen }, null, 2));
      return 0;
    }
    const { green } = paletteOf(io);
    io.out(`${green("✓")} ${file}: ${formatSize(bytes)}, digest, manifest and rows are right`);
    io.out(`${green("✓")} Restored into ${directory}, as it was at ${manifest.taken_at}`);
    for (const name of ["events", "pending_deliveries", "ended_deliveries", "endpoints"]) {
      io.out(`  ${name}: ${counted(restored.rows[name] ?? 0, "row")}`);
    }
    reportKeys(io, seen, directory);
    reportHeld(io, restored, manifest);
    return 0;
  },
});

function keysOf(configured: Config["encryption_keys"], directory: string): SealKey[] {
  if (configured.length > 0) return configured.map((key) => parseSealKey(key.reveal()));
  try {
    return [parseSealKey(Deno.readTextFileSync(`${directory}/${KEY_FILE}`).trim())];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function reportKeys(
  io: Io,
  { sealed, unreadable }: { readonly sealed: number; readonly unreadable: readonly string[] },
  directory: string,
): void {
  const { green, red } = paletteOf(io);
  if (sealed === 0) return;
  if (unreadable.length === 0) {
    io.out(`${green("✓")} The encryption key opens the secrets of ${endpoints(sealed)}`);
    return;
  }
  io.out(
    `${red("✗")} No encryption key opens the secrets of ${
      listed(unreadable)
    }: before the daemon starts, ` +
      `put the key that the backup's daemon had into encryption_key, or into ${directory}/${KEY_FILE}`,
  );
}

function reportHeld(io: Io, restored: Restored, { taken_at }: Manifest): void {
  const { yellow } = paletteOf(io);
  const { paused, paused_before, sessions_ended, portal_links_revoked } = restored;
  io.out(`  ${sessions_ended} sessions ended, ${portal_links_revoked} portal links revoked`);
  io.out(`${yellow("!")} Delivery is off: ${endpoints(paused)} paused. Start the daemon, then:`);
  io.out("    bookme-webhooks resume --all");
  if (paused_before.length > 0) {
    io.out(`  It resumes these too, which were paused before: ${listed(paused_before)}`);
  }
  io.out(`  Deliveries made after ${taken_at} may be sent twice, with the same event ids.`);
  io.out("  Events accepted after it are lost: have BookMe post them again.");
  io.out("  Repeat the erasures made after it.");
}

function endpoints(count: number): string {
  return count === 1 ? "1 endpoint" : `${count} endpoints`;
}
