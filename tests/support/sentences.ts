/**
 * The fixed parts of the texts and templates in a source file that are words with a space between: what a
 * person may read. A test that has seen each of them has caused every line.
 */
export function sentencesOf(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "")
    .replace(/\/(?:\\.|[^/\n\\])+\/[gim]*(?=[.,\])])/g, "");
  const texts = [...code.matchAll(/"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`/g)];
  return texts
    .flatMap(([, plain, template]) => plain === undefined ? partsOf(template ?? "") : [plain])
    .map((part) => part.replace(/\\`/g, "`").trim())
    .filter((part) => part.length >= 8 && / /.test(part));
}

function partsOf(template: string): string[] {
  let rest = template.replace(/(?<!\$)\{[^{}]*\}/g, "");
  while (/\$\{[^{}]*\}/.test(rest)) rest = rest.replace(/\$\{[^{}]*\}/g, "\0");
  return rest.split("\0");
}
