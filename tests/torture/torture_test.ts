import assert from "node:assert/strict";

const MAIN = new URL("./main.ts", import.meta.url).pathname;

/** Runs the torture in a process of its own, as people do. */
async function torture(...args: string[]): Promise<{ code: number; said: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", MAIN, ...args],
  }).output();
  const text = new TextDecoder();
  return { code, said: text.decode(stdout) + text.decode(stderr) };
}

Deno.test(
  "torture loses nothing while daemons, the database and receivers are struck",
  async () => {
    const { code, said } = await torture("--fault", "mixed", "--seconds", "20", "--seed", "7");
    assert.equal(code, 0, said);
    assert.match(said, /^mixed: ok; \d{2,} strikes, \d{3,} acknowledged/m);
  },
);

Deno.test(
  "torture catches a daemon that overwrites what another has done",
  async () => {
    const { code, said } = await torture("--sabotage", "token", "--seconds", "30", "--seed", "1");
    assert.equal(code, 1, said);
    assert.match(said, /^ {2}E: /m);
  },
);

Deno.test("torture catches daemons that announce an alert all at once", async () => {
  const { code, said } = await torture("--sabotage", "unclaimed", "--seconds", "15", "--seed", "3");
  assert.equal(code, 1, said);
  assert.match(said, /^ {2}H: .* took notice \d+, which was being sent$/m);
});
