import assert from "node:assert/strict";
import {
  type AddressRules,
  checkEndpointUrl,
  cidrContains,
  classifyEndpointAddress,
  isPublicHost,
  parseCidr,
  publicOnly,
} from "../../lib/core/address.ts";
import { AppError } from "../../lib/core/errors.ts";

const STRICT: AddressRules = { allow_loopback: false, allow_networks: [], own_listener: [] };
const LOOPBACK: AddressRules = { ...STRICT, allow_loopback: true };

function listing(...networks: string[]): AddressRules {
  return { ...STRICT, allow_networks: networks.map(parseCidr) };
}

function ruleOf(ip: string, rules: AddressRules, port = 443): string {
  const verdict = classifyEndpointAddress(ip, port, rules);
  return verdict.allowed ? `allowed: ${verdict.scope}` : verdict.rule;
}

Deno.test("parseCidr() reads networks of both families and folds IPv4-mapped ones", () => {
  assert.equal(parseCidr("10.0.0.0/8").text, "10.0.0.0/8");
  assert.equal(parseCidr("0.0.0.0/0").text, "0.0.0.0/0");
  assert.equal(parseCidr("192.168.1.7/32").text, "192.168.1.7/32");
  assert.equal(parseCidr("FD00:0:0::/8").text, "fd00::/8");
  assert.equal(parseCidr("::ffff:10.0.0.0/104").text, "10.0.0.0/8");
});

Deno.test("parseCidr() names the mistake, and the network that was meant", () => {
  const cases: [string, RegExp][] = [
    ["", /"" is not a network/],
    ["10.0.0/8", /not a network/],
    ["010.0.0.0/8", /not a network/],
    ["0x0a000000/8", /not a network/],
    ["fe80::%eth0/10", /not a network/],
    ["10.0.0.0", /lacks a prefix length; write 10\.0\.0\.0\/32/],
    ["fd00::", /write fd00::\/128/],
    ["10.0.0.0/33", /outside 0 to 32/],
    ["10.0.0.0/", /outside 0 to 32/],
    ["10.0.0.0/-1", /outside/],
    ["10.0.0.0/08", /outside/],
    ["10.0.0.0/8.0", /outside/],
    ["fd00::/129", /outside 0 to 128/],
    ["::ffff:10.0.0.0/8", /outside/],
    ["10.0.0.1/8", /bits set after its prefix; write 10\.0\.0\.0\/8/],
    ["192.168.1.7/31", /write 192\.168\.1\.6\/31/],
    ["fd00::1/8", /write fd00::\/8/],
  ];
  for (const [text, message] of cases) {
    assert.throws(() => parseCidr(text), (error: unknown) => {
      assert.ok(error instanceof AppError, text);
      assert.equal(error.code, "invalid");
      assert.match(error.message, message, text);
      return true;
    });
  }
});

Deno.test("cidrContains() compares bits, within a family, IPv4-mapped folded", () => {
  const cases: [string, string, boolean][] = [
    ["10.0.0.0/8", "10.255.255.255", true],
    ["10.0.0.0/8", "11.0.0.0", false],
    ["10.0.0.0/8", "::ffff:10.1.2.3", true],
    ["10.0.0.0/8", "::ffff:a01:203", true],
    ["10.0.0.0/8", "::10.1.2.3", false],
    ["192.168.1.128/25", "192.168.1.127", false],
    ["192.168.1.128/25", "192.168.1.128", true],
    ["0.0.0.0/0", "8.8.8.8", true],
    ["0.0.0.0/0", "::1", false],
    ["::/0", "::1", true],
    ["::/0", "1.2.3.4", false],
    ["fd00::/9", "fd7f::1", true],
    ["fd00::/9", "fd80::1", false],
    ["10.0.0.0/8", "10.0.0.1.example", false],
    ["10.0.0.0/8", "", false],
  ];
  for (const [network, address, expected] of cases) {
    assert.equal(cidrContains(parseCidr(network), address), expected, `${network} ${address}`);
  }
});

Deno.test("classifyEndpointAddress() allows public unicast without any list", () => {
  for (
    const ip of ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111"]
  ) {
    assert.equal(ruleOf(ip, STRICT), "allowed: public", ip);
  }
});

