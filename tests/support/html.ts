/** What a reader without JavaScript sees of a page. */

/** Its text, without markup, in one line. */
export function textOf(html: string): string {
  const text = html.replace(/<(script|style)\b[^]*?<\/\1>|<wbr\/?>/g, "").replace(/<[^>]*>/g, " ");
  return unescaped(text).replace(/\s+/g, " ").trim();
}

/** Its first line. */
export function headlineOf(html: string): string {
  return textOf(/<h1>([^]*?)<\/h1>/.exec(html)?.[1] ?? "").replace(/ ([;,.:])/g, "$1");
}

/** The value of a field; undefined if it has none of that name. */
export function valueOf(html: string, name: string): string | undefined {
  const input = new RegExp(`<input\\b[^>]*\\bname="${name}"[^>]*>`).exec(html)?.[0];
  if (input !== undefined) return unescaped(/value="([^"]*)"/.exec(input)?.[1] ?? "");
  const select = new RegExp(`<select\\b[^>]*\\bname="${name}"[^>]*>([^]*?)</select>`).exec(html);
  if (select !== null) {
    const option = /<option\b(?=[^>]*\bselected)[^>]*value="([^"]*)"/.exec(select[1] ?? "");
    return unescaped(option?.[1] ?? "");
  }
  const area = new RegExp(`<textarea\\b[^>]*\\bname="${name}"[^>]*>([^<]*)<`).exec(html)?.[1];
  return area === undefined ? undefined : unescaped(area.replace(/^\n/, ""));
}

/** The mistake next to a field; undefined for none. */
export function errorOf(html: string, name: string): string | undefined {
  const error = new RegExp(`id="f-${name}-error">([^<]*)<`).exec(html)?.[1];
  return error === undefined ? undefined : unescaped(error);
}

function unescaped(text: string): string {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'").replaceAll("&amp;", "&");
}
