import type { RequestListener } from "node:http";
import type { RouteContext } from "./context.ts";
import { type Handler, makeHandler } from "./handler.ts";
import { makeHealth } from "./health.ts";
import { makeIngest } from "./ingest.ts";

/** A `Host` that makes a URL with any target, as far as that can be told without parsing one. */
const PLAIN_HOST = /^[a-z0-9._-]+(?::(?:[1-5]\d{3,4}|[6-9]\d{3}))?$/;

type App = Pick<typeof import("./app.ts"), "makeAppListener">;

/**
 * Everything that the daemon answers over HTTP. A post, and whoever asks how the daemon is, do without hono, which
 * would take a fifth of the CPU time of a post. The rest, half of the program, is loaded by `load` for the first
 * request that needs it.
 */
export function makeListener(
  ctx: RouteContext,
  load: () => Promise<App> = () => import("./app.ts"),
): RequestListener {
  const ingest = makeIngest(ctx);
  const health = makeHealth(ctx);
  const direct = new Map<string, Handler>([
    ["POST /ingest", ingest],
    ["GET /livez", health.livez],
    ["GET /readyz", health.readyz],
  ]);
  let app: Promise<RequestListener> | undefined;
  const open = async () => (await load()).makeAppListener(ctx, ingest, health);
  const others: Handler = async (incoming, outgoing) => {
    try {
      (await (app ??= open()))(incoming, outgoing);
    } catch (error) {
      // Its files may be gone from a checkout, and come back.
      app = undefined;
      await makeHandler(ctx, () => Promise.reject(error))(incoming, outgoing);
    }
  };
  return (incoming, outgoing) => {
    const { method, url, headers } = incoming;
    const known = direct.get(`${method} ${url}`);
    const is_plain = known !== undefined && PLAIN_HOST.test(headers.host ?? "");
    void (is_plain ? known : others)(incoming, outgoing);
  };
}
