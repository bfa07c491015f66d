/** Prints what an embedded database says about a run: `embedded.ts DIRECTORY`. */

import { openDatabase } from "../../lib/store/database.ts";
import { readRows } from "./rows.ts";

const [directory = ""] = Deno.args;
const db = await openDatabase({ database: { kind: "embedded", directory } });
const bytes = new TextEncoder().encode(JSON.stringify(await readRows(db.admin)));
for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
await db.close();
