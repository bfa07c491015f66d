import { type Context, Hono } from "hono";
import { getDelivery } from "../../lib/admin/deliveries.ts";
import { VerifyInput } from "../../lib/admin/inputs.ts";
import { endpointNames } from "../../lib/admin/names.ts";
import type * as shown from "../../lib/admin/shown.ts";
import { checkSignature, verifyMistakes } from "../../lib/admin/signature.ts";
import { validBody } from "../../lib/admin/validate.ts";
import { AppError, HTTP_STATUS, invalidAt } from "../../lib/core/errors.ts";
import { pastedHeaders } from "../../lib/core/pasted_headers.ts";
import type { RouteContext } from "../context.ts";
import { type Form, formState, freshForm, readForm } from "./forms.ts";
import { page, type PageStatus } from "./layout.tsx";
import { type Checked, VerifyPage } from "./pages/verify.tsx";
import type { House, PageEnv, Visit } from "./visit.ts";

/** The signature checker: `/verify`. */
export function verifyPages(ctx: RouteContext, _house: House): Hono<PageEnv> {
  return new Hono<PageEnv>()
    .get("/verify", async (c) => {
      const delivery = c.req.query("delivery");
      const values = delivery === undefined
        ? { endpoint: [c.req.query("endpoint")?.trim() ?? ""] }
        : await sentBy(ctx, c.get("visit"), delivery);
      return await show(c, ctx, { ...NOTHING, state: freshForm(values) });
    })
    // The answer is the page itself: a redirect would have to keep what was typed.
    .post("/verify", async (c) => {
      const [visit, form] = [c.get("visit"), await readForm(c)];
      const headers = pastedHeaders(form.list("headers")[0] ?? "");
      const values = {
        endpoint: [form.text("endpoint")],
        body: [form.list("body")[0] ?? ""],
        // Only these: a log may have had credentials as well. And never the secret.
        headers: [Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join("\n")],
      };
      try {
        const check = await checkForm(ctx, visit, form, headers);
        const endpoint = form.text("secret") === "" ? form.text("endpoint") : null;
        return await show(c, ctx, { state: freshForm(values), check, endpoint });
      } catch (error) {
        if (!(error instanceof AppError) || error.code === "not_found") throw error;
        const { errors, message } = formState(form, error);
        const status = HTTP_STATUS[error.code] as PageStatus;
        return await show(c, ctx, { ...NOTHING, state: { values, errors, message } }, status);
      }
    });
}

/**
 * The body and the signatures that the last attempt of a delivery sent. With the endpoint's own secret they are
 * valid: what is left to type is the secret that its receiver has.
 */
async function sentBy(
  ctx: RouteContext,
  { by }: Visit,
  id: string,
): Promise<Record<string, readonly string[]>> {
  const { attempts } = await getDelivery(ctx, by, id);
  const request = attempts.findLast(({ request }) => request?.body != null)?.request;
  const lines = Object.entries(request?.headers ?? {})
    .filter(([name]) => /^(webhook-|x-bookme-signature$)/i.test(name))
    .map(([name, value]) => `${name}: ${value}`);
  return { endpoint: [""], body: [request?.body ?? ""], headers: [lines.join("\n")] };
}

const NOTHING = { check: null, endpoint: null };

async function show(
  c: Context<PageEnv>,
  ctx: RouteContext,
  checked: Checked,
  status: PageStatus = 200,
): Promise<Response> {
  const visit = c.get("visit");
  const names = await endpointNames(ctx, visit.by);
  return await page(
    c,
    visit,
    { title: "Signature checker", nav: "verify", status },
    VerifyPage({ visit, names, checked }),
  );
}

/** Checks what was pasted. A browser posts each line break as CR LF, whatever it was. */
async function checkForm(
  ctx: RouteContext,
  visit: Visit,
  form: Form,
  headers: Record<string, string>,
): Promise<shown.SignatureCheck> {
  const pasted = form.list("body")[0] ?? "";
  const [endpoint, secret] = [form.text("endpoint"), form.list("secret")[0] ?? ""];
  if (Object.keys(headers).length === 0) {
    throw invalidAt(
      "/headers",
      "No X-BookMe-Signature and no webhook-signature in it. Paste the headers as your server logged them, or " +
        "the signature alone",
    );
  }
  const ask = async (body: string) =>
    await checkSignature(
      ctx,
      visit.by,
      await validBody(VerifyInput, (sound) => verifyMistakes(ctx, visit.by, sound), {
        // A typed secret is meant: an endpoint may only have been chosen before.
        ...(secret !== "" ? { secret } : endpoint !== "" ? { endpoint } : {}),
        body,
        headers,
      }),
    );
  const check = await ask(pasted.replaceAll("\r\n", "\n"));
  if (check.valid || !pasted.includes("\r\n")) return check;
  const as_posted = await ask(pasted);
  return as_posted.valid ? as_posted : check;
}
