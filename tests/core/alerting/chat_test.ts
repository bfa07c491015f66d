import assert from "node:assert/strict";
import fc from "fast-check";
import { forSlack, slackMessage, teamsMessage } from "../../../lib/core/alerting/chat.ts";
import { announcement, type Spoken } from "../../../lib/core/alerting/words.ts";
import { NOW } from "./facts.ts";

/** Texts made of what chats read as mentions, links, markup or the end of a string. */
const HOSTILE = fc.array(
  fc.oneof(
    fc.constantFrom(
      ...["<!channel>", "<!here>", "<!everyone>", "<@U012AB3CD>", "<#C012AB3CD>", "<!subteam^S1>"],
      ...[
        "<https://evil.example|crm>",
        "https://evil.example",
        "mailto:a@evil.example",
        "@everyone",
      ],
      ...[
        "<at>everyone</at>",
        "[crm](https://evil.example)",
        "![x](https://evil.example)",
        "{{DATE()}}",
      ],
      ...[
        "**bold**",
        "*bold*",
        "_it_",
        "`code`",
        "~gone~",
        "# head",
        "- item",
        "> quote",
        "&lt;!channel&gt;",
      ],
      ...[
        "&amp;",
        "&",
        "<",
        ">",
        "|",
        '"',
        "\\",
        "}]}",
        "\n",
        "\r\n",
        "\u2028",
        "\u202e",
        "\ud800",
        "\0",
      ],
    ),
    fc.string({ unit: "binary", maxLength: 12 }),
  ),
  { maxLength: 12 },
).map((parts) => parts.join(""));

/** Announcements in whose every text a stranger has a word. */
const ANNOUNCEMENTS = fc.record({ name: HOSTILE, subject: HOSTILE, example: HOSTILE })
  .map(({ name, subject, example }) => {
    const alert: Spoken = {
      id: "alr_01kb",
      kind: "endpoint_failing",
      subject,
      endpoint: { id: "crm", description: name },
      began_at: NOW,
      opened_at: NOW,
      ended_at: null,
      end_reason: null,
      details: {
        attempts: 9,
        failed: 9,
        reason: "http_5xx",
        code: 500,
        example_delivery_id: example,
      },
    };
    const links = { base_url: "https://hooks.example.com" };
    return [
      announcement(alert, "began", links, "operator"),
      announcement(alert, "reminded", links, "business"),
      announcement(
        { ...alert, kind: "target_failing", endpoint: null },
        "began",
        links,
        "operator",
      ),
      {
        title: `A ${name}`,
        lines: [`B ${subject}`, `${example} C`],
        link: `https://hooks.example.com/${example}`,
      },
    ].filter(({ link }) => link === null || URL.canParse(link));
  });

/** Every object within a JSON value. */
function objectsIn(value: unknown): Record<string, unknown>[] {
  if (typeof value !== "object" || value === null) return [];
  const own = Array.isArray(value) ? [] : [value as Record<string, unknown>];
  return [...own, ...Object.values(value).flatMap(objectsIn)];
}

/** A message as the chat reads it. */
function sent(message: unknown) {
  return objectsIn(JSON.parse(new TextDecoder().decode(
    new TextEncoder().encode(JSON.stringify(message)),
  )));
}

Deno.test("slackMessage() makes no mention, link or markup of any text but its own link", () => {
  fc.assert(fc.property(ANNOUNCEMENTS, (all) => {
    for (const one of all) {
      const objects = sent(slackMessage(one));
      const [{ text, mrkdwn, unfurl_links } = {}] = objects;
      assert.deepEqual([mrkdwn, unfurl_links], [false, false]);
      for (const part of [text, ...objects.slice(1).map((object) => object.text)]) {
        if (typeof part !== "string" || part.startsWith("<https://hooks.example.com/")) continue;
        assert.doesNotMatch(part, /[<>]|&(?!amp;|lt;|gt;)/);
      }
      const marked = objects.filter(({ type }) => type === "mrkdwn");
      assert.equal(marked.length, one.link === null ? 0 : 1);
      for (const { text } of marked) {
        assert.match(String(text), /^<https:\/\/hooks\.example\.com\/[^<>|\s]*\|Show details>$/);
      }
      for (const { type } of objects) {
        assert.ok(
          ["header", "section", "plain_text", "mrkdwn", undefined].includes(type as string),
        );
      }
    }
  }));
});

Deno.test("slackMessage() stays within Slack's limits", () => {
  fc.assert(fc.property(ANNOUNCEMENTS, (all) => {
    for (const one of all) {
      const { blocks } = slackMessage(one);
      assert.ok(blocks.length <= 50);
      for (const { type, text } of blocks) {
        assert.ok(text.text.length <= (type === "header" ? 150 : 3_000));
        assert.ok(text.text.length > 0, "Slack refuses empty texts");
      }
    }
  }));
});

Deno.test("forSlack() shows a text as it was written", () => {
  fc.assert(fc.property(fc.string({ maxLength: 100 }), (text) => {
    const read = forSlack(text).replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll(
      "&amp;",
      "&",
    );
    assert.equal(read, text.trim());
  }));
});

Deno.test("teamsMessage() puts every text into a run, which reads no Markdown", () => {
  fc.assert(fc.property(ANNOUNCEMENTS, (all) => {
    for (const one of all) {
      const objects = sent(teamsMessage(one));
      const [{ attachments } = {}] = objects;
      const [{ contentType, content }] = attachments as [Record<string, unknown>];
      assert.equal(contentType, "application/vnd.microsoft.card.adaptive");
      const { type, version, body, actions, msteams } = content as Record<string, unknown>;
      assert.deepEqual([type, version, msteams], ["AdaptiveCard", "1.4", { width: "Full" }]);
      const runs = objectsIn(body);
      for (const run of runs) {
        assert.ok(["RichTextBlock", "TextRun"].includes(String(run.type)));
        assert.ok(!("selectAction" in run));
        if (run.type === "TextRun") {
          assert.doesNotMatch(String(run.text), /\p{Cc}|[\u202a-\u202e]/u);
        }
      }
      assert.equal(runs.filter((run) => run.type === "TextRun").length, 1 + one.lines.length);
      const opened = objectsIn(actions);
      assert.equal(opened.length, one.link === null ? 0 : 1);
      for (const { type, url } of opened) {
        assert.equal(type, "Action.OpenUrl");
        assert.match(String(url), /^https:\/\/hooks\.example\.com\//);
      }
      // Only a list of mentions makes one, and a card has none.
      assert.doesNotMatch(JSON.stringify(Object.keys(content as object)), /entities/);
    }
  }));
});
