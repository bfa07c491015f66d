import { VerifyInput } from "../../lib/admin/inputs.ts";
import * as shown from "../../lib/admin/shown.ts";
import { checkSignature, verifyMistakes } from "../../lib/admin/signature.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";

export const signatureOperations = [
  operation({
    id: "checkSignature",
    method: "post",
    path: "/api/verify",
    tag: "Signatures",
    portal: true,
    summary: "Checks the signatures of a request, and names the likely mistake",
    description:
      "Against the secrets of an endpoint, or one that is given: exactly one of `endpoint` and " +
      "`secret`. Changes nothing. If a signature does not fit, it tries the usual mistakes: a body parsed and " +
      "written again, a trailing newline, a wrong character set, the previous secret, a key decoded or not.",
    body: VerifyInput,
    rules: verifyMistakes,
    status: 200,
    response: shown.SignatureCheck,
    refuses: ["conflict"],
    example: {
      body: {
        endpoint: example.ENDPOINT_ID,
        body: '{"event":"booking.created","timestamp":"2026-11-24T10:00:00Z","data":{}}',
        headers: {
          "X-BookMe-Signature":
            "sha256=5f2b0f5d6d1a4c0e8b7a6958473625140f1e2d3c4b5a69788796a5b4c3d2e1f0",
        },
      },
      response: {
        valid: false,
        findings: [{
          header: "X-BookMe-Signature",
          valid: false,
          mistakes: ["previous_secret"],
          text: "It is signed with the previous secret; a rotation has not arrived everywhere",
          secret: "previous",
        }],
        previous_ends_at: "2026-11-25T10:00:00.000Z",
        remark: null,
      },
    },
    handle: (ctx, { by, body }) => checkSignature(ctx, by, body),
  }),
];
