import { Hono } from "hono";
import { alertHeadlines } from "../../lib/admin/alerts.ts";
import { listAudit } from "../../lib/admin/audit.ts";
import { endpointNames } from "../../lib/admin/names.ts";
import type { RouteContext } from "../context.ts";
import { page } from "./layout.tsx";
import { AuditPage } from "./pages/audit.tsx";
import type { House, PageEnv } from "./visit.ts";

const LIMIT = 50;

/** The audit log: `/audit`. */
export function auditPages(ctx: RouteContext, _house: House): Hono<PageEnv> {
  return new Hono<PageEnv>().get("/audit", async (c) => {
    const visit = c.get("visit");
    const filled = (name: string) => c.req.query(name)?.trim() || undefined;
    const filter = {
      actor: filled("actor"),
      action: filled("action"),
      object: filled("object"),
    };
    const cursor = filled("cursor");
    const [entries, names] = await Promise.all([
      listAudit(ctx, visit.by, { ...filter, cursor, limit: LIMIT }),
      endpointNames(ctx, visit.by),
    ]);
    const alerts = await alertHeadlines(ctx, visit.by, entries.data.map(({ object }) => object));
    return await page(
      c,
      visit,
      { title: "Audit", nav: "audit" },
      AuditPage({
        visit,
        entries,
        names: new Map([...names, ...alerts]),
        filter,
        is_first: cursor === undefined,
      }),
    );
  });
}
