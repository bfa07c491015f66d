import { diagnose, type Finding, type Keys, type Received } from "../core/diagnose.ts";
import { AppError } from "../core/errors.ts";
import { signingAt } from "../core/rotation.ts";
import { openSealed, type StoredEndpoint } from "../store/endpoints.ts";
import type { AdminContext, Asker } from "./context.ts";
import { findEndpointInForce } from "./lookup.ts";

/** Checks signatures against an endpoint's own secrets, which are never shown. */
export async function checkSignature(
  ctx: AdminContext,
  by: Asker,
  id: string,
  received: Received,
): Promise<readonly (readonly [header: string, finding: Finding])[]> {
  const row = await findEndpointInForce(ctx, by, id);
  return diagnose(received, keysOf(ctx, row), ctx.now() / 1000);
}

function keysOf(ctx: AdminContext, row: StoredEndpoint): Keys {
  const [secret, ...previous] = secretsOf(ctx, row);
  if (secret !== undefined) return { secret, previous };
  throw new AppError("conflict", `The endpoint ${row.id} has no secret here: nothing signs for it`);
}

// The one that signs X-BookMe-Signature first.
function secretsOf(ctx: AdminContext, row: StoredEndpoint): string[] {
  if (row.source === "api") {
    const { secrets } = openSealed(row, ctx.seal_keys);
    return signingAt(secrets, ctx.now()).map(({ secret }) => secret);
  }
  const configured = ctx.in_force().config.endpoints.find(({ id }) => id === row.id);
  return configured?.secret.map((secret) => secret.reveal()) ?? [];
}
