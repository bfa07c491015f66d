import type { Certificate } from "../core/certificates.ts";
import { daysUntil, type Finding, judgeCheck } from "../core/examination.ts";
import { probeTime } from "../core/explain.ts";
import { inSeconds } from "../core/time.ts";
import type { Endpoint } from "../delivery/fleet.ts";
import { storeCheck } from "../store/checks.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import type { AdminContext, Asker } from "./context.ts";
import { findEndpointInForce } from "./lookup.ts";
import type * as shown from "./shown.ts";

/**
 * Examines whether an endpoint's deliveries are sent, and where to: its state, DNS, addresses and TLS,
 * as this daemon sees them. Sends no request, and takes 10 seconds at most.
 */
export async function checkEndpoint(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.EndpointCheck> {
  const row = await findEndpointInForce(ctx, by, id);
  ctx.pace(by, "check");
  const known = ctx.endpoint(row.no);
  const found = await ctx.examine(
    known?.target ?? {
      url: new URL(row.url),
      ...(row.owner === null ? {} : { public_only: true }),
    },
  );
  const now_ms = Date.now();
  const check = judgeCheck(found, now_ms);
  await storeCheck(ctx.db.admin, row.no, check);
  const findings = [...judgeState(row, known, now_ms), ...check.findings];
  const [own] = found.chain;
  return {
    endpoint_id: row.id,
    ok: findings.every(({ mark }) => mark !== "✗"),
    findings,
    addresses: [...found.addresses],
    certificate: own === undefined ? null : {
      ...viewCertificate(own, now_ms),
      names: [...own.names],
    },
    client_certificate: found.client_certificate === null
      ? null
      : viewCertificate(found.client_certificate, now_ms),
  };
}

/** What keeps this daemon from sending, whatever the network is like. */
function judgeState(row: StoredEndpoint, known: Endpoint | undefined, now_ms: number): Finding[] {
  const findings = judgePause(row, now_ms);
  if (known !== undefined && known.unsendable_reason !== null) {
    findings.push({
      mark: "✗",
      // It may have its own remedy after a semicolon, in fewer words.
      text: `cannot be sent to: ${known.unsendable_reason.split("; ")[0]}`,
      remedy: remedyOf(row),
    });
  }
  return findings;
}

function judgePause(row: StoredEndpoint, now_ms: number): Finding[] {
  const { id, paused_at, pause_reason, probe_at } = row;
  if (paused_at === null) return [];
  const since = `since ${inSeconds(paused_at.toISOString())} (${pause_reason})`;
  const remedy = `\`bookme-webhooks resume ${id}\` sends them`;
  if (probe_at === null) {
    return [{ mark: "!", text: `paused ${since}: its deliveries wait`, remedy }];
  }
  const next = probeTime(probe_at.getTime(), now_ms);
  return [{
    mark: "!",
    text: `paused automatically ${since}: one waiting delivery is tried ${next}, and all follow ` +
      "once one arrives",
    remedy: `${remedy} now`,
  }];
}

function remedyOf({ id, source, sealed }: StoredEndpoint): string {
  if (source === "file") {
    return "start every daemon with the same file, which names it and its secrets";
  }
  return sealed === null
    ? `\`bookme-webhooks rotate ${id}\` makes a secret`
    : "put the key that sealed its secrets into encryption_key, and restart the daemon";
}

function viewCertificate(own: Certificate, now_ms: number) {
  return {
    subject: own.subject,
    issuer: own.issuer,
    valid_from: new Date(own.valid_from).toISOString(),
    valid_to: new Date(own.valid_to).toISOString(),
    days_left: daysUntil(own.valid_to, now_ms),
  };
}
