/** The token of a portal link. It can be told from others, so that only such texts are looked up. */

const PREFIX = "portal_";
const TOKEN = /^portal_[\w-]{43}$/;

/** The token that these 32 random bytes make. */
export function portalToken(random: Uint8Array): string {
  return PREFIX + random.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Whether a text has the shape of a portal token. */
export function isPortalToken(text: string): boolean {
  return TOKEN.test(text);
}

/** The path of a portal link. */
export function portalPath(token: string): string {
  return `/portal/open/${token}`;
}

/** A path as answers, logs and traces may show it: that of a portal link without its token. */
export function shownPath(path: string): string {
  return /\/portal\/+open\/|portal_/i.test(decoded(path)) ? portalPath("[token]") : path;
}

function decoded(path: string): string {
  return path.replace(
    /%([0-9a-f]{2})/gi,
    (_, digits) => String.fromCharCode(Number.parseInt(digits, 16)),
  );
}