Deno.test("classifyEndpointAddress() refuses what is not public, with the reason", () => {
  const cases: [string, RegExp][] = [
    ["127.0.0.1", /^loopback is allowed in environment development only/],
    ["127.9.9.9", /^loopback/],
    ["::1", /^loopback/],
    ["::ffff:127.0.0.1", /^loopback/],
    ["10.0.0.1", /^private addresses .* delivery\.allow_networks/],
    ["172.16.0.1", /^private/],
    ["192.168.1.1", /^private/],
    ["::ffff:192.168.1.1", /^private/],
    ["100.64.0.1", /^carrier grade nat/],
    ["192.0.2.1", /^reserved/],
    ["198.18.0.1", /^reserved/],
    ["198.51.100.1", /^reserved/],
    ["203.0.113.1", /^reserved/],
    ["240.0.0.1", /^reserved/],
    ["fc00::1", /^unique local/],
    ["fec0::1", /^deprecated site local/],
    ["2001:db8::1", /^reserved/],
    ["100::1", /^discard/],
    ["4000::1", /^unassigned/],
    ["0.0.0.0", /^unspecified/],
    ["0.1.2.3", /^unspecified/],
    ["::", /^unspecified/],
    ["224.0.0.1", /^multicast/],
    ["ff02::1", /^multicast/],
    ["255.255.255.255", /^broadcast/],
    ["fe80::1%eth0", /^not an IP address/],
    ["0x7f.1", /^not an IP address/],
    ["example.com", /^not an IP address/],
  ];
  for (const [ip, rule] of cases) assert.match(ruleOf(ip, STRICT), rule, ip);
});

Deno.test("classifyEndpointAddress() allows loopback by its switch and the rest by the list", () => {
  for (const ip of ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"]) {
    assert.equal(ruleOf(ip, LOOPBACK), "allowed: loopback", ip);
    assert.match(ruleOf(ip, listing("127.0.0.0/8", "::/0")), /^loopback/, ip);
  }
  assert.match(ruleOf("10.1.2.3", LOOPBACK), /^private/);
  assert.equal(ruleOf("10.1.2.3", listing("10.1.0.0/16")), "allowed: listed");
  assert.equal(ruleOf("::ffff:10.1.2.3", listing("10.1.0.0/16")), "allowed: listed");
  assert.match(ruleOf("10.2.2.3", listing("10.1.0.0/16")), /^private/);
  assert.equal(ruleOf("fd12::1", listing("fd00::/8")), "allowed: listed");
  assert.equal(ruleOf("100.64.9.9", listing("100.64.0.0/10")), "allowed: listed");
  assert.equal(ruleOf("198.51.100.7", listing("198.51.100.0/24")), "allowed: listed");
});

Deno.test("classifyEndpointAddress() refuses metadata and non-hosts even where listed", () => {
  const all = { ...listing("0.0.0.0/0", "::/0"), allow_loopback: true };
  const metadata = [
    "169.254.169.254",
    "169.254.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fe80::1",
  ];
  for (const ip of metadata) assert.match(ruleOf(ip, all), /^metadata/, ip);
  for (const ip of ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"]) {
    assert.match(ruleOf(ip, all), /never allowed/, ip);
  }
});

Deno.test("classifyEndpointAddress() judges IPv6 that carries IPv4 by what it carries", () => {
  const all = { ...listing("0.0.0.0/0", "::/0"), allow_loopback: true };
  const carries: [string, string][] = [
    ["64:ff9b::7f00:1", "127.0.0.1"],
    ["64:ff9b::10.0.0.1", "10.0.0.1"],
    ["64:ff9b::a9fe:a9fe", "169.254.169.254"],
    ["64:ff9b:1::a9fe:a9fe", "169.254.169.254"],
    ["2002:7f00:1::1", "127.0.0.1"],
    ["2002:a9fe:a9fe::", "169.254.169.254"],
    ["2002:c0a8:101::1", "192.168.1.1"],
    ["2001:0:a00:1::fefd:fcfb", "10.0.0.1"], // Teredo: the server
    ["2001:0:102:304::80ff:fffe", "127.0.0.1"], // Teredo: the client, inverted
    ["::7f00:1", "127.0.0.1"],
    ["::127.0.0.1", "127.0.0.1"],
    ["::ffff:0:7f00:1", "127.0.0.1"],
    ["::168.63.129.16", "168.63.129.16"],
  ];
  for (const [ip, inner] of carries) {
    for (const rules of [STRICT, all]) {
      assert.equal(ruleOf(ip, rules), `it carries ${inner}, which is not public`, ip);
    }
  }
  assert.match(ruleOf("64:ff9b:1:7f00:0:100::", all), /NAT64 address of unknown layout/);
  for (
    const ip of [
      "64:ff9b::102:304",
      "64:ff9b:1::102:304",
      "2002:102:304::1",
      "2001:0:102:304::fefd:fcfb",
      "::102:304",
    ]
  ) assert.equal(ruleOf(ip, STRICT), "allowed: public", ip);
});

