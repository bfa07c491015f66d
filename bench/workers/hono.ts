/** The least that a hono program on this runtime can be: what starting the daemon is compared with. */

import { Hono } from "hono";

const app = new Hono().post("/ingest", (c) => c.json({}, 202));
Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.args[0]), onListen: () => {} }, app.fetch);
