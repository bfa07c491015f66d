import { makeSigner, verifyBookme } from "../../lib/core/signature.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

/** A receiver that checks signatures, as the documentation has it. */
export interface Crm {
  readonly receiver: Receiver;
  /** The secret that it knows; null: it takes everything. */
  secret: string | null;
  /** Whether it is up: if not, it hangs up. */
  is_up: boolean;
  /** How often it got and accepted a booking, by its confirmation number. */
  accepted(confirmation: string): number;
}

/** Starts one; it knows no secret yet. */
export async function startCrm(): Promise<Crm & AsyncDisposable> {
  const bodies: string[] = [];
  const receiver = await startReceiver(({ headers, body }) => {
    if (!crm.is_up) return "reset";
    const { secret } = crm;
    const json = { "Content-Type": "application/json" };
    if (
      secret !== null && !verifyBookme(body, headers["x-bookme-signature"], [makeSigner(secret)])
    ) {
      return { status: 401, headers: json, body: '{"error":"invalid signature"}' };
    }
    bodies.push(body.toString());
    return { status: 200, headers: json, body: '{"ok":true}' };
  });
  const crm: Crm & AsyncDisposable = {
    receiver,
    secret: null,
    is_up: true,
    accepted: (confirmation) => bodies.filter((body) => body.includes(confirmation)).length,
    [Symbol.asyncDispose]: () => receiver[Symbol.asyncDispose](),
  };
  return crm;
}