Deno.test("classifyEndpointAddress() never allows the daemon's own listener", () => {
  const own = (address: string): AddressRules => ({
    ...listing("10.0.0.0/8"),
    allow_loopback: true,
    own_listener: [{ address, port: 8080 }],
  });
  const rule = "this is a daemon's own listener";
  assert.equal(ruleOf("127.0.0.1", own("127.0.0.1"), 8080), rule);
  assert.equal(ruleOf("::ffff:127.0.0.1", own("127.0.0.1"), 8080), rule);
  assert.equal(ruleOf("127.0.0.1", own("127.0.0.1"), 8081), "allowed: loopback");
  assert.equal(ruleOf("127.0.0.2", own("127.0.0.1"), 8080), "allowed: loopback");
  assert.equal(ruleOf("10.1.1.1", own("10.1.1.1"), 8080), rule);
  assert.equal(ruleOf("93.184.216.34", own("93.184.216.34"), 8080), rule);
  for (const wildcard of ["0.0.0.0", "::"]) {
    for (const ip of ["127.0.0.1", "127.7.7.7", "::1"]) {
      assert.equal(ruleOf(ip, own(wildcard), 8080), rule, `${wildcard} ${ip}`);
    }
    assert.equal(ruleOf("10.1.1.1", own(wildcard), 8080), "allowed: listed");
  }
});

Deno.test("checkEndpointUrl() accepts https at names and public addresses", () => {
  for (
    const text of [
      "https://example.com/hook",
      "HTTPS://Example.com:8443/a?b=c",
      "https://bücher.example/x",
      "https://1.1.1.1/",
      "https://[2606:4700::1111]/",
      "https://1password.com/",
    ]
  ) assert.equal(checkEndpointUrl(text, STRICT).mistake, undefined, text);
});

Deno.test("checkEndpointUrl() refuses what URL would quietly repair", () => {
  const cases: [string, string][] = [
    ["", "scheme"],
    ["example.com/hook", "scheme"],
    ["ftp://example.com/", "scheme"],
    ["https:example.com", "scheme"],
    ["https:///example.com", "scheme"],
    ["http://example.com/", "scheme"],
    ["http://1.1.1.1/", "scheme"],
    [" https://example.com/", "characters"],
    ["https://example.com/\n", "characters"],
    ["https://exam\tple.com/", "characters"],
    ["https://example.com/a b", "characters"],
    ["https://example.com/\x00", "characters"],
    ["https:\\\\example.com\\", "characters"],
    ["https://user@example.com/", "userinfo"],
    ["https://user:secret@example.com/", "userinfo"],
    ["https://@example.com/", "userinfo"],
    ["https://example.com/#top", "fragment"],
    ["https://example.com/#", "fragment"],
    ["https://example.com:0/", "port"],
    ["https://example.com:65536/", "url"],
    ["https://1.2.3.256/", "url"],
    ["https://[fe80::1%25eth0]/", "url"],
    [`https://example.com/${"a".repeat(2048)}`, "length"],
  ];
  for (const [text, rule] of cases) {
    const verdict = checkEndpointUrl(text, STRICT);
    assert.ok(verdict.mistake !== undefined, text);
    assert.equal(verdict.rule, rule, text);
    assert.ok(!verdict.mistake.includes("secret"), "a password must not be repeated");
  }
});

