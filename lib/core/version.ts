import project from "../../deno.json" with { type: "json" };
import build from "./build.json" with { type: "json" };

/** This program's version (semver). */
export const VERSION: string = project.version;

/**
 * The commit that an executable was compiled from; it ends with `-dirty` if files were changed since. Null in
 * a checkout: deploy/compile.sh writes it into the copy that it compiles.
 */
export const COMMIT: string | null = build.commit;

/** `User-Agent` of requests to endpoints. */
export const USER_AGENT = `BookMe-Webhooks/${VERSION}`;

/**
 * Why this program does not run on a version of Deno, or undefined if it does. Up to 2.6 at least, a
 * listener that runs out of file descriptors never accepts again, and reopening it kills it: the daemon
 * goes deaf within seconds.
 */
export function denoMistake(version: string): string | undefined {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > 2 || (major === 2 && minor >= 9)) return undefined;
  return `Deno ${version} is too old: its HTTP server stops accepting connections within seconds; ` +
    "use Deno 2.9 or later";
}
