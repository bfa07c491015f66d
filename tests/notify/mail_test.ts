import assert from "node:assert/strict";
import fc from "fast-check";
import { mailTexts } from "../../lib/core/alerting/mail.ts";
import type { Sent } from "../../lib/core/alerting/undelivered.ts";
import type { Announcement } from "../../lib/core/alerting/words.ts";
import { Secret } from "../../lib/core/secret.ts";
import { type MailerOptions, makeMailer } from "../../lib/notify/mail.ts";
import { freePort } from "../support/postgres.ts";
import { type SmtpOptions, type SmtpServer, startSmtp } from "../support/smtp.ts";
import { testCertificates } from "../support/tls.ts";

const certificates = await testCertificates();
const { good: certificate, ca } = certificates;
const RULES = { allow_loopback: true, allow_networks: [], own_listener: [] };
/** A password whose parts a URL must escape, and one that nobody has. */
const PASSWORD = "pä%ss:w@rd";
const LOGIN = { user: "alerts@example.com", pass: PASSWORD, ways: "PLAIN LOGIN" };
const USER = `${encodeURIComponent(LOGIN.user)}:${encodeURIComponent(PASSWORD)}@`;
const SAID_BY_SERVER = "SAID-BY-SERVER";
const TO = ["ops@example.com"];

const WORDS: Announcement = {
  title: "crm has been failing since 29 Nov 13:40 UTC: it answers 401",
  lines: ["Endpoint: crm", "340 of 340 attempts failed (100 %)", ".hidden"],
  link: "https://hooks.example.com/dashboard/alerts#alr_1",
};

interface Way {
  /** Before the host. */
  readonly user?: string;
  readonly scheme?: "smtp" | "smtps";
  readonly host?: string;
  readonly port?: number;
  readonly to?: readonly string[];
  readonly words?: Announcement;
  readonly mailer?: Partial<MailerOptions>;
}

/** Sends a mail to a server as if it were on another machine, with a certificate of the tests' authority. */
async function send({ port }: Pick<SmtpServer, "port">, way: Way = {}): Promise<Sent> {
  const { user = "", scheme = "smtp", host = "localhost", to = TO, words = WORDS } = way;
  const mailer = makeMailer({ rules: () => RULES, isOwn: () => false, ca, ...way.mailer });
  const smtp = new Secret(`${scheme}://${user}${host}:${way.port ?? port}`);
  return await mailer.send({ smtp, from: "BookMe <alerts@example.com>" }, to, words, "alr_1.began");
}

/** Asserts that a mail failed, and that its reason has no secret and none of the server's words. */
function assertFailed(sent: Sent, cause: RegExp, remedy: RegExp): void {
  assert.ok(!sent.ok);
  assert.match(sent.cause, cause);
  assert.match(sent.remedy, remedy);
  const all = `${sent.cause}; ${sent.remedy}`;
  for (const secret of [PASSWORD, encodeURIComponent(PASSWORD), SAID_BY_SERVER, "other.test"]) {
    assert.ok(!all.includes(secret), all);
  }
  assert.ok(all.length < 400, all);
}

/** A server that answers the commands that begin so with that line; with null, never. */
function answering(beginning: string, line: string | null): SmtpOptions {
  return {
    certificate,
    answer: (command) => command.startsWith(beginning) ? line : undefined,
  };
}

/** Lines of a mail's head, folded ones joined. */
function headOf(data: string): string[] {
  return (data.split("\n\n")[0] ?? "").replaceAll(/\n[ \t]/g, " ").split("\n");
}

Deno.test("a mail comes by STARTTLS or TLS from the start, with a login only inside it", async () => {
  const ways = [
    { implicit: false, login: LOGIN },
    { implicit: false, login: { ...LOGIN, ways: "LOGIN" } },
    { implicit: true, login: LOGIN },
    { implicit: true, login: { ...LOGIN, ways: "LOGIN" } },
  ];
  for (const { implicit, login } of ways) {
    await using server = await startSmtp({ certificate, implicit, login });
    const scheme = implicit ? "smtps" : "smtp";
    assert.deepEqual(await send(server, { user: USER, scheme }), { ok: true, missed: null });
    const [mail] = server.mails;
    const { from, to, user, secure } = mail ?? {};
    assert.deepEqual([from, to, user, secure], ["alerts@example.com", TO, LOGIN.user, true]);
    const plain = server.commands.filter((command) => command.startsWith("plain "));
    assert.deepEqual(plain, implicit ? [] : ["plain EHLO example.com", "plain STARTTLS"]);
  }
});

