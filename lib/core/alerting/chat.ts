/** Announcements as chats take them. Names of endpoints are anybody's text: nothing in it becomes markup. */

import { plainLine } from "./plain.ts";
import type { Announcement } from "./words.ts";

/** Longest text of a block, in characters: Slack's limit of 3,000 holds after each has been escaped. */
const MAX_CHARS = 500;
/** Slack's limit for a header. */
const MAX_HEADER_CHARS = 150;
const OPEN = "Show details";

/**
 * The message for an incoming webhook of Slack. Its blocks are `plain_text`, in which only `&`, `<` and `>` mean
 * something: no asterisk, backtick or mention does.
 */
export function slackMessage({ title, lines, link }: Announcement) {
  const [head = "", ...texts] = [title, ...lines].map((line) => forSlack(line));
  const plain = (text: string) => ({ type: "plain_text", text, emoji: false });
  return {
    // For notifications, and for clients that show no blocks.
    text: [head, ...texts].join("\n"),
    mrkdwn: false,
    unfurl_links: false,
    blocks: [
      head.length <= MAX_HEADER_CHARS
        ? { type: "header", text: plain(head) }
        : { type: "section", text: plain(head) },
      ...texts.map((text) => ({ type: "section", text: plain(text) })),
      ...(link === null ? [] : [{
        type: "section",
        text: { type: "mrkdwn", text: `<${linkForSlack(link)}|${OPEN}>`, verbatim: true },
      }]),
    ],
  };
}

/** What Slack's control characters are written as (its reference "Formatting text", section "Escaping"). */
export function forSlack(text: string): string {
  return plainLine(text, MAX_CHARS)
    .replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

// A bar would end the address and begin its label.
function linkForSlack(link: string): string {
  return new URL(link).href.replaceAll("|", "%7C").replaceAll("&", "&amp;");
}

/**
 * The message for a webhook of Teams' Workflows: an Adaptive Card. Text is in runs of `RichTextBlock`, because
 * `TextBlock` reads Markdown.
 */
export function teamsMessage({ title, lines, link }: Announcement) {
  const [head = "", ...texts] = [title, ...lines].map((line) => plainLine(line, MAX_CHARS));
  const block = (text: string, style: Readonly<Record<string, string>> = {}) => ({
    type: "RichTextBlock",
    inlines: [{ type: "TextRun", text, ...style }],
  });
  return {
    type: "message",
    summary: head,
    attachments: [{
      contentType: "application/vnd.microsoft.card.adaptive",
      contentUrl: null,
      content: {
        $schema: "http://adaptivecards.io/schemas/adaptive-card.json",
        type: "AdaptiveCard",
        version: "1.4",
        fallbackText: head,
        msteams: { width: "Full" },
        body: [
          block(head, { size: "Medium", weight: "Bolder" }),
          ...texts.map((text) => block(text)),
        ],
        actions: link === null
          ? []
          : [{ type: "Action.OpenUrl", title: OPEN, url: new URL(link).href }],
      },
    }],
  };
}
