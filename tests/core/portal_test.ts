import assert from "node:assert/strict";
import { isPortalToken, portalPath, portalToken, shownPath } from "../../lib/core/portal.ts";

Deno.test("portalToken() is 32 bytes in base64url, and isPortalToken() knows it", () => {
  const token = portalToken(new Uint8Array(32).fill(0xfb));
  assert.equal(token, "portal_-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s");
  assert.ok(isPortalToken(token));
  const others = [
    "",
    "portal_",
    token.slice(0, -1),
    token + "A",
    token.toUpperCase(),
    token.replace("portal_", "Portal_"),
    token.replace("v7", "v+"),
    ` ${token}`,
    `${token}\n`,
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
  ];
  for (const other of others) assert.ok(!isPortalToken(other), other);
});

Deno.test("shownPath() leaves out a portal link's token, however the path is written", () => {
  const token = portalToken(new Uint8Array(32).fill(7));
  const path = portalPath(token);
  assert.equal(path, `/portal/open/${token}`);
  const paths = [
    path,
    `${path}/`,
    `${path}/more`,
    `/portal//open/${token}`,
    `/PORTAL/OPEN/${token}`,
    `/portal/%6Fpen/${token}`,
    `/portal/open/${token.replace("portal", "p%6frtal")}`,
    "/portal/open/anything",
    `/hooks/portal/open/${token}`,
    `/api/${token}`,
    `/%70ortal_${token.slice("portal_".length)}`,
  ];
  for (const each of paths) assert.equal(shownPath(each), "/portal/open/[token]", each);
  const others = ["/", "/portal", "/portal/endpoints", "/api/endpoints", "/api/portal-links", "/%"];
  for (const each of others) assert.equal(shownPath(each), each);
});
