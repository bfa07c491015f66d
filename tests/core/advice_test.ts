import assert from "node:assert/strict";
import { adviseOn, type AttemptFacts, mentionsSignature } from "../../lib/core/advice.ts";
import { REASONS } from "../../lib/core/outcome.ts";

const facts = (change: Partial<AttemptFacts>): AttemptFacts => ({
  outcome: "http_4xx",
  status: null,
  cause: null,
  duration_ms: 12,
  timeout_ms: 30_000,
  url: "http://crm.example.com/hooks",
  signed: true,
  sent_bytes: 640,
  headers: [],
  body: "",
  ...change,
});

const redirect = (url: string, location: string | undefined) =>
  facts({
    outcome: "redirect",
    status: 302,
    url,
    headers: location === undefined ? [] : [["Location", location]],
  });

Deno.test("adviseOn() names the likely cause and the remedy of every outcome", () => {
  const table: [Partial<AttemptFacts>, RegExp | null][] = [
    [{ outcome: "delivered", status: 200 }, null],
    [{ outcome: "delivered", status: 200, headers: [["content-type", "application/json"]] }, null],
    [
      { outcome: "delivered", duration_ms: 29_000 },
      /^Slow: it took 29 s of the 30 s that it has\. .*answer first/,
    ],
    [{ outcome: "delivered", duration_ms: 29_000, timeout_ms: null }, null],
    [
      {
        outcome: "delivered",
        headers: [["Content-Type", "text/html; charset=utf-8"]],
        body: '<form><input type="password"></form>',
      },
      /^The answer is a login page: /,
    ],
    [
      { outcome: "delivered", headers: [["Content-Type", "text/html"]] },
      /^The answer is a web page: /,
    ],
    [
      { status: 401, body: "bad signature" },
      /^The answer mentions a signature.*`bookme-webhooks verify`/,
    ],
    [{ status: 403, body: '{"error":"InvalidHMAC"}' }, /mentions a signature/],
    [{ status: 400, headers: [["X-Error", "Signature mismatch"]] }, /mentions a signature/],
    [
      { status: 422, body: "signature", signed: false },
      /wants a signature, and the endpoint is unsigned/,
    ],
    [{ status: 401, headers: [["WWW-Authenticate", "Basic"]] }, /^The receiver wants credentials/],
    [{ status: 403 }, /firewall.*GET \/ip-ranges/],
    [{ status: 403, body: '{"code":"loop"}' }, /leads back to bookme-webhooks; .*not at \/ingest/],
    [{ status: 404 }, /^The receiver has nothing at \/hooks; correct the path/],
    [
      { status: 405, headers: [["Allow", "GET, HEAD"]] },
      /does not accept POST at \/hooks, only GET, HEAD;/,
    ],
    [{ status: 405 }, /does not accept POST at \/hooks;/],
    [{ status: 408 }, /gave up waiting\. Let the receiver answer first/],
    [{ status: 409 }, /answer with a 2xx/],
    [{ status: 413 }, /^The body of 640 bytes is too large .*client_max_body_size/],
    [{ status: 415 }, /does not accept application\/json/],
    [{ status: 429 }, /set rate_limit or concurrency/],
    [{ status: 431 }, /header fields are too large/],
    [{ status: 418 }, /^The receiver refuses the request/],
    [
      { status: 400, body: "The plain HTTP request was sent to HTTPS port" },
      /begin the endpoint's url with https:\/\//,
    ],
    [{ outcome: "http_5xx", status: 500 }, /^The receiver failed; its log/],
    [{ outcome: "http_5xx", status: 502 }, /^A proxy answered: the receiver behind it is down/],
    [{ outcome: "http_5xx", status: 503 }, /not available/],
    [{ outcome: "http_5xx", status: 504 }, /took too long\. Let the receiver answer first/],
    [
      redirect("http://a.test/x", "https://a.test/x"),
      /^The receiver redirects to https, and redirects are not followed; set the endpoint's url to https:\/\/a\.test\/x$/,
    ],
    [redirect("https://a.test/x", "/x/"), /with a slash at its end, .* https:\/\/a\.test\/x\/$/],
    [redirect("https://a.test/x/", "/x"), /without the slash at its end, .* https:\/\/a\.test\/x$/],
    [redirect("https://a.test/x", "https://www.a.test/x"), /redirects to another host, /],
    [redirect("https://a.test/x", "/y"), /redirects to another path, .* https:\/\/a\.test\/y$/],
    [
      redirect("https://a.test/x", "/login?next=/x"),
      /looks like a login \(https:\/\/a\.test\/login/,
    ],
    [redirect("https://a.test/x", undefined), /redirects, but not to a url/],
    [redirect("https://a.test/x", "http://["), /redirects, but not to a url/],
    [
      { outcome: "timeout", cause: "no response from 192.0.2.1:443 within 30000 ms" },
      /did not answer within 30 s\. Let the receiver answer first and work later; it may have/,
    ],
    [
      { outcome: "timeout", cause: "no answer from DNS for a.test within 30000 ms" },
      /resolver did not answer/,
    ],
    [
      { outcome: "timeout", cause: "no connection to 192.0.2.1:443 within 30000 ms" },
      /firewall drops/,
    ],
    [
      {
        outcome: "timeout",
        cause: "no end of the TLS handshake with 192.0.2.1:443 within 30000 ms",
      },
      /does not speak TLS in time/,
    ],
    [
      { outcome: "dns", cause: "ENOTFOUND crm.example.com" },
      /^DNS has no address for crm\.example\.com; .*expired/,
    ],
    [
      { outcome: "dns", cause: "EAI_AGAIN crm.example.com" },
      /^The resolver of this machine failed/,
    ],
    [
      { outcome: "tls", cause: "certificate expired 2025-02-01T00:00:00Z" },
      /has expired; renew it/,
    ],
    [{ outcome: "tls", cause: "certificate not valid before 2099-01-01T00:00:00Z" }, /clocks/],
    [
      { outcome: "tls", cause: "DEPTH_ZERO_SELF_SIGNED_CERT self-signed certificate" },
      /signed by itself.*tls\.ca/,
    ],
    [
      { outcome: "tls", cause: "invalid peer certificate: UnknownIssuer" },
      /unknown authority.*intermediate/,
    ],
    [
      { outcome: "tls", cause: "ERR_TLS_CERT_ALTNAME_INVALID Hostname/IP does not match" },
      /for another name/,
    ],
    [
      { outcome: "tls", cause: "ERR_SSL_WRONG_VERSION_NUMBER wrong version number" },
      /does not speak TLS/,
    ],
    [{ outcome: "tls", cause: "closed during the TLS handshake" }, /`bookme-webhooks doctor`/],
    [
      { outcome: "connection", cause: "ECONNREFUSED 127.0.0.1:9" },
      /^Nothing listens at that address/,
    ],
    [{ outcome: "connection", cause: "EHOSTUNREACH 192.0.2.1:443" }, /no route/],
    [{ outcome: "connection", cause: "ETIMEDOUT 192.0.2.1:443" }, /firewall drops/],
    [
      { outcome: "connection", cause: "closed before an answer: ECONNRESET 192.0.2.1:443" },
      /closed the connection/,
    ],
    [{ outcome: "protocol", body: "SSH-2.0-OpenSSH" }, /does not speak HTTP/],
    [{ outcome: "protocol", body: "\x15\x03\x01\x00\x02\x02\x46" }, /expects TLS/],
    [{ outcome: "blocked", cause: "10.0.0.1 is not allowed: private" }, /delivery\.allow_networks/],
    [{ outcome: "gone", status: 410 }, /was paused; .* resume it/],
    [{ outcome: "interrupted" }, /sent again without counting/],
  ];
  for (const [change, expected] of table) {
    const advice = adviseOn(facts(change));
    if (expected === null) assert.equal(advice, null, JSON.stringify(change));
    else assert.match(advice ?? "", expected, JSON.stringify(change));
    assert.doesNotMatch(advice ?? "", /null|undefined|\.$/);
  }
  for (const outcome of REASONS) assert.ok(adviseOn(facts({ outcome })), outcome);
});

Deno.test("mentionsSignature() looks at refusals only, and not far into them", () => {
  const said = (change: Partial<AttemptFacts>) => mentionsSignature(facts(change));
  assert.equal(said({ body: "Signature missing" }), true);
  assert.equal(said({ body: " ".repeat(5_000) + "signature" }), false);
  assert.equal(said({ outcome: "http_5xx", body: "signature" }), false);
  assert.equal(said({ outcome: "delivered", body: "signature ok" }), false);
});
