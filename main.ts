import { run } from "./lib/cli/cli.ts";

if (import.meta.main) Deno.exit(await run(Deno.args));
