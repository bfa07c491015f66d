import { Buffer } from "node:buffer";
import { decodeUtf8 } from "./utf8.ts";

/** Fewest characters of a text to be looked for: shorter ones are in everything. */
export const MIN_SOUGHT = 4;

/** Finds a text, however it is written. */
export interface Mention {
  /** Whether a string, an object's key or a number in this JSON text contains it. */
  inJson(json: string): boolean;
  /** Whether this text contains it. */
  inText(text: string): boolean;
  /** Whether these bytes do, in any encoding; if they are `cut`, also if they end with its beginning. */
  inBytes(bytes: Uint8Array, cut?: boolean): boolean;
}

/**
 * Finds `sought` regardless of case and of how its characters are composed (Unicode NFC), and behind the
 * escapes of JSON, URLs and HTML, up to four of them around each other. A decomposed or a misread
 * encoding is found too; compressed, encrypted or base64 text is not.
 */
export function makeMention(sought: string): Mention {
  const wanted = fold(sought);

  function within(text: string, cut: boolean): boolean {
    const folded = fold(text);
    return folded.includes(wanted) || (cut && endsWithStart(folded, wanted));
  }

  function inText(text: string, cut = false, depth = MAX_DEPTH): boolean {
    if (within(text, cut)) return true;
    return depth > 0 && readings(text).some((reading) => inText(reading, cut, depth - 1));
  }

  return {
    inText: (text) => inText(text),
    inJson(json) {
      // Its strings are parts of what this decodes, so that few texts are taken apart.
      return inText(json) &&
        json.match(SCALARS)?.some((scalar) => inText(valueOf(scalar))) === true;
    },
    inBytes(bytes, cut = false) {
      return encodings(bytes, cut).some((text) => inText(text, cut));
    },
  };
}

/** How many escapings around each other are undone. */
const MAX_DEPTH = 4;

const LATIN1 = /^[\0-\xff]*$/;

// Upper case, because lower case depends on what stands next to a Greek sigma. Latin-1 is composed already,
// and most texts are: composing takes ten times as long.
function fold(text: string): string {
  if (LATIN1.test(text)) return text.toUpperCase();
  return text.normalize("NFC").toUpperCase().normalize("NFC");
}

/** Whether the text ends with at least `MIN_SOUGHT` of the first characters of `wanted`. */
function endsWithStart(text: string, wanted: string): boolean {
  for (let length = wanted.length - 1; length >= MIN_SOUGHT; length--) {
    if (text.endsWith(wanted.slice(0, length))) return true;
  }
  return false;
}

/** Strings and numbers of a JSON text. Not by `JSON.parse`, which drops all but the last of equal keys. */
const SCALARS = /"(?:[^"\\]|\\.)*"|-?\d[^\s,\]}]*/gs;

function valueOf(scalar: string): string {
  return scalar.startsWith('"') ? JSON.parse(scalar) as string : scalar;
}

/** What the text means if its escapes are read, and if it is UTF-8 that was taken for Latin-1. */
function readings(text: string): string[] {
  const found: string[] = [];
  if (/[\\%&]/.test(text)) add(found, text, unescaped(text));
  // In a form, a plus is a space. In a telephone number it is not.
  if (text.includes("+")) add(found, text, unescaped(text.replaceAll("+", " ")));
  if (/[\xc2-\xf4][\x80-\xbf]/.test(text) && LATIN1.test(text)) {
    add(found, text, decodeUtf8(Buffer.from(text, "latin1")));
  }
  return found;
}

function add(found: string[], text: string, reading: string | undefined): void {
  if (reading !== undefined && reading !== text) found.push(reading);
}

const ESCAPES =
  /\\u\{([0-9a-f]{1,6})\}|(?:\\|%)u([0-9a-f]{4})|\\x([0-9a-f]{2})|\\(["'\\/bfnrt])|((?:%[0-9a-f]{2})+)|&#x([0-9a-f]{1,6});?|&#(\d{1,7});?|&([a-z]+\d*);/gi;
const CONTROLS: Readonly<Record<string, string>> = {
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

function unescaped(text: string): string {
  return text.replace(ESCAPES, (whole, ...groups: (string | undefined)[]) => {
    const [braced, unit, byte, plain, percent, hex, decimal, name] = groups;
    if (percent !== undefined) return percentDecoded(percent);
    if (plain !== undefined) return CONTROLS[plain.toLowerCase()] ?? plain;
    if (name !== undefined) return ENTITIES.get(name) ?? whole;
    const code = decimal === undefined
      ? Number.parseInt(braced ?? unit ?? byte ?? hex ?? "", 16)
      : Number(decimal);
    // A code unit, so that two escapes can make one character.
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

function percentDecoded(run: string): string {
  const bytes = Buffer.from(run.replaceAll("%", ""), "hex");
  return decodeUtf8(bytes) ?? bytes.toString("latin1");
}

/** Names of U+00A0 to U+00FF in HTML, and of what is special in it. */
const ENTITIES: ReadonlyMap<string, string> = new Map([
  ...(
    "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 " +
    "acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde " +
    "Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute " +
    "Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde " +
    "auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute " +
    "ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml"
  ).split(" ").map((name, i) => [name, String.fromCharCode(0xa0 + i)] as const),
  ["amp", "&"],
  ["lt", "<"],
  ["gt", ">"],
  ["quot", '"'],
  ["apos", "'"],
  ["commat", "@"],
  ["period", "."],
  ["plus", "+"],
]);

/** The texts that the bytes may be. */
function encodings(bytes: Uint8Array, cut: boolean): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = decodeUtf8(bytes, { cut });
  const texts = text === undefined
    ? [new TextDecoder().decode(bytes), buffer.toString("latin1")]
    : [text];
  if (!bytes.includes(0)) return texts;
  const even = buffer.subarray(0, buffer.length & ~1);
  return [...texts, even.toString("utf16le"), Buffer.from(even).swap16().toString("utf16le")];
}