Deno.test("a certificate may name the address instead", async () => {
  await using server = await startSmtp({ certificate, implicit: true });
  const way = { scheme: "smtps", host: "127.0.0.1" } as const;
  assert.equal((await send(server, way)).ok, true);
});

Deno.test("a server on this machine needs neither TLS nor a known certificate", async () => {
  const mailer = { isOwn: (ip: string) => ip === "127.0.0.1" };
  for (const own of [{}, { certificate: certificates.self_signed }]) {
    await using server = await startSmtp({ ...own, login: LOGIN });
    assert.equal((await send(server, { user: USER, mailer })).ok, true);
    assert.equal(server.mails[0]?.secure, "certificate" in own);
  }
});

Deno.test("a server elsewhere gets neither login nor mail without TLS", async () => {
  await using server = await startSmtp({ login: LOGIN });
  const sent = await send(server, { user: USER });
  assertFailed(sent, /^localhost offers no TLS after STARTTLS \(502\)$/, /^Write smtps:/);
  assert.deepEqual(server.commands, ["plain EHLO example.com", "plain STARTTLS"]);
});

Deno.test("a wrong password is named as such", async () => {
  for (const ways of ["PLAIN", "LOGIN"]) {
    await using server = await startSmtp({ certificate, login: { ...LOGIN, pass: "other", ways } });
    const sent = await send(server, { user: USER });
    assertFailed(sent, /^localhost refused user and password \(535\)$/, /alerts\.mail\.smtp/);
  }
});

Deno.test("a certificate that is not trusted ends it before the login", async () => {
  const { wrong_name, self_signed, expired } = certificates;
  const untrusted = /^localhost has no certificate that is trusted \([A-Z_]+\)$/;
  const cases = [
    [wrong_name, /^localhost has a certificate of another name \(ERR_TLS_[A-Z_]+\)$/, {}],
    [self_signed, untrusted, {}],
    [expired, untrusted, {}],
    [certificate, untrusted, { ca: certificates.own_authority.cert }],
  ] as const;
  for (const [shown, cause, mailer] of cases) {
    for (const scheme of ["smtp", "smtps"] as const) {
      const implicit = scheme === "smtps";
      await using server = await startSmtp({ certificate: shown, implicit, login: LOGIN });
      const sent = await send(server, { user: USER, scheme, mailer });
      assertFailed(sent, cause, /certificate|authority/);
      assert.doesNotMatch(server.commands.join(), /AUTH|MAIL/);
    }
  }
});

Deno.test("TLS at the wrong moment is named as such", async () => {
  await using later = await startSmtp({ certificate });
  const early = await send(later, { scheme: "smtps" });
  assertFailed(early, /^TLS with localhost fails \(ERR_SSL_[A-Z_]+\)$/, /^Write smtps: if/);
  await using first = await startSmtp({ certificate, implicit: true });
  const late = await send(first, { mailer: { step_ms: 500 } });
  assertFailed(late, /^localhost did not answer in time$/, /^Write smtps: if/);
});

Deno.test("a server's refusals are told by their status, without its words", async () => {
  const refused = /^localhost refused the sender or the recipients \(55\d\)$/;
  const not_now = /^localhost does not take the mail now \(4\d\d\)$/;
  const cases = [
    ["MAIL", `553 ${SAID_BY_SERVER}`, refused, /alerts\.mail\.from/],
    ["RCPT", `550 5.1.1 ${SAID_BY_SERVER}`, refused, /alerts\.mail\.to/],
    ["RCPT", `451 ${SAID_BY_SERVER}`, not_now, /^If that lasts/],
    [".", `554 ${SAID_BY_SERVER}`, /^localhost refused the mail \(554\)$/, /spam/],
    [
      "CONNECT",
      `554 ${SAID_BY_SERVER}`,
      /^localhost refused to talk to this machine \(554\)$/,
      /log/,
    ],
    ["CONNECT", `421 ${SAID_BY_SERVER}`, not_now, /^If that lasts/],
    [
      "CONNECT",
      `HTTP/1.1 400 ${SAID_BY_SERVER}`,
      /^localhost does not answer as a mail server does$/,
      /^Check host and port$/,
    ],
  ] as const;
  for (const [command, line, cause, remedy] of cases) {
    await using server = await startSmtp(answering(command, line));
    assertFailed(await send(server), cause, remedy);
    assert.deepEqual(server.mails, []);
  }
});

