import assert from "node:assert/strict";
import { checkedApi } from "../../support/checked.ts";
import { ADMIN, startDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";

onServer(
  "the admin API names the place of a mistake in a body, and repeats none of it",
  async (database) => {
    await using daemon = await startDaemon({ database: database.section });
    const api = await checkedApi(daemon);
    for (
      const [body, detail] of [
        ["", "Malformed JSON at line 1, column 1: the text ends; expected a value"],
        ['{"secret": hunter2}', "Malformed JSON at line 1, column 12: expected a value"],
        [
          '{\n  "url": "https://hunter2.example.com"\n  "events": ["*"]\n}',
          "Malformed JSON at line 3, column 3: expected a comma or the closing bracket",
        ],
        [
          '{"secret": "hunter2',
          "Malformed JSON at line 1, column 20: the text ends within a string",
        ],
      ] as const
    ) {
      const answer = await api.expect(400, "POST", "endpoints", body);
      assert.equal(answer.body.code, "malformed");
      assert.equal(answer.body.detail, detail);
    }
  },
);

onServer("the admin API names the byte that is not UTF-8", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const post = async (body: Uint8Array<ArrayBuffer>) => {
    const response = await fetch(`${daemon.url}/api/endpoints`, {
      method: "POST",
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
      body,
    });
    return { status: response.status, body: await response.json() };
  };
  const latin1 = await post(Uint8Array.from('{"secret": "h\xfcnter2"}', (c) => c.charCodeAt(0)));
  assert.equal(latin1.status, 400);
  assert.equal(latin1.body.detail, "Invalid UTF-8 at byte 13");
  // A byte order mark is no mistake here.
  assert.equal((await post(new TextEncoder().encode("\ufeff{}"))).status, 422);
});
