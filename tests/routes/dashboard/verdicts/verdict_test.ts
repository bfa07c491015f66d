import assert from "node:assert/strict";
import {
  advised,
  many,
  moment,
  number,
  plain,
  together,
  told,
} from "../../../../routes/dashboard/verdicts/verdict.ts";

const NOW = Date.parse("2026-11-26T15:31:00Z");

Deno.test("moment() drops the day of a time less than a day away", () => {
  const at = "2026-11-26T14:02:11.000Z";
  assert.deepEqual(moment(at, NOW), { at, style: "time" });
  const old = "2026-11-25T14:02:11.000Z";
  assert.deepEqual(moment(old, NOW), { at: old, style: "minute" });
});

Deno.test("plain() joins the parts, with times in UTC", () => {
  const at = "2026-11-26T14:02:11.000Z";
  assert.equal(
    plain([{ strong: "crm" }, " answers ", { code: "401" }, " since ", { at, style: "time" }]),
    "crm answers 401 since 14:02",
  );
  assert.equal(plain([{ at, style: "absolute" }]), "2026-11-26 14:02");
  assert.equal(plain([{ at, style: "date" }]), "2026-11-26");
  assert.equal(plain(["see ", { href: "/help", text: "help" }]), "see help");
});

Deno.test("numbers carry their bound, and nouns their number", () => {
  assert.equal(number(1_216), "1,216");
  assert.equal(number(10_000, false), "10,000+");
  assert.equal(many(1, "delivery is", "deliveries are"), "1 delivery is");
  assert.equal(many(0, "delivery is", "deliveries are"), "0 deliveries are");
  assert.equal(many(1, "delivery is", "deliveries are", false), "1+ deliveries are");
});

Deno.test("together() lists names as a sentence does", () => {
  assert.equal(together([]), "");
  assert.equal(together(["crm"]), "crm");
  assert.equal(together(["crm", "ledger"]), "crm and ledger");
  assert.equal(together(["crm", "ledger", "till"]), "crm, ledger and till");
});

Deno.test("told() finds code and times in a text", () => {
  assert.deepEqual(told("plain"), ["plain"]);
  assert.deepEqual(told("`doctor` looks at 2026-11-26T14:02:11.000Z, then `a b`."), [
    { code: "doctor" },
    " looks at ",
    { at: "2026-11-26T14:02:11.000Z", style: "absolute" },
    ", then ",
    { code: "a b" },
    ".",
  ]);
  assert.equal(plain(told("at 2026-11-26T14:02:11Z")), "at 2026-11-26 14:02");
});

Deno.test("advised() leads to the signature checker instead of a command", () => {
  const advice = "It differs; `bookme-webhooks verify` with the receiver's secret finds out";
  const words = advised(advice, "/portal", "dlv_1");
  assert.deepEqual(words[1], {
    href: "/portal/verify?delivery=dlv_1",
    text: "the signature checker",
  });
  assert.equal(
    plain(words),
    "It differs; the signature checker with the receiver's secret finds out",
  );
  assert.deepEqual(advised("Renew it", "/portal", null), ["Renew it"]);
});
