import { type Context, Hono } from "hono";
import { getEndpoint } from "../../lib/admin/endpoints.ts";
import { TestInput } from "../../lib/admin/inputs.ts";
import { beginTest } from "../../lib/admin/test_event.ts";
import { draftTest, isSample, sampleFor, type TestChoice } from "../../lib/admin/tests.ts";
import { validBody } from "../../lib/admin/validate.ts";
import { AppError, invalidAt } from "../../lib/core/errors.ts";
import { isObject } from "../../lib/core/json.ts";
import { parseJson } from "../../lib/core/json_text.ts";
import type { RouteContext } from "../context.ts";
import { type Form, type FormState, formState, freshForm, readForm, submit } from "./forms.ts";
import { page, type PageStatus } from "./layout.tsx";
import { TestPage } from "./pages/test.tsx";
import type { House, PageEnv, Visit } from "./visit.ts";

/** The test tool: `/test`. */
export function testPages(ctx: RouteContext, { base }: House): Hono<PageEnv> {
  return new Hono<PageEnv>()
    .get("/test", async (c) => {
      const filled = (name: string) => c.req.query(name)?.trim() || undefined;
      const choice = { endpoint: filled("endpoint"), type: filled("event"), sent: filled("sent") };
      try {
        return await show(c, ctx, choice, freshForm());
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== "invalid") throw error;
        const wrong = formState(fieldsOf(choice), error);
        return await show(c, ctx, { sent: choice.sent }, { ...wrong, values: {} }, 422);
      }
    })
    .post("/test", async (c) => {
      const [visit, form] = [c.get("visit"), await readForm(c)];
      const choice = { endpoint: form.text("endpoint"), type: form.text("type") };
      // Another type's sample, for somebody without a script.
      if (form.flag("sample")) {
        const query = new URLSearchParams({ endpoint: choice.endpoint, event: choice.type });
        return c.redirect(`${base}/test?${query}#send`, 303);
      }
      return await submit(c, ctx, visit, form, {
        act: async () => {
          const isGone = () => c.env.outgoing.destroyed;
          try {
            const input = await readTest(ctx, visit, form);
            const sent = await beginTest(ctx, visit.by, choice.endpoint, input, isGone);
            return { location: `${base}/test?sent=${sent}` };
          } catch (error) {
            throw atFields(error);
          }
        },
        refused: (state, status) => show(c, ctx, {}, state, status),
      });
    });
}

function fieldsOf(choice: TestChoice): Form {
  const all = Object.fromEntries(
    Object.entries(choice).map(([name, value]) => [name, value === undefined ? [] : [value]]),
  );
  return { all, text: () => "", list: () => [], flag: () => false };
}

async function show(
  c: Context<PageEnv>,
  ctx: RouteContext,
  choice: TestChoice,
  state: FormState,
  status: PageStatus = 200,
): Promise<Response> {
  const visit = c.get("visit");
  const draft = await draftTest(ctx, visit.by, choice);
  const tested = draft.test?.delivery.endpoint_id;
  const endpoint = tested === undefined ? null : await getEndpoint(ctx, visit.by, tested);
  return await page(c, visit, {
    title: "Test",
    nav: "test",
    status,
    ...(draft.test === null ? {} : { live: { id: draft.test.delivery.id } }),
  }, TestPage({ visit, draft, endpoint, state }));
}

/** The test that a form asks for. Throws an `AppError` whose mistakes are at the form's fields. */
async function readTest(ctx: RouteContext, { by }: Visit, form: Form): Promise<TestInput> {
  const type = form.text("type");
  const text = form.text("body");
  const typed = text === "" ? { event: type } : readBody(text);
  const is_sample = typed.event !== undefined &&
    isSample(text, await sampleFor(ctx, by, form.text("endpoint"), typed.event));
  // An untouched sample stands for the sample of the type that was chosen after it was shown.
  if (text === "" || is_sample) return await validBody(TestInput, () => [], { event: type });
  if (typed.event !== type) {
    throw invalidAt(
      "/type",
      `The body is of the type ${
        JSON.stringify(typed.event ?? null)
      }. Choose that, or load the sample of ${type}`,
    );
  }
  return await validBody(TestInput, () => [], typed);
}

function readBody(text: string) {
  const body = parseBody(text);
  if (!isObject(body)) throw invalidAt("/body", "Must be an object with event and data");
  const { event, data, business } = body;
  if (data === undefined) throw invalidAt("/body", "The member data is missing");
  return {
    event: typeof event === "string" ? event : undefined,
    data,
    ...(business === undefined ? {} : { business }),
  };
}

function parseBody(text: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw error instanceof AppError ? invalidAt("/body", error.message) : error;
  }
}

/** Mistakes in members of the event as those of the fields that they were typed into. */
function atFields(error: unknown): unknown {
  if (!(error instanceof AppError) || error.detail.errors === undefined) return error;
  const errors = error.detail.errors.map(({ pointer, message }) =>
    FIELDS.includes(pointer) ? { pointer, message } : {
      pointer: "/body",
      message: pointer === "" ? message : `${pointer.slice(1).replaceAll("/", ".")}: ${message}`,
    }
  );
  const at_body = errors.filter(({ pointer }) => pointer === "/body");
  const all = at_body.map(({ message }) => message).join("; ");
  return new AppError(error.code, error.message, {
    errors: [
      ...errors.filter(({ pointer }) => pointer !== "/body"),
      ...(at_body.length === 0 ? [] : [{ pointer: "/body", message: all }]),
    ],
  });
}

const FIELDS = ["/endpoint", "/type", "/body"];
