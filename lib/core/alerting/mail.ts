/** Announcements as mails: plain text, and the same as simple HTML. */

import { plainLine } from "./plain.ts";
import type { Announcement } from "./words.ts";

/** The parts of a mail. */
export interface MailTexts {
  /** One line. */
  readonly subject: string;
  readonly text: string;
  readonly html: string;
}

const MAX_SUBJECT_CHARS = 200;
const MAX_CHARS = 1_000;

/** The mail of an announcement. */
export function mailTexts({ title, lines, link }: Announcement): MailTexts {
  const [head = "", ...texts] = [title, ...lines].map((line) => `${plainLine(line, MAX_CHARS)}.`);
  const place = link === null ? null : new URL(link).href;
  return {
    subject: plainLine(title, MAX_SUBJECT_CHARS),
    text: [head, "", ...texts, ...(place === null ? [] : ["", place]), ""].join("\n"),
    html: `<p><strong>${forHtml(head)}</strong></p>\n` +
      texts.map((text) => `<p>${forHtml(text)}</p>\n`).join("") +
      (place === null ? "" : `<p><a href="${forHtml(place)}">Show details</a></p>\n`),
  };
}

/** A text within HTML, in attributes as well. */
export function forHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
