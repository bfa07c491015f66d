import type { Endpoint, EndpointMade } from "../../admin/shown.ts";
import { API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import {
  comingMoment,
  command,
  duration,
  readSecret,
  SECRET_VALUE,
  UsageError,
} from "../command.ts";
import { printable } from "../terminal.ts";
import { rotationOf } from "./endpoints.ts";

const ALONE = "the new secret signs alone";
const MAX_OVERLAP_MS = 30 * 86_400_000;

export const rotate = command({
  name: "rotate",
  summary: "Gives an endpoint a new secret, or moves the end of the overlap with the old one",
  about:
    `Prints the new secret to standard output, this once, and everything else to standard error. The new
secret signs X-BookMe-Signature from --activate on; the old one stays in webhook-signature until
--overlap after that. Rotating again before --activate replaces the new secret. For an endpoint of
the configuration file, write \`secret: [new, old]\` there instead.`,
  positionals: { usage: "ID", min: 1, max: 1, completes: "endpoints" },
  options: {
    activate: {
      type: "string",
      value: "TIME",
      about: "now (default), 2h (from now) or an ISO time, at most 30d ahead",
    },
    overlap: { type: "string", value: "TIME", about: "24h (default); 0s to 30d" },
    secret: { type: "string", value: SECRET_VALUE, about: "Your own secret instead of a new one" },
    "end-overlap": {
      type: "string",
      value: "TIME",
      about: "Rotate nothing; end the overlap: now, 2h (from now) or an ISO time",
    },
    json: { type: "boolean", about: "Print the API's answer as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks rotate ep_4k9x2m7q0c5t8w1z3v6b > new.secret", "A new secret, from now on"],
    [
      "bookme-webhooks rotate ep_4k9x2m7q0c5t8w1z3v6b --activate 2h --overlap 7d",
      "Time for the receiver to learn the new secret first",
    ],
    [
      "bookme-webhooks rotate ep_4k9x2m7q0c5t8w1z3v6b --end-overlap now",
      "The receiver has switched, or the old secret leaked",
    ],
  ],
  async run({ io, values, positionals: [id = ""] }) {
    const { activate, overlap, secret, "end-overlap": ends_at, json } = values;
    const path = `endpoints/${pathPart(id)}`;
    const now_ms = Date.now();
    if (ends_at !== undefined) {
      if (activate !== undefined || overlap !== undefined || secret !== undefined) {
        throw new UsageError("--end-overlap goes with no other option: it rotates nothing");
      }
      const body = { ends_at: comingMoment("--end-overlap", ends_at, now_ms) };
      const moved = await (await openApi(io, values)).post<Endpoint>(`${path}/overlap`, body);
      io.out(
        json ? JSON.stringify(moved, null, 2) : `${printable(id)}: ${rotationOf(moved) ?? ALONE}`,
      );
      return 0;
    }
    if (overlap !== undefined) duration("--overlap", overlap, MAX_OVERLAP_MS);
    const body = {
      ...(activate === undefined ? {} : { activate: comingMoment("--activate", activate, now_ms) }),
      ...(overlap === undefined ? {} : { overlap }),
      ...(secret === undefined ? {} : { secret: await readSecret(io, "--secret", secret) }),
    };
    const made = await (await openApi(io, values)).post<EndpointMade>(`${path}/rotate`, body);
    if (json) {
      io.out(JSON.stringify(made, null, 2));
      return 0;
    }
    if (secret === undefined && made.secret !== null) {
      io.out(made.secret);
      io.err("Hand this secret to the receiver now: it is not shown again");
    }
    io.err(`${printable(id)}: ${rotationOf(made) ?? ALONE}`);
    return 0;
  },
});
