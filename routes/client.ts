import type { Context } from "hono";
import { type Cidr, cidrContains } from "../lib/core/address.ts";
import type { Env } from "./context.ts";

/**
 * The address that a request comes from: the peer's, or, where that is a trusted proxy, the right-most
 * address of X-Forwarded-For that is not one. What a client wrote left of that is not believed.
 * Undefined where a trusted proxy passed on something that is no address.
 */
export function clientAddress(c: Context<Env>, trusted: readonly Cidr[]): string | undefined {
  let address = c.env.incoming.socket.remoteAddress ?? "";
  const isTrusted = (text: string) => trusted.some((cidr) => cidrContains(cidr, text));
  if (!isAddress(address)) return undefined;
  const forwarded = (c.req.header("x-forwarded-for") ?? "").split(",").map((part) => part.trim())
    .filter((part) => part !== "");
  while (isTrusted(address)) {
    const next = forwarded.pop();
    if (next === undefined) break;
    if (!isAddress(next)) return undefined;
    address = next;
  }
  return address;
}

const ANY = /^[0-9a-fA-F.:]+$/;

function isAddress(text: string): boolean {
  return ANY.test(text) && (text.includes(":") || /^\d+\.\d+\.\d+\.\d+$/.test(text));
}
