import type { IncomingMessage, ServerResponse } from "node:http";
import { Buffer } from "node:buffer";
import type { Answer } from "../lib/core/problem.ts";
import type { RouteContext } from "./context.ts";
import { COMMON_HEADERS } from "./middleware/headers.ts";
import { answerTo } from "./middleware/problem.ts";

/** Answers a request. Never rejects. */
export type Handler = (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>;

/** A handler on node's own request and response, without hono. Anything that `answer` throws is answered too. */
export function makeHandler(
  ctx: Pick<RouteContext, "log" | "signals">,
  answer: (incoming: IncomingMessage) => Promise<Answer>,
): Handler {
  return async (incoming, outgoing) => {
    const { status, headers, body } = await answer(incoming).catch((error) => answerTo(error, ctx));
    outgoing.writeHead(status, {
      ...COMMON_HEADERS,
      ...headers,
      "Content-Length": Buffer.byteLength(body),
    });
    outgoing.end(body);
  };
}