Deno.test("checkEndpointUrl() refuses hosts that are no names, with the reason", () => {
  const long = (length: number) => "a".repeat(63).concat(".").repeat(9).slice(0, length);
  const cases: [string, RegExp][] = [
    ["*", /^The host "\*" is not a name: its parts have letters, digits, - and _ only$/],
    ["*.example.com", /letters, digits/],
    ["%2a.example.com", /letters, digits/],
    ["a$b", /letters, digits/],
    ["a,b", /letters, digits/],
    ["{host}", /letters, digits/],
    ["'example.com'", /letters, digits/],
    ["*.localhost", /letters, digits/],
    [".", /an empty part/],
    ["..", /an empty part/],
    ["a..b", /^The host "a\.\.b" is not a name: it has an empty part$/],
    [".example.com", /an empty part/],
    ["example.com..", /an empty part/],
    ["1.2.3.4..", /an empty part/],
    ["a。。b", /an empty part/],
    ["-a", /begins or ends with -/],
    ["a-", /begins or ends with -/],
    ["example.-com", /begins or ends with -/],
    ["-", /begins or ends with -/],
    ["a".repeat(64), /a part has more than 63/],
    [`${"ü".repeat(60)}.example`, /a part has more than 63/],
    [long(254), /more than 253/],
    ["1.2.3", /^The host "1\.2\.3" is read as the address 1\.2\.0\.3; write that$/],
    ["16843009", /read as the address 1\.1\.1\.1/],
    ["0x01.1.1.1", /read as the address 1\.1\.1\.1/],
    ["01.1.1.1", /read as the address 1\.1\.1\.1/],
    ["１.1.1.1", /read as the address 1\.1\.1\.1/],
    ["1.1.1.1.", /read as the address 1\.1\.1\.1/],
  ];
  for (const [host, message] of cases) {
    for (const port of ["", ":8443"]) {
      const verdict = checkEndpointUrl(`https://${host}${port}/`, LOOPBACK);
      assert.ok(verdict.mistake !== undefined, host);
      assert.match(verdict.mistake, message, host);
      assert.equal(verdict.rule, "host", host);
    }
  }
  const number = /^Not a valid URL: its host ends in a number but is no IPv4 address$/;
  const invalid: [string, RegExp][] = [
    ["256.1.1.1", number],
    ["1.2.3.4.5", number],
    ["example.1", number],
    ["08.1.1.1:80", number],
    ["99999999999", number],
    ["example.0x", number],
    ["example.com:65536", /^Not a valid URL: its port is above 65535$/],
    ["xn--a", /^Not a valid URL$/],
    ["\u00ad", /^Not a valid URL$/],
    ["a\u200db", /^Not a valid URL$/],
    ["a b", /must not contain white space/],
  ];
  for (const [host, message] of invalid) {
    const { mistake } = checkEndpointUrl(`https://${host}/`, LOOPBACK);
    assert.match(mistake ?? "accepted", message, host);
  }
  for (
    const host of [
      "a",
      "a_b",
      "_dmarc.example.com",
      "r3---sn.example.com",
      "example.com.",
      "xn--bcher-kva.example",
      "9.example",
      "1e3",
      "a".repeat(63),
      long(253),
      `${long(253)}.`,
      "1.1.1.1:443",
    ]
  ) assert.equal(checkEndpointUrl(`https://${host}/`, STRICT).mistake, undefined, host);
});

Deno.test("checkEndpointUrl() sees an address in every spelling", () => {
  for (
    const host of [
      "127.0.0.1",
      "127.1",
      "0x7f.1",
      "0x7f000001",
      "017700000001",
      "2130706433",
      "127。0。0。1",
      "１２７.0.0.1",
      "%31%32%37.0.0.1",
      "127.0.0.1.",
      "[::1]",
      "[::ffff:127.0.0.1]",
      "[0:0:0:0:0:ffff:7f00:1]",
      "localhost",
      "LOCALHOST.",
      "app.localhost",
    ]
  ) {
    const verdict = checkEndpointUrl(`https://${host}/`, STRICT);
    assert.ok(verdict.mistake !== undefined, host);
    assert.equal(verdict.rule, "address", host);
    assert.match(verdict.mistake, /loopback/, host);
    assert.equal(checkEndpointUrl(`http://${host}/`, LOOPBACK).mistake, undefined, host);
  }
  for (const host of ["0xa9fea9fe", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "0"]) {
    assert.notEqual(checkEndpointUrl(`https://${host}/`, LOOPBACK).mistake, undefined, host);
  }
});

