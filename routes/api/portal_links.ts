import { optional, strictObject } from "valibot";
import * as field from "../../lib/admin/fields.ts";
import * as inputs from "../../lib/admin/inputs.ts";
import { CURSOR_RULE } from "../../lib/admin/lists.ts";
import * as admin from "../../lib/admin/portal_links.ts";
import * as shown from "../../lib/admin/shown.ts";
import { parsePortalLinkId } from "../../lib/core/ids.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as query from "./queries.ts";

const tag = "Portal links";
const path = "/api/portal-links/{id}";

const ListQuery = strictObject({
  business: optional(field.identifier),
  cursor: optional(query.parsed(parsePortalLinkId, CURSOR_RULE)),
  limit: query.limit,
});

export const portalLinkOperations = [
  operation({
    id: "createPortalLink",
    method: "post",
    path: "/api/portal-links",
    tag,
    summary: "Makes a link with which a business manages its own endpoints",
    description:
      "`url` is for a browser, `token` is a bearer token for this API. Both are in the answer and are " +
      "never shown again: only a digest is stored.",
    body: inputs.PortalLinkInput,
    status: 201,
    response: shown.PortalLinkMade,
    refuses: ["conflict"],
    example: {
      body: { business: "bus_123", expires_in: "7d" },
      response: {
        ...example.portal_link,
        url: `https://hooks.example.com/portal/open/${example.PORTAL_TOKEN}`,
        token: example.PORTAL_TOKEN,
      },
    },
    handle: (ctx, { by, body }) => admin.createPortalLink(ctx, by, body),
  }),
  operation({
    id: "listPortalLinks",
    method: "get",
    path: "/api/portal-links",
    tag,
    summary: "Lists portal links, the last made first; those that are over too",
    query: ListQuery,
    status: 200,
    response: shown.page(shown.PortalLink),
    refuses: [],
    example: { response: { data: [example.portal_link], next_cursor: null } },
    handle: (ctx, { by, query }) => admin.listPortalLinks(ctx, by, query),
  }),
  operation({
    id: "getPortalLink",
    method: "get",
    path,
    tag,
    summary: "Shows a portal link",
    status: 200,
    response: shown.PortalLink,
    refuses: ["not_found"],
    example: { id: example.PORTAL_LINK_ID, response: example.portal_link },
    handle: (ctx, { by, id }) => admin.getPortalLink(ctx, by, id),
  }),
  operation({
    id: "revokePortalLink",
    method: "delete",
    path,
    tag,
    summary: "Ends a portal link",
    description: "Its token is refused from the next request on. Endpoints made with it stay.",
    status: 200,
    response: shown.PortalLink,
    refuses: ["not_found"],
    example: {
      id: example.PORTAL_LINK_ID,
      response: {
        ...example.portal_link,
        state: "revoked",
        revoked_at: "2026-11-24T12:00:00.000Z",
      },
    },
    handle: (ctx, { by, id }) => admin.revokePortalLink(ctx, by, id),
  }),
];
