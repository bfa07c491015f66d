import { Buffer } from "node:buffer";
import {
  diagnose,
  type Finding,
  type Keys,
  type Received,
  type SignatureMistake,
} from "../core/diagnose.ts";
import { AppError, type Mistake, refuseMistakes } from "../core/errors.ts";
import { overlapAt, signingAt } from "../core/rotation.ts";
import { secretMistake } from "../core/secret.ts";
import { openSealed, type StoredEndpoint } from "../store/endpoints.ts";
import { getEndpoint } from "../store/reports/endpoints.ts";
import type { AdminContext, Asker } from "./context.ts";
import type { VerifyInput } from "./inputs.ts";
import { retired, unknownEndpoint } from "./lookup.ts";
import type * as shown from "./shown.ts";

/**
 * Checks the signatures of a request, against an endpoint's own secrets, which are never shown, or one that is given,
 * which is kept nowhere.
 */
export async function checkSignature(
  ctx: AdminContext,
  by: Asker,
  input: VerifyInput,
): Promise<shown.SignatureCheck> {
  refuseMistakes(await verifyMistakes(ctx, by, input));
  ctx.pace(by, "signature check");
  const { keys, previous_ends_at } = await keysFor(ctx, by, input);
  const { body, body_encoding, headers } = input;
  const received = {
    body: Buffer.from(body, body_encoding === "base64" ? "base64" : "utf8"),
    ...signaturesIn(headers),
  };
  const findings = diagnose(received, keys, ctx.now() / 1000).map(([header, finding]) => ({
    header: header as shown.SignatureCheck["findings"][number]["header"],
    valid: finding.valid,
    mistakes: [...finding.mistakes],
    text: finding.text,
    secret: secretOf(finding),
  }));
  const valid = findings.every((finding) => finding.valid);
  const { secret } = input;
  return {
    valid,
    findings,
    previous_ends_at,
    remark: valid || secret === undefined ? null : secretMistake(secret) ?? null,
  };
}

/** Mistakes in a request for a check that its schema cannot know. */
export async function verifyMistakes(
  ctx: AdminContext,
  { scope }: Asker,
  { endpoint, secret, body, body_encoding, headers }: Partial<VerifyInput>,
): Promise<Mistake[]> {
  const mistakes: Mistake[] = [];
  if (endpoint === undefined && secret === undefined) {
    mistakes.push({ pointer: "/endpoint", message: "Is missing: an endpoint, or a secret" });
  }
  if (endpoint !== undefined && secret !== undefined) {
    mistakes.push({ pointer: "/secret", message: "Must be left out with an endpoint" });
  }
  if (body_encoding === "base64" && !/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(body ?? "")) {
    mistakes.push({ pointer: "/body", message: "Must be base64, as body_encoding says" });
  }
  if (headers !== undefined) mistakes.push(...headerMistakes(headers));
  if (endpoint !== undefined) {
    const row = await getEndpoint(ctx.db.admin, scope, endpoint);
    if (row === undefined) {
      const message = await unknownEndpoint(ctx, { scope }, endpoint);
      mistakes.push({ pointer: "/endpoint", message });
    }
  }
  return mistakes;
}

function headerMistakes(headers: VerifyInput["headers"]): Mistake[] {
  const mistakes: Mistake[] = Object.entries(headers)
    .filter(([, value]) => typeof value !== "string")
    .map(([name]) => ({ pointer: `/headers/${name}`, message: "Must be a string" }));
  if (mistakes.length > 0) return mistakes;
  const { signature, standard } = signaturesIn(headers);
  if (signature === undefined && standard === undefined) {
    return [{
      pointer: "/headers",
      message: "Have no X-BookMe-Signature and no webhook-signature",
    }];
  }
  const missing = standard === undefined
    ? []
    : (["id", "timestamp"] as const).filter((part) => (standard[part] ?? "") === "");
  return missing.map((part) => ({
    pointer: "/headers",
    message: `Have no webhook-${part}, which webhook-signature signs`,
  })).slice(0, 1);
}

/** The signatures among a request's headers. */
function signaturesIn(headers: VerifyInput["headers"]): Omit<Received, "body"> {
  const byName = new Map(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase().trim(), value.trim()]),
  );
  const signature = byName.get("x-bookme-signature");
  const standard = {
    id: byName.get("webhook-id"),
    timestamp: byName.get("webhook-timestamp"),
    signature: byName.get("webhook-signature"),
  };
  return {
    ...(signature === undefined ? {} : { signature }),
    ...(standard.signature === undefined ? {} : { standard }),
  };
}

/** Mistakes with which no secret is known to have signed. */
const KEYLESS: readonly SignatureMistake[] = [
  "missing",
  "placeholder",
  "other_header",
  "malformed",
  "bad_timestamp",
  "unknown",
];

function secretOf({ mistakes }: Finding): "current" | "previous" | null {
  if (mistakes.some((mistake) => KEYLESS.includes(mistake))) return null;
  return mistakes.includes("previous_secret") ? "previous" : "current";
}

interface Chosen {
  readonly keys: Keys;
  readonly previous_ends_at: string | null;
}

async function keysFor(
  ctx: AdminContext,
  { scope }: Asker,
  { endpoint, secret }: VerifyInput,
): Promise<Chosen> {
  if (secret !== undefined) return { keys: { secret }, previous_ends_at: null };
  const row = await getEndpoint(ctx.db.admin, scope, endpoint ?? "");
  if (row === undefined || row.retired_at !== null) throw retired(endpoint ?? "");
  const { secrets: [current, ...previous], ends_at } = secretsOf(ctx, row);
  if (current === undefined) {
    throw new AppError(
      "conflict",
      `The endpoint ${row.id} has no secret here: nothing signs for it`,
    );
  }
  return {
    keys: { secret: current, previous },
    previous_ends_at: ends_at === null ? null : new Date(ends_at).toISOString(),
  };
}

/** The secret that signs X-BookMe-Signature first, and when those before it end. */
function secretsOf(
  ctx: AdminContext,
  row: StoredEndpoint,
): { readonly secrets: readonly string[]; readonly ends_at: number | null } {
  if (row.source === "api") {
    const { secrets } = openSealed(row, ctx.seal_keys);
    return {
      secrets: signingAt(secrets, ctx.now()).map(({ secret }) => secret),
      ends_at: overlapAt(secrets, ctx.now())?.ends_at ?? null,
    };
  }
  const configured = ctx.in_force().config.endpoints.find(({ id }) => id === row.id);
  return { secrets: configured?.secret.map((secret) => secret.reveal()) ?? [], ends_at: null };
}
