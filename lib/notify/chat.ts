import type { ChatTarget } from "../config/config.ts";
import { slackMessage, teamsMessage } from "../core/alerting/chat.ts";
import { chatFailure, type Sent } from "../core/alerting/undelivered.ts";
import type { Announcement } from "../core/alerting/words.ts";
import { USER_AGENT } from "../core/version.ts";
import type { HttpClient } from "../http/client.ts";
import { makeTarget } from "../http/flight.ts";

const TIMEOUT_MS = 10_000;

/**
 * Posts an announcement to a chat: 2xx means that it arrived. The client allows and refuses addresses as for
 * deliveries, and follows no redirect. Never throws.
 */
export async function sendChat(
  client: Pick<HttpClient, "post">,
  { kind, url }: Pick<ChatTarget, "kind" | "url">,
  announcement: Announcement,
): Promise<Sent> {
  const target = makeTarget(url.reveal());
  const message = kind === "slack" ? slackMessage(announcement) : teamsMessage(announcement);
  const exchange = await client.post(target, {
    headers: `Content-Type: application/json; charset=utf-8\r\nUser-Agent: ${USER_AGENT}\r\n`,
    body: JSON.stringify(message),
    timeout_ms: TIMEOUT_MS,
  });
  const { host } = target.url;
  if (!exchange.answered) return chatFailure(kind, host, exchange);
  return exchange.status >= 200 && exchange.status < 300
    ? { ok: true }
    : chatFailure(kind, host, exchange);
}
