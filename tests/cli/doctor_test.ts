import assert from "node:assert/strict";
import { checkAddresses, checkDisk } from "../../lib/cli/doctor/doctor.ts";
import { parseCidr } from "../../lib/core/address.ts";
import { inTemporary, runHere } from "../support/cli.ts";
import { serverConfig } from "../support/config.ts";
import { booking, endpoint, writeConfig } from "../support/daemon.ts";
import { embeddedDatabase, initialise, onBoth, serverDatabase } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { connectTo, freePort } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { testCertificates } from "../support/tls.ts";

Deno.test("doctor has a verdict on every endpoint: DNS, address, TLS, days to expiry", async () => {
  const certificates = await testCertificates();
  const names = [
    "good",
    "expired",
    "not_yet",
    "wrong_name",
    "self_signed",
    "own_authority",
  ] as const;
  await using stack = new AsyncDisposableStack();
  const urls = new Map<string, string>();
  for (const name of names) {
    const receiver = stack.use(await startReceiver(undefined, certificates[name]));
    urls.set(name, receiver.url.replace("127.0.0.1", "localhost"));
  }
  const plain = stack.use(await startReceiver());
  const database = stack.use(await embeddedDatabase());
  await inTemporary(async (directory) => {
    const ca = `${directory}/ca.pem`;
    await Deno.writeTextFile(ca, certificates.ca);
    const own = `${directory}/own.pem`;
    await Deno.writeTextFile(own, certificates.own_authority.cert);
    // New each time: one and the same would be written as an anchor.
    const tls = (name: string) => ({ ca: `file:${name === "own_authority" ? own : ca}` });
    const daemon = await startOperated({
      database: database.section,
      endpoints: [
        ...names.map((name) =>
          endpoint(name, `${urls.get(name)}/`, {
            ...(name === "self_signed" ? {} : { tls: tls(name) }),
          })
        ),
        endpoint("untrusted", `${urls.get("good")}/`),
        endpoint("plain", plain.url),
        endpoint("nobody", `http://127.0.0.1:${await freePort()}/`),
        endpoint("nowhere", "https://nowhere.invalid/"),
      ],
    });
    stack.use(daemon);
    const { code, out, err } = await daemon.cli(["doctor"]);
    assert.deepEqual([code, err], [1, ""], out + err);
    const expected: RegExp[] = [
      /^✓ configuration: .* is valid$/,
      /^✓ daemon: http:\/\/127\.0\.0\.1:\d+ is ready, and takes the token "ops" of admin\.tokens$/,
      /^✓ database: embedded in .*, in the daemon's hands; it writes with fsync/,
      /^✓ endpoint good: .*; TLS, its certificate expires in \d{4,} days \(2097-12-31|2098/,
      /^✗ endpoint expired: .* its certificate expired on 2025-02-01; its owner must renew it$/,
      /^✗ endpoint not_yet: .* its certificate is not valid before 2099-01-01/,
      /^✗ endpoint wrong_name: .* its certificate is for another name/,
      /^✗ endpoint self_signed: .* its certificate (is self-signed|comes from an unknown authority)/,
      /^✓ endpoint own_authority: .*; TLS, its certificate expires in \d{4,} days/,
      /^✗ endpoint untrusted: .* its certificate comes from an unknown authority/,
      /^✓ endpoint plain: 127\.0\.0\.1:\d+; takes connections, without TLS$/,
      /^✗ endpoint nobody: .* nothing takes connections there; is it running/,
      /^✗ endpoint nowhere: DNS has no address for nowhere\.invalid \(/,
    ];
    const lines = out.trimEnd().split("\n");
    for (const pattern of expected) {
      assert.ok(lines.some((line) => pattern.test(line)), `${pattern}\n${out}`);
    }
    for (const line of lines) assert.match(line, /^[✓!✗] \S/);
    assert.equal(plain.requests.length, 0);
    const json = JSON.parse((await daemon.cli(["doctor", "--json"])).out);
    assert.equal(json.data.length, lines.length);
    assert.deepEqual(Object.keys(json.data[0]), ["mark", "subject", "text"]);
  });
});

Deno.test("doctor counts the events without a known business", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  const sections = { database: database.section, endpoints: [endpoint("all", receiver.url)] };
  const lines = async (daemon: Awaited<ReturnType<typeof startOperated>>) =>
    (await daemon.cli(["doctor"])).out.split("\n").filter((line) => line.includes("businesses: "));
  {
    await using daemon = await startOperated(sections);
    assert.deepEqual(await lines(daemon), [
      "✓ businesses: every event of the last 24 hours has a known one",
    ]);
    await daemon.post([booking("apt_1"), booking("apt_2", "bus_1"), booking("apt_2")]);
    assert.deepEqual(await lines(daemon), [
      "✓ businesses: 1 event of the last 24 hours without a known one; no endpoint asks for one",
    ]);
  }
  const bella = endpoint("bella", receiver.url, { businesses: ["bus_1"] });
  await using daemon = await startOperated({ ...sections, endpoints: [bella] });
  await daemon.post(booking("apt_1"));
  assert.deepEqual(await lines(daemon), [
    "! businesses: 2 events of the last 24 hours without a known one, not owed to the 1 endpoint with " +
    "`businesses`; let BookMe post them with a business member or the header X-BookMe-Business",
  ]);
});

Deno.test("doctor leaves the database to a daemon that is only short of disk", async () => {
  await using database = await embeddedDatabase();
  assert.ok("directory" in database.section);
  const section = { directory: database.section.directory, min_free: "999999999GiB" };
  await using daemon = await startOperated({ database: section });
  const { code, out } = await daemon.cli(["doctor"]);
  assert.equal(code, 1, out);
  assert.match(out, /^✗ daemon: .* is not ready: Disk low: /m);
  assert.match(out, /^✓ database: embedded in .*, in the daemon's hands/m);
  assert.match(out, /^✗ disk: Disk low: /m);
});

Deno.test("checkDisk() has the free space and the limit, and no view of a server's disk", () => {
  const database = {
    kind: "embedded",
    directory: "/data",
    min_free_bytes: 512 * 1024 * 1024,
  } as const;
  const at = (free_mib: number) => checkDisk({ database }, () => free_mib * 1024 * 1024);
  const subject = "disk";
  const remedy = "free some space, or move database.directory to a larger disk";
  const fine = "free for /data; ingest stops below 512 MiB (database.min_free)";
  assert.deepEqual(at(4096), { mark: "✓", subject, text: `4 GiB ${fine}` });
  assert.deepEqual(at(600), { mark: "!", subject, text: `600 MiB ${fine}`, remedy });
  assert.deepEqual(at(100), {
    mark: "✗",
    subject,
    text: "Disk low: /data has 100 MiB free, and ingest stops below 512 MiB (database.min_free)",
    remedy,
  });
  const unread = checkDisk({ database }, () => {
    throw new Error("EIO");
  });
  assert.deepEqual(unread, {
    mark: "!",
    subject,
    text: "the free space of /data cannot be read: EIO",
  });
  const server = serverConfig("postgres://db.example.com/x");
  assert.match(checkDisk({ database: server }).text, /cannot be seen from here/);
});

Deno.test("doctor says what keeps a server's database from being durable, and changes nothing", async () => {
  await using database = await serverDatabase();
  const url = "url" in database.section ? database.section.url : assert.fail();
  await using sql = connectTo(url);
  const name = new URL(url).pathname.slice(1);
  await sql.unsafe(`alter database "${name}" set synchronous_commit = off`);
  const { path, remove } = writeConfig({ database: database.section });
  try {
    const { code, out } = await runHere(["doctor", "-c", path]);
    assert.match(out, /^! daemon: server\.listen takes any free port/m);
    assert.match(out, /^✓ database: PostgreSQL \d+\S* .*answers in \d+ ms$/m);
    assert.match(out, /^! schema: not there yet; the next start migrates it/m);
    assert.match(out, /^! durability: fsync is off: a crash of the machine can lose/m);
    // The program sets it itself.
    assert.doesNotMatch(out, /synchronous_commit/);
    assert.match(out, /^✓ clock: within \d+ ms of the database's$/m);
    assert.match(out, /^! endpoints: there are none/m);
    assert.equal(code, 0, out);
    assert.deepEqual([...await sql`select from pg_class where relname = 'migrations'`], []);
  } finally {
    remove();
  }
});

onBoth(
  "doctor finds nothing broken before the first start, and the daemon missing after it",
  async (database) => {
    const listen = `127.0.0.1:${await freePort()}`;
    const { section } = database;
    const sections = "directory" in section
      // With a directory of its own the first start makes a token, too.
      ? {
        server: { listen },
        database: { directory: `${section.directory}/new` },
        admin: undefined,
      }
      : { server: { listen }, database: section };
    const { path, remove } = writeConfig(sections);
    try {
      const { code, out } = await runHere(["doctor", "-c", path]);
      assert.match(
        out,
        /^! daemon: not started yet; start it with `bookme-webhooks --config \S+config\.yaml`$/m,
      );
      assert.equal(code, 0, out);
      const named = await runHere(["doctor", "-c", path, "--url", `http://${listen}`]);
      assert.match(named.out, /^✗ daemon: /m, "where somebody says that one is");
      if ("directory" in section) await initialise(`${section.directory}/new`);
      await using daemon = await startOperated(sections);
      assert.match((await daemon.cli(["doctor"])).out, /^✓ daemon: /m);
      await daemon.stop();
      const stopped = await runHere(["doctor", "-c", path]);
      assert.match(stopped.out, /^✗ daemon: No answer from /m);
      assert.equal(stopped.code, 1);
    } finally {
      remove();
    }
  },
);

Deno.test("doctor exits with 1 if database or daemon are away, 2 if the file has mistakes", async () => {
  const listen = `127.0.0.1:${await freePort()}`;
  const { path, remove } = writeConfig({
    server: { listen },
    database: { url: "postgres://bookme:hunter2@127.0.0.1:1/bookme" },
  });
  try {
    const { code, out, err } = await runHere(["doctor", "-c", path]);
    assert.deepEqual([code, err], [1, ""]);
    assert.match(out, /^✗ daemon: No answer from http:\/\/127\.0\.0\.1:\d+: .*; start it with `/m);
    assert.match(
      out,
      /^✗ database: .*ECONNREFUSED.*; check database\.url and that it is running$/m,
    );
    assert.ok(!out.includes("hunter2"));
    await Deno.writeTextFile(path, "databse: {}\nserver: { listen: nowhere }\n");
    const wrong = await runHere(["doctor", "-c", path]);
    assert.deepEqual([wrong.code, wrong.out], [2, ""]);
    assert.equal(wrong.err.trimEnd().split("\n").length, 2);
  } finally {
    remove();
  }
});

Deno.test("checkAddresses() compares this machine's addresses with the ip_ranges in force", () => {
  const config = (source_address: string | null) => ({
    environment: "development" as const,
    ip_ranges: { development: [parseCidr("192.168.1.0/24")], production: [] },
    delivery: {
      source_address,
      timeout_ms: 1,
      retry_ms: [0],
      concurrency: 1,
      allow_networks: [],
    },
  });
  const own = ["192.168.1.7", "10.0.0.7"];
  const table: [string | null, readonly string[], RegExp][] = [
    [
      null,
      own,
      /^✓ 192\.168\.1\.7 of this machine lies in ip_ranges\.development \(192\.168\.1\.0\/24\)/,
    ],
    [null, ["10.0.0.7"], /^! no address of this machine \(10\.0\.0\.7\) lies in/],
    ["192.168.1.7", own, /^✓ 192\.168\.1\.7 lies in/],
    ["10.0.0.7", own, /^! delivery\.source_address 10\.0\.0\.7 lies outside/],
    [
      "192.168.1.8",
      own,
      /^✗ delivery\.source_address 192\.168\.1\.8 is no address of this machine/,
    ],
  ];
  for (const [source_address, addresses, expected] of table) {
    const verdicts = checkAddresses(config(source_address), addresses);
    assert.equal(verdicts.length, 1);
    assert.match(verdicts.map(({ mark, text }) => `${mark} ${text}`).join(), expected);
  }
});
