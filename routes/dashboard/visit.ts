import type { HttpBindings } from "@hono/node-server";
import type { Hono } from "hono";
import type { OpenAlerts } from "../../lib/admin/alerts.ts";
import type { Asker } from "../../lib/admin/context.ts";
import type { RouteContext } from "../context.ts";
import type { Form } from "./forms.ts";

/** For whom pages speak: operators, or a business in its portal. */
export type Audience = "operator" | "business";

/** One of the two sets of pages. */
export interface House {
  /** The path that all of its pages begin with. */
  readonly base: "/dashboard" | "/portal";
  readonly audience: Audience;
}

/** The dashboard of operators. */
export const DASHBOARD: House = { base: "/dashboard", audience: "operator" };

/** The portal of a business. */
export const PORTAL: House = { base: "/portal", audience: "business" };

/** One request of somebody who is signed in, as pages need it. */
export interface Visit {
  readonly house: House;
  readonly by: Asker;
  /** Name of the admin token, or id of the business. */
  readonly name: string;
  readonly may_write: boolean;
  /** When the portal link ends; null for an operator. */
  readonly link_ends_at: string | null;
  /** Goes into a hidden field `csrf` of every form. */
  readonly csrf: string;
  /** Path and query of the page, for links that come back to it. */
  readonly here: string;
  /** The database's time, in milliseconds since 1970. */
  readonly now: number;
  /** `environment` of the configuration. */
  readonly environment: string;
}

/** hono's environment on pages. */
export interface PageEnv {
  Bindings: HttpBindings;
  Variables: {
    visit: Visit;
    /** Value of the session's cookie. */
    cookie: string;
    /** The open alerts within the visitor's scope, on pages that were asked for; null if they cannot be read. */
    alerts?: Promise<OpenAlerts | null>;
    /** Of a post that comes from a form of this session. */
    form: Form;
  };
}

/** The pages of one topic, in either house: paths are below the house's base, `/deliveries/:id`. */
export type Topic = (ctx: RouteContext, house: House) => Hono<PageEnv>;
