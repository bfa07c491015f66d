import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { booking, endpoint, SECRET } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { type Answer, startReceiver } from "../support/receiver.ts";
import { testCertificates } from "../support/tls.ts";
import { runHere } from "../support/cli.ts";
import { freePort } from "../support/postgres.ts";

/** The answer at each path, and what is to be said about it. */
const ANSWERS: Record<string, [Answer, RegExp]> = {
  signature: [{ status: 401, body: "Invalid signature" }, /^The answer mentions a signature/],
  path: [{ status: 404 }, /^The receiver has nothing at \/path/],
  method: [
    { status: 405, headers: { Allow: "GET" } },
    /does not accept POST at \/method, only GET/,
  ],
  large: [{ status: 413 }, /^The body of \d+ bytes is too large/],
  type: [{ status: 415 }, /application\/json/],
  rate: [{ status: 429 }, /rate_limit/],
  slash: [{ status: 301, headers: { Location: "/slash/" } }, /slash at its end/],
  login: [{ status: 302, headers: { Location: "https://sso.example.com/login" } }, /a login/],
  page: [
    { status: 200, headers: { "Content-Type": "text/html" }, body: "<h1>Sign in</h1>" },
    /^The answer is a login page/,
  ],
  hang: ["hang", /did not answer within 1 s\. Let the receiver answer first/],
  garbage: ["garbage", /does not speak HTTP/],
  reset: ["reset", /closed the connection/],
};

onServer(
  "an attempt's advice names the likely cause of what a real receiver did",
  async (database) => {
    const certificates = await testCertificates();
    await using receiver = await startReceiver(({ path }) =>
      ANSWERS[path.slice(1)]?.[0] ?? "reset"
    );
    await using expired = await startReceiver(undefined, certificates.expired);
    await using self_signed = await startReceiver(undefined, certificates.self_signed);
    await using good = await startReceiver(undefined, certificates.good);
    const secure = (url: string) => url.replace("127.0.0.1", "localhost");
    const elsewhere: Record<string, [url: string, advice: RegExp]> = {
      expired: [secure(expired.url), /has expired; renew it|unknown authority/],
      self_signed: [secure(self_signed.url), /signed by itself|unknown authority/],
      unknown: [secure(good.url), /unknown authority/],
      plain_port: [receiver.url.replace("http:", "https:"), /does not speak TLS|handshake failed/],
      tls_port: [good.url.replace("https:", "http:"), /expects TLS|does not speak HTTP|closed the/],
      refused: [`http://127.0.0.1:${await freePort()}`, /^Nothing listens at that address/],
      gone: [
        "https://gone.invalid/",
        /^DNS has no address for gone\.invalid|resolver of this machine/,
      ],
    };
    await using daemon = await startOperated({
      database: database.section,
      delivery: { retry: ["0s", "1h"] },
      endpoints: [
        ...Object.keys(ANSWERS).map((id) =>
          endpoint(id, `${receiver.url}/${id}`, id === "hang" ? { timeout: "1s" } : {})
        ),
        ...Object.entries(elsewhere).map(([id, [url]]) => endpoint(id, url)),
      ],
    });
    const { body: event } = await daemon.post(booking("apt_1", "bus_1"));
    const expected = [
      ...Object.entries(ANSWERS).map(([id, [, advice]]) => [id, advice] as const),
      ...Object.entries(elsewhere).map(([id, [, advice]]) => [id, advice] as const),
    ];
    for (const [id, advice] of expected) {
      const { attempts } = await daemon.delivery(
        await daemon.deliveryId(event.id, id),
        (delivery) => delivery.attempts.length > 0,
      );
      assert.match(attempts[0].advice ?? "", advice, `${id}: ${JSON.stringify(attempts[0])}`);
    }
  },
);

onServer(
  "delivery and send print the very command that examines a refused signature",
  async (database) => {
    await using receiver = await startReceiver(() => ({ status: 401, body: "Invalid signature" }));
    await using daemon = await startOperated({
      database: database.section,
      delivery: { retry: ["0s"] },
      endpoints: [endpoint("crm", receiver.url)],
    });
    const { body: event } = await daemon.post(booking("it's", "bus_1"));
    const id = await daemon.deliveryId(event.id);
    await daemon.delivery(id);
    const sent = await daemon.cli(["send", "booking.created"]);
    assert.equal(sent.code, 1);
    const shown = await daemon.cli(["delivery", id]);
    for (const { out } of [shown, sent]) {
      assert.match(out, /\nThe answer mentions a signature\./);
      assert.match(out, /\nbookme-webhooks verify --body - --signature 'sha256=[0-9a-f]{64}' \\\n/);
    }
    // The command as printed, but for the name of the program.
    const printed = shown.out.slice(shown.out.lastIndexOf("\nprintf %s ") + 1)
      .split("\n").slice(0, 3).join("\n");
    const directory = mkdtempSync(join(tmpdir(), "verify-"));
    try {
      const body = join(directory, "body");
      writeFileSync(join(directory, "bookme-webhooks"), `#!/bin/sh\ncat > ${body}; echo "$@"\n`, {
        mode: 0o755,
      });
      const { stdout, success } = await new Deno.Command("sh", {
        args: ["-c", printed],
        env: { PATH: `${directory}:${Deno.env.get("PATH")}` },
      }).output();
      assert.ok(success);
      const args = new TextDecoder().decode(stdout).trim().split(" ");
      const stdin = Deno.readFileSync(body);
      const verify = (secret: string) => runHere(args, { stdin, env: { RECEIVER_SECRET: secret } });
      const right = await verify(SECRET);
      assert.equal(right.code, 0, right.out);
      assert.equal((await verify("another-secret-of-the-receiver")).code, 1);
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);
