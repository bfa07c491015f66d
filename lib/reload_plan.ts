import type { FieldChange, Reloaded } from "./admin/shown.ts";
import type { Config } from "./config/config.ts";
import { digestOfFile } from "./config/load.ts";
import { changedCredentials, type SharedFile } from "./config/shared.ts";
import { diffConfig } from "./config/snapshot.ts";
import { REDACTED } from "./core/secret.ts";
import { toStored } from "./delivery/fleet.ts";
import { readCompany } from "./store/daemons.ts";
import type { Database } from "./store/database.ts";
import { type EndpointFields, planFile, type Synced } from "./store/endpoints.ts";

/** A configuration file as read again. */
export interface ReadAgain {
  /** The whole file. */
  readonly read: Config;
  /** What of it can be put in force while running. */
  readonly next: Config;
}

/**
 * The changes that putting a file with the digests `shared` in force makes, and the pending deliveries that
 * they cancel. In force may be another daemon's file.
 */
export async function planReload(
  { admin }: Pick<Database, "admin">,
  before: Config,
  { read, next }: ReadAgain,
  shared: SharedFile,
): Promise<Reloaded> {
  const planned = await planFile(admin, next.endpoints.map(toStored));
  const { files, in_force } = await readCompany(admin);
  const present = files.find(({ digest }) => digest === in_force) ?? shared;
  const credentials = changedCredentials(shared, present);
  const of = (what: Synced["what"]) => planned.filter((one) => one.what === what);
  // Secrets, header values and TLS keys are not in the database.
  const others = [...credentials.keys()].filter((id) => !planned.some((one) => one.id === id));
  return {
    file: { path: read.path, sha256: digestOfFile(read.path) },
    changed: changesOf(diffConfig(before, read), shared, present),
    at_next_start: diffConfig(next, read),
    endpoints: {
      added: of("added").map(({ id, after }) => ({
        id,
        url: after?.url ?? "",
        events: [...after?.events ?? []],
        businesses: after?.businesses ? [...after.businesses] : null,
      })),
      changed: [
        ...of("changed").map(({ id, before, after, cancels, cancels_exact }) => ({
          id,
          fields: withHidden(fieldsOf(before, after), credentials.get(id)),
          cancels,
          cancels_exact,
        })),
        ...others.map((id) => ({
          id,
          fields: withHidden([], credentials.get(id)),
          cancels: 0,
          cancels_exact: true,
        })),
      ],
      retired: of("retired").map(({ id, cancels, cancels_exact }) => ({
        id,
        cancels,
        cancels_exact,
      })),
    },
  };
}

/** Sections that hold for all daemons once their file is in force. */
const POLICY = ["delivery", "retention"];

/** What changes in this daemon's file, and of the policy in force if that is another daemon's. */
function changesOf(own: readonly string[], shared: SharedFile, present: SharedFile): string[] {
  const others = POLICY.filter((name) =>
    shared.sections[name] !== present.sections[name] &&
    !own.some((change) => change.startsWith(name))
  );
  return [...own, ...others.map((name) => `${name} changed`)];
}

// Other names of headers show by themselves.
function withHidden(shown: readonly FieldChange[], hidden: readonly string[] = []): FieldChange[] {
  const more = hidden.filter((name) => !shown.some(({ field }) => field === name));
  return [...shown, ...more.map((field) => ({ field, from: REDACTED, to: REDACTED }))];
}

function fieldsOf(before: Synced["before"], after: Synced["after"]): FieldChange[] {
  const [from, to] = [flat(before), flat(after)];
  return Object.keys({ ...from, ...to })
    .filter((field) => JSON.stringify(from[field]) !== JSON.stringify(to[field]))
    .map((field) => ({ field, from: from[field] ?? null, to: to[field] ?? null }));
}

function flat(fields: Omit<EndpointFields, "id"> | null): Record<string, unknown> {
  if (fields === null) return {};
  const { settings, ...others } = fields;
  return { ...others, ...settings };
}
