import { optional, strictObject } from "valibot";
import { endpointMistakes, secretMistakes } from "../../lib/admin/endpoint_fields.ts";
import * as admin from "../../lib/admin/endpoints.ts";
import { checkEndpoint } from "../../lib/admin/examination.ts";
import * as field from "../../lib/admin/fields.ts";
import * as inputs from "../../lib/admin/inputs.ts";
import * as shown from "../../lib/admin/shown.ts";
import { testEndpoint } from "../../lib/admin/test_event.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as query from "./queries.ts";

const tag = "Endpoints";
const path = "/api/endpoints/{id}";

const ListQuery = strictObject({
  source: optional(field.oneOf(["file", "api"])),
  retired: optional(query.flag, "false"),
  cursor: optional(field.identifier),
  limit: query.limit,
});

export const endpointOperations = [
  operation({
    id: "listEndpoints",
    method: "get",
    path: "/api/endpoints",
    tag,
    portal: true,
    summary: "Lists the endpoints in force, or the retired ones",
    query: ListQuery,
    status: 200,
    response: shown.page(shown.Endpoint),
    refuses: [],
    example: { response: { data: [example.endpoint], next_cursor: null } },
    handle: (ctx, { by, query }) => admin.listEndpoints(ctx, by, query),
  }),
  operation({
    id: "createEndpoint",
    method: "post",
    path: "/api/endpoints",
    tag,
    portal: true,
    summary: "Makes an endpoint",
    description: "Its secret is in the answer and is never shown again.",
    body: inputs.EndpointInput,
    rules: (ctx, { scope }, body) => endpointMistakes(ctx, scope, body),
    status: 201,
    response: shown.EndpointMade,
    refuses: ["conflict"],
    example: {
      body: { url: example.endpoint.url, events: ["booking.*"], rate_limit: "50/s" },
      response: {
        ...example.endpoint,
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
      },
    },
    handle: (ctx, { by, body }) => admin.createEndpoint(ctx, by, body),
  }),
  operation({
    id: "getEndpoint",
    method: "get",
    path,
    tag,
    portal: true,
    summary: "Shows an endpoint, and why it may be failing",
    status: 200,
    response: shown.EndpointDetail,
    refuses: ["not_found"],
    example: { id: example.ENDPOINT_ID, response: { ...example.endpoint, hints: [] } },
    handle: (ctx, { by, id }) => admin.getEndpoint(ctx, by, id),
  }),
  operation({
    id: "updateEndpoint",
    method: "patch",
    path,
    tag,
    portal: true,
    summary: "Changes an endpoint",
    description:
      "Members left out stay as they are; null clears optional ones. Deliveries that are pending and " +
      "not selected any more are cancelled as `deselected`. The file's endpoints are changed in the file.",
    body: inputs.EndpointPatch,
    rules: (ctx, { scope }, body) => endpointMistakes(ctx, scope, body),
    status: 200,
    response: shown.EndpointChanged,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      body: { timeout_ms: 20_000, description: null, version: 1 },
      response: {
        ...example.endpoint,
        timeout_ms: 20_000,
        description: null,
        version: 2,
        cancels: 0,
        cancels_exact: true,
      },
    },
    handle: (ctx, { by, id, body }) => admin.changeEndpoint(ctx, by, id, body),
  }),
  operation({
    id: "deleteEndpoint",
    method: "delete",
    path,
    tag,
    portal: true,
    summary: "Retires an endpoint",
    description: "Its pending deliveries are cancelled, its secrets forgotten; its history stays.",
    status: 200,
    response: shown.EndpointChanged,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      response: {
        ...example.endpoint,
        state: "retired",
        sendable: false,
        unsendable_reason: "The endpoint is retired",
        retired_at: "2026-11-24T10:00:00.000Z",
        cancels: 12,
        cancels_exact: true,
      },
    },
    handle: (ctx, { by, id }) => admin.retireEndpoint(ctx, by, id),
  }),
  operation({
    id: "pauseEndpoint",
    method: "post",
    path: `${path}/pause`,
    tag,
    portal: true,
    summary: "Pauses an endpoint: what it is owed waits",
    body: inputs.PauseInput,
    body_optional: true,
    status: 200,
    response: shown.Endpoint,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      body: { reason: "Maintenance until noon" },
      response: {
        ...example.endpoint,
        state: "paused",
        paused: true,
        paused_at: "2026-11-24T10:00:00.000Z",
        pause_reason: "Maintenance until noon",
        paused_by: "hand",
      },
    },
    handle: (ctx, { by, id, body }) => admin.pauseEndpoint(ctx, by, id, body),
  }),
  operation({
    id: "resumeEndpoint",
    method: "post",
    path: `${path}/resume`,
    tag,
    portal: true,
    summary: "Ends an endpoint's pause: what waited is due",
    status: 200,
    response: shown.Endpoint,
    refuses: ["not_found", "conflict"],
    example: { id: example.ENDPOINT_ID, response: example.endpoint },
    handle: (ctx, { by, id }) => admin.resumeEndpoint(ctx, by, id),
  }),
  operation({
    id: "rotateSecret",
    method: "post",
    path: `${path}/rotate`,
    tag,
    portal: true,
    summary: "Gives an endpoint a new secret",
    description: "It signs X-BookMe-Signature from `activate` on; the old one stays in " +
      "webhook-signature until `overlap` after that. The answer shows it this once.",
    body: inputs.RotateInput,
    body_optional: true,
    rules: (ctx, _by, body) => secretMistakes(ctx, body),
    status: 200,
    response: shown.EndpointMade,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      body: { activate: "2026-11-25T06:00:00Z", overlap: "24h" },
      response: {
        ...example.endpoint,
        version: 2,
        rotation: {
          activates_at: "2026-11-25T06:00:00.000Z",
          overlap_ends_at: "2026-11-26T06:00:00.000Z",
        },
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
      },
    },
    handle: (ctx, { by, id, body }) => admin.rotateSecret(ctx, by, id, body),
  }),
  operation({
    id: "endOverlap",
    method: "post",
    path: `${path}/overlap`,
    tag,
    portal: true,
    summary: "Moves the end of a rotation's overlap",
    description:
      "The old secret stays in webhook-signature until `ends_at`. Of several rotations " +
      "within one overlap, it moves the end of the last; those before end no later.",
    body: inputs.OverlapInput,
    status: 200,
    response: shown.Endpoint,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      body: { ends_at: "now" },
      response: { ...example.endpoint, version: 3 },
    },
    handle: (ctx, { by, id, body }) => admin.endOverlap(ctx, by, id, body),
  }),
  operation({
    id: "testEndpoint",
    method: "post",
    path: `${path}/test`,
    tag,
    portal: true,
    summary: "Sends a test event to an endpoint and waits for its answer",
    description: "The event goes to this endpoint only, whatever it selects, with X-BookMe-Test: " +
      "true. Should it fail, it is retried as any other. It belongs to the endpoint's owner, or to " +
      "no business, whatever business its data names.",
    body: inputs.TestInput,
    status: 200,
    response: shown.TestResult,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      body: { event: "booking.created" },
      response: {
        event_id: example.EVENT_ID,
        delivery: { ...example.delivery, test: true },
        attempt: example.attempt,
        would_be_owed: false,
        reason: "The event is of the business bus_9; the endpoint wants bus_123 only",
      },
    },
    handle: (ctx, { by, id, body, isGone }) => testEndpoint(ctx, by, id, body, isGone),
  }),
  operation({
    id: "checkEndpoint",
    method: "post",
    path: `${path}/check`,
    tag,
    portal: true,
    summary: "Looks at an endpoint's state, DNS, addresses and TLS",
    description: "Changes nothing, and sends no HTTP request: a TLS handshake at most. Takes 10 " +
      "seconds at most.",
    status: 200,
    response: shown.EndpointCheck,
    refuses: ["not_found", "conflict"],
    example: { id: example.ENDPOINT_ID, response: example.check },
    handle: (ctx, { by, id }) => checkEndpoint(ctx, by, id),
  }),
];
