import assert from "node:assert/strict";
import { adminTokens, sealKeys } from "../../lib/config/first_start.ts";
import { Secret } from "../../lib/core/secret.ts";
import { serverConfig } from "../support/config.ts";
import { seal, unseal } from "../../lib/core/seal.ts";
import { onSmallDisk } from "../support/small_disk.ts";

type Input = Parameters<typeof adminTokens>[0] & Parameters<typeof sealKeys>[0];

function inDirectory(test: (embedded: Input, directory: string) => void) {
  const directory = Deno.makeTempDirSync();
  try {
    const database = { kind: "embedded", directory, min_free_bytes: 0 } as const;
    test({ admin: { tokens: [], public: [] }, database, encryption_keys: [] }, directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

const modeOf = (path: string) => (Deno.statSync(path).mode ?? 0) & 0o777;

Deno.test("adminTokens() makes an admin's token once, for the owner of the directory only", () =>
  inDirectory((embedded, directory) => {
    const first = adminTokens(embedded);
    assert.equal(first.made_at, `${directory}/admin.token`);
    assert.equal(modeOf(`${directory}/admin.token`), 0o600);
    assert.equal(first.tokens[0]?.role, "admin");
    assert.match(first.tokens[0]?.token.reveal() ?? "", /^[\w-]{32}$/);
    const again = adminTokens(embedded);
    assert.equal(again.made_at, undefined);
    assert.equal(again.tokens[0]?.token.reveal(), first.tokens[0]?.token.reveal());
  }));

Deno.test("adminTokens() makes none if one is configured, or for a server's database", () =>
  inDirectory((embedded, directory) => {
    const token = {
      name: "ops",
      token: new Secret("t".repeat(24)),
      role: "viewer",
      payloads: true,
    } as const;
    assert.deepEqual(adminTokens({ ...embedded, admin: { tokens: [token], public: [] } }), {
      tokens: [token],
    });
    const server = serverConfig("postgres://u@x/y");
    assert.deepEqual(adminTokens({ ...embedded, database: server }), { tokens: [] });
    assert.deepEqual([...Deno.readDirSync(directory)], []);
  }));

Deno.test("sealKeys() makes a key once that opens what it sealed", () =>
  inDirectory((embedded, directory) => {
    const [key] = sealKeys(embedded).keys;
    assert.ok(key !== undefined);
    assert.equal(modeOf(`${directory}/encryption.key`), 0o600);
    const again = sealKeys(embedded);
    assert.equal(again.made_at, undefined);
    const content = { secrets: [], headers: { "X-Tenant": "bella" }, tls: {} };
    const sealed = seal(content, "ep_1", key, new Uint8Array(12));
    assert.deepEqual(unseal(sealed, "ep_1", again.keys), content);
  }));

onSmallDisk("a full disk leaves no empty token or key behind", "size=1m", (disk) => {
  const database = { kind: "embedded", directory: disk.directory, min_free_bytes: 0 } as const;
  const config = { admin: { tokens: [], public: [] }, database, encryption_keys: [] };
  disk.fill(0);
  assert.throws(() => adminTokens(config), /No space left on device/);
  assert.throws(() => sealKeys(config), /No space left on device/);
  disk.clear();
  assert.equal(adminTokens(config).made_at, `${disk.directory}/admin.token`);
  assert.equal(sealKeys(config).made_at, `${disk.directory}/encryption.key`);
  return Promise.resolve();
});
