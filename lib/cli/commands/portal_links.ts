import type { PortalLink, PortalLinkMade } from "../../admin/shown.ts";
import { API_OPTIONS, LIST_OPTIONS, MAX_LISTED, openApi, pathPart } from "../daemon_api/client.ts";
import { command, duration, integer, UsageError } from "../command.ts";
import { type Cell, facts, moreBelow, table, when, whenExactly } from "../table.ts";
import { type Io, type Palette, paletteOf, printable } from "../terminal.ts";

const MAX_LIFE_MS = 30 * 86_400_000;

export const portalLink = command({
  name: "portal-link",
  summary: "Prints a link with which a business manages its own endpoints",
  about:
    `Prints the link to standard output, this once, and everything else to standard error. Whoever has
the link acts for the business until it expires or is revoked (portal-links ID --revoke). Its last
part is also a bearer token for the API.`,
  positionals: { usage: "BUSINESS", min: 1, max: 1 },
  options: {
    "expires-in": { type: "string", value: "DURATION", about: "24h (default); 1m to 30d" },
    "read-only": { type: "boolean", about: "A link that shows everything and changes nothing" },
    json: { type: "boolean", about: "Print the API's answer as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks portal-link bus_123", "A link for a day"],
    ["bookme-webhooks portal-link bus_123 --expires-in 7d --read-only", "To look, for a week"],
  ],
  async run({ io, values, positionals: [business = ""] }) {
    const { "expires-in": expires_in, "read-only": read_only, json } = values;
    if (expires_in !== undefined) duration("--expires-in", expires_in, MAX_LIFE_MS);
    const made = await (await openApi(io, values)).post<PortalLinkMade>("portal-links", {
      business,
      read_only,
      ...(expires_in === undefined ? {} : { expires_in }),
    });
    if (json) {
      io.out(JSON.stringify(made, null, 2));
      return 0;
    }
    io.out(made.url);
    io.err(
      `${made.id} expires ${whenExactly(made.expires_at, Date.now())}; the link is not shown again`,
    );
    return 0;
  },
});

export const portalLinks = command({
  name: "portal-links",
  summary: "Lists portal links, newest first; shows or revokes one",
  about:
    `Neither shows the link itself: that is printed once, by portal-link. A revoked link ends with the
next request. Endpoints that were made with it stay.`,
  positionals: { usage: "[ID]", min: 0, max: 1 },
  options: {
    business: { type: "string", value: "BUSINESS", about: "Only links of this business" },
    revoke: { type: "boolean", about: "Revoke the link ID" },
    ...LIST_OPTIONS,
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks portal-links --business bus_123", "Who may act for a business?"],
    ["bookme-webhooks portal-links lnk_06yn4c1f8r2d0000h5j7 --revoke", "A link that leaked"],
  ],
  async run({ io, values, positionals: [id] }) {
    const { business, revoke, cursor, json } = values;
    const limit = integer("--limit", values.limit, 1, MAX_LISTED);
    if (id === undefined && revoke) throw new UsageError("--revoke needs the ID of a link");
    if (id !== undefined && business !== undefined) {
      throw new UsageError("--business narrows a list; it goes with no ID");
    }
    const api = await openApi(io, values);
    if (id !== undefined) {
      const path = `portal-links/${pathPart(id)}`;
      const link = revoke ? await api.delete<PortalLink>(path) : await api.get<PortalLink>(path);
      if (json) io.out(JSON.stringify(link, null, 2));
      else for (const line of describe(io, link)) io.out(line);
      return 0;
    }
    const page = await api.list<PortalLink>("portal-links", { business, cursor }, limit);
    if (json) io.out(JSON.stringify(page, null, 2));
    else if (page.data.length === 0) io.out("No portal links");
    else {
      for (const line of list(io, page.data)) io.out(line);
      moreBelow(io, page);
    }
    return 0;
  },
});

function list(io: Io, links: readonly PortalLink[]): string[] {
  const palette = paletteOf(io);
  const now_ms = Date.now();
  return table(
    io,
    ["ID", "BUSINESS", "STATE", "MAY", "EXPIRES", "CREATED", "BY"],
    links.map((link) => [
      link.id,
      link.business,
      stateCell(link, palette),
      mayOf(link),
      when(io, link.expires_at, now_ms),
      when(io, link.created_at, now_ms),
      link.created_by,
    ]),
    ["BY", "CREATED", "MAY"],
  );
}

function describe(io: Io, link: PortalLink): string[] {
  const now_ms = Date.now();
  return [
    paletteOf(io).bold(printable(link.id)),
    ...facts(io, [
      ["business", link.business],
      ["state", stateCell(link, paletteOf(io))],
      ["may", mayOf(link)],
      ["created", `${whenExactly(link.created_at, now_ms)} by ${link.created_by}`],
      ["expires", whenExactly(link.expires_at, now_ms)],
      ["revoked", whenExactly(link.revoked_at, now_ms)],
    ]),
  ];
}

function mayOf({ read_only }: PortalLink): string {
  return read_only ? "read" : "read and write";
}

function stateCell({ state }: PortalLink, palette: Palette): Cell {
  return { text: state, paint: state === "active" ? palette.green : palette.dim };
}