Deno.test("checkEndpointUrl() allows http only where it can stay inside", () => {
  const private_rules = listing("10.0.0.0/8");
  assert.equal(checkEndpointUrl("http://10.1.2.3/", private_rules).mistake, undefined);
  assert.equal(checkEndpointUrl("http://crm.internal/", private_rules).mistake, undefined);
  assert.equal(checkEndpointUrl("http://crm.internal/", LOOPBACK).mistake, undefined);
  const refused = checkEndpointUrl("http://1.1.1.1/", private_rules);
  assert.equal(refused.mistake !== undefined && refused.rule, "scheme");
  const own = { ...LOOPBACK, own_listener: [{ address: "0.0.0.0", port: 80 }] };
  assert.match(checkEndpointUrl("http://localhost/", own).mistake ?? "", /own listener/);
});

Deno.test("checkEndpointUrl() refuses the host of server.public_url in every spelling and at every port", () => {
  const rules = { ...STRICT, public_url: new URL("https://hooks.example.com/bookme") };
  const own = [
    "hooks.example.com",
    "HOOKS.example.com.",
    "hooks.example.com:8443",
    "ho\u1d3cks.example.com",
  ];
  for (const host of own) {
    const { mistake } = checkEndpointUrl(`https://${host}/x`, rules);
    assert.match(mistake ?? "", /it is the host of server.public_url/, host);
  }
  for (const host of ["hooks.example.org", "x.hooks.example.com", "example.com"]) {
    assert.equal(checkEndpointUrl(`https://${host}/x`, rules).mistake, undefined, host);
  }
});

Deno.test("isPublicHost() recognises addresses in every form, and ports on loopback", () => {
  const at = (url: string) => ({ ...STRICT, public_url: new URL(url) });
  assert.equal(isPublicHost("[::ffff:5.6.7.8]", 80, at("http://5.6.7.8")), true);
  assert.equal(isPublicHost("5.6.7.8", 444, at("https://[::ffff:506:708]")), true);
  assert.equal(isPublicHost("2001:db8::1", 443, at("https://[2001:db8:0::1]")), true);
  assert.equal(isPublicHost("5.6.7.9", 80, at("http://5.6.7.8")), false);
  assert.equal(isPublicHost("localhost", 8080, at("http://localhost:8080")), true);
  assert.equal(isPublicHost("localhost", 9000, at("http://localhost:8080")), false);
  assert.equal(isPublicHost("127.0.0.1", 9000, at("http://127.0.0.1:8080")), false);
  assert.equal(isPublicHost("localhost", 80, STRICT), false);
});

Deno.test("checkEndpointUrl() allows a business https at public addresses, and says no more", () => {
  const rules = publicOnly({
    ...LOOPBACK,
    allow_networks: ["10.0.0.0/8", "fd00::/8"].map(parseCidr),
    own_listener: [{ address: "8.8.4.4", port: 443 }],
    public_url: new URL("https://hooks.example.com"),
  });
  for (const url of ["https://crm.example.com/in", "https://8.8.8.8:8443/", "https://[2600::1]/"]) {
    assert.equal(checkEndpointUrl(url, rules).mistake, undefined, url);
  }
  const refused = [
    ...["http://crm.example.com/", "http://localhost/", "http://10.1.2.3/", "http://8.8.8.8/"],
    ...["https://localhost/", "https://127.1/", "https://[::1]/", "https://10.1.2.3/"],
    ...["https://[fd00::1]/", "https://192.168.1.1/", "https://169.254.169.254/"],
    ...["https://8.8.4.4/", "https://hooks.example.com/", "https://hooks.example.com:99/"],
    "ftp://crm.example.com/",
  ];
  for (const url of refused) {
    const { mistake } = checkEndpointUrl(url, rules);
    assert.equal(mistake, "Must be an https URL whose host has public addresses only", url);
  }
});
