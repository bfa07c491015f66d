import project from "../../deno.json" with { type: "json" };

/** This program's version (semver). */
export const VERSION: string = project.version;

/** What requests to endpoints say they come from. */
export const USER_AGENT = `BookMe-Webhooks/${VERSION}`;
