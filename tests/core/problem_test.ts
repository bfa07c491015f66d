import assert from "node:assert/strict";
import { AppError } from "../../lib/core/errors.ts";
import { makeProblem, problemOf } from "../../lib/core/problem.ts";

Deno.test("makeProblem() makes problem+json, with errors only if given", () => {
  const head = { "content-type": "application/problem+json" };
  assert.deepEqual(makeProblem(431, "malformed", "Too many fields"), {
    status: 431,
    headers: head,
    body: '{"type":"about:blank","title":"Request Header Fields Too Large","status":431,' +
      '"code":"malformed","detail":"Too many fields"}',
  });
  const errors = [{ pointer: "/id", message: "must be text" }];
  assert.deepEqual(JSON.parse(makeProblem(422, "invalid", "Mistakes", errors).body).errors, errors);
});

Deno.test("problemOf() adds the headers that a status calls for", () => {
  const headersOf = (error: AppError) => {
    const { "content-type": type, ...rest } = problemOf(error).headers;
    assert.equal(type, "application/problem+json");
    return rest;
  };
  assert.deepEqual(headersOf(new AppError("not_found", "None")), {});
  assert.deepEqual(headersOf(new AppError("unauthorized", "Who?")), {
    "www-authenticate": "Bearer",
  });
  assert.deepEqual(headersOf(new AppError("unavailable", "Wait", { retry_after_s: 2 })), {
    "retry-after": "2",
  });
  assert.deepEqual(
    headersOf(new AppError("method_not_allowed", "No", { allow: ["GET", "HEAD"] })),
    { allow: "GET, HEAD" },
  );
});
