/** What people read of a page. */

/** The text that a page shows, without its markup. */
export function textOf(html: string): string {
  return html.replace(/<(script|style)[^]*?<\/\1>/g, "").replace(/<[^>]+>/g, " ")
    .replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">")
    .replaceAll("&#39;", "'").replaceAll("&amp;", "&").replace(/\s+/g, " ");
}

/** The first line of a page. */
export function headline(html: string): string {
  return textOf(/<h1>([^]*?)<\/h1>/.exec(html)?.[1] ?? "").trim();
}
