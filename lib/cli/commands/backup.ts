import { dirname } from "node:path";
import { AppError } from "../../core/errors.ts";
import type { Manifest } from "../../core/backup.ts";
import { counted, formatSize } from "../../core/units.ts";
import { flushDirectory } from "../../store/disk.ts";
import { command, UsageError } from "../command.ts";
import { type Api, API_OPTIONS, openApi } from "../daemon_api/client.ts";
import { makeProgress, paletteOf, type Progress, stoppable } from "../terminal.ts";

/** What a backup leaves out, and a restore needs. */
export const OUTSIDE =
  "the encryption key (encryption_key, or encryption.key next to the database), the configuration and the " +
  "files of its secrets";

export const backup = command({
  name: "backup",
  summary: "Backs up the embedded database through the running daemon",
  about:
    `Posts and deliveries go on meanwhile. The file gets mode 0600, and its name only once it is whole
and its digest is right. It does not have the encryption key, the configuration and the files of its
secrets: keep them in another place. Back up a database server with pg_basebackup and WAL archiving.`,
  options: {
    to: { type: "string", value: "FILE|-", about: "The file to write; - is standard output" },
    force: { type: "boolean", about: "Replace the file if it exists" },
    json: { type: "boolean", about: "Print the manifest as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks backup --to bookme.tar", "Into a file"],
    ["bookme-webhooks backup --to - | zstd > bookme.tar.zst", "Compressed"],
  ],
  async run({ io, values }) {
    const { to } = values;
    if (to === undefined || to === "") throw new UsageError("--to is missing: a file, or -");
    const api = await openApi(io, values);
    using stop = stoppable();
    using progress = makeProgress(io);
    if (to === "-") {
      if (values.json) throw new UsageError("--json does not go together with --to -");
      await write(Deno.stdout, api, stop.signal, progress);
      io.err(`Not in the backup: ${OUTSIDE}. Keep them in another place`);
      return 0;
    }
    if (!values.force && await exists(to)) {
      throw new AppError(
        "conflict",
        `${to} exists; name another file, or pass --force to replace it`,
      );
    }
    const { manifest, bytes } = await writeFile(to, api, stop.signal, progress);
    if (values.json) {
      io.out(JSON.stringify({ file: to, bytes, ...manifest }, null, 2));
      return 0;
    }
    const { green, yellow } = paletteOf(io);
    io.out(
      `${green("✓")} ${to}: ${formatSize(bytes)}, digest right, taken at ${manifest.taken_at}`,
    );
    io.out(`  program ${manifest.program}, schema version ${manifest.schema_version}`);
    for (const name of ["events", "pending_deliveries", "ended_deliveries", "endpoints"]) {
      io.out(`  ${name}: ${rowsOf(manifest, name)}`);
    }
    io.out(`${yellow("!")} Not in it: ${OUTSIDE}.`);
    io.out("  Keep them in another place: without the key, secrets made through the API are lost.");
    return 0;
  },
});

function rowsOf({ tables }: Manifest, name: string): string {
  const { at_least, at_most } = tables[name] ?? { at_least: 0, at_most: 0 };
  return at_least === at_most ? counted(at_least, "row") : `${at_least} to ${at_most} rows`;
}

// Under another name until it is whole: neither a crash nor a lost connection leaves half a backup.
async function writeFile(to: string, api: Api, signal: AbortSignal, progress: Progress) {
  const part = `${to}.part`;
  await remove(part);
  try {
    {
      using file = await Deno.open(part, { write: true, createNew: true, mode: 0o600 });
      await write(file, api, signal, progress);
      await file.sync();
    }
    const { openArchive } = await import("../../store/archive.ts");
    using archive = await openArchive(part);
    await archive.read();
    await Deno.rename(part, to);
    await flushDirectory(dirname(to));
    return archive;
  } catch (error) {
    await remove(part);
    throw error;
  }
}

// On the database's disk, a commit would wait until all that was not flushed is written.
const SYNC_BYTES = 8 * 1024 * 1024;

async function write(
  file: { write(bytes: Uint8Array): Promise<number>; syncData?(): Promise<void> },
  api: Api,
  signal: AbortSignal,
  progress: Progress,
): Promise<void> {
  let bytes = 0;
  let unsynced = 0;
  for await (const part of api.download("backup", signal)) {
    for (let at = 0; at < part.length;) at += await file.write(part.subarray(at));
    bytes += part.length;
    unsynced += part.length;
    if (unsynced >= SYNC_BYTES) {
      await file.syncData?.();
      unsynced = 0;
    }
    progress.show(`${formatSize(bytes)} read`);
  }
  if (signal.aborted) throw new AppError("unavailable", "Interrupted: there is no backup");
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, (error) => {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  });
}

async function remove(path: string): Promise<void> {
  await Deno.remove(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}