Deno.test("one of two recipients is refused: the other gets it, and that is said", async () => {
  await using server = await startSmtp(
    answering("RCPT TO:<gone@", `550 5.1.1 ${SAID_BY_SERVER}`),
  );
  const sent = await send(server, { to: ["gone@example.com", ...TO] });
  assert.deepEqual(sent, { ok: true, missed: "localhost refused gone@example.com (550)" });
  assert.deepEqual(server.mails.map(({ to }) => to), [TO]);
});

Deno.test("a server that hangs is given up, wherever it does", async () => {
  const hung = ["CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "."].map(async (command) => {
    await using server = await startSmtp({ ...answering(command, null), login: LOGIN });
    const sent = await send(server, { user: USER, mailer: { step_ms: 500 } });
    assertFailed(sent, /^localhost did not answer in time$/, /check the network/);
  });
  await Promise.all(hung);
});

Deno.test("a server that never ends an answer is given up as well", async () => {
  await using server = await startSmtp({ certificate, endless: "MAIL" });
  const sent = await send(server, { mailer: { step_ms: 500 } });
  assertFailed(sent, /^localhost did not answer in time$/, /check the network/);
});

Deno.test("a server that is gone is named with the cause; its other address is tried", async () => {
  const port = await freePort();
  const gone = await send({ port });
  assertFailed(gone, /^No connection to localhost \(ECONNREFUSED\)$/, /^Check host and port/);
  const nowhere = {
    lookup: () => Promise.reject(Object.assign(new Error(), { code: "ENOTFOUND" })),
  };
  const unknown = await send({ port }, { host: "good.test", mailer: nowhere });
  assertFailed(unknown, /^good\.test has no address \(ENOTFOUND\)$/, /DNS/);
  await using server = await startSmtp({ certificate });
  const two = { lookup: () => Promise.resolve(["127.0.0.2", "127.0.0.1"]) };
  assert.equal((await send(server, { host: "good.test", mailer: two })).ok, true);
});

Deno.test("a server at a forbidden address is asked for nothing", async () => {
  const metadata = { lookup: () => Promise.resolve(["169.254.169.254"]) };
  const sent = await send({ port: 25 }, { host: "mail.test", mailer: metadata });
  assertFailed(sent, /^169\.254\.169\.254 is not allowed: metadata/, /allow_networks/);
});

Deno.test("a mail names its recipients, its id and that a machine wrote it, and has no Bcc", async () => {
  await using server = await startSmtp({ certificate });
  await send(server, { to: [...TO, "boss@example.com"] });
  const [mail] = server.mails;
  const head = headOf(mail?.data ?? "");
  const valueOf = (name: string) =>
    head.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
  assert.deepEqual(valueOf("To"), ["ops@example.com, boss@example.com"]);
  assert.deepEqual(valueOf("From"), ["BookMe <alerts@example.com>"]);
  assert.deepEqual(valueOf("Message-ID"), ["<alr_1.began@example.com>"]);
  assert.deepEqual(valueOf("Auto-Submitted"), ["auto-generated"]);
  assert.deepEqual(valueOf("Subject"), [WORDS.title]);
  assert.doesNotMatch(mail?.data ?? "", /^b?cc:/im);
  assert.match(mail?.data ?? "", /^\.hidden\.$/m, "a dot at the start of a line stays");
  assert.match(mail?.data ?? "", /^https:\/\/hooks\.example\.com\/dashboard\/alerts#alr_1$/m);
});

Deno.test("a name with line breaks makes no header, no recipient and no second mail", async () => {
  const name =
    "crm\r\nBcc: thief@example.com\r\n\r\n.\r\nMAIL FROM:<thief@example.com>\u2028\u0085x";
  await using server = await startSmtp({ certificate });
  const words = { ...WORDS, title: `${name} has been failing`, lines: [name] };
  assert.equal((await send(server, { words })).ok, true);
  assert.equal(server.mails.length, 1);
  assert.deepEqual(server.mails[0]?.to, TO);
  const names = headOf(server.mails[0]?.data ?? "").map((line) => line.split(":")[0]);
  assert.deepEqual(names.filter((one) => /^(bcc|mail from)/i.test(one ?? "")), []);
});

Deno.test("mailTexts() makes one line of each text, and no markup", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (a, b) => {
    const { subject, text, html } = mailTexts({ title: a, lines: [b], link: null });
    assert.doesNotMatch(subject, /\p{Cc}|[\u2028\u2029]/u);
    assert.equal(text.split("\n").length, 4);
    assert.match(html, /^<p><strong>[^<>"']*<\/strong><\/p>\n<p>[^<>"']*<\/p>\n$/);
  }));
});
