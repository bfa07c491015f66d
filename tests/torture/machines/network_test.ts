import assert from "node:assert/strict";
import { until } from "../../support/wait.ts";
import { Skip } from "../fault.ts";
import { makeNetwork } from "./network.ts";

function ip(...args: string[]): string {
  const { stdout } = new Deno.Command("ip", { args, stderr: "null" }).outputSync();
  return new TextDecoder().decode(stdout);
}

/** The test's network, or undefined where none can be made. */
async function networkOrNone() {
  try {
    return await makeNetwork({ a: 1, b: 2 });
  } catch (error) {
    if (error instanceof Skip) return undefined;
    throw error;
  }
}

Deno.test("makeNetwork() connects machines until a cable is pulled, and leaves nothing", async () => {
  {
    await using network = await networkOrNone();
    if (network === undefined) return;
    const { wrap, address, plug } = network.machine("a");
    const state = () => ip("-n", `bookme-${Deno.pid}-a`, "-o", "link", "show", "eth0");
    using listener = Deno.listen({ hostname: network.hub, port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    const [program = "", ...args] = [
      ...wrap,
      ...["bash", "-c", `exec 3<>/dev/tcp/${network.hub}/${port}`],
    ];
    const connecting = new Deno.Command(program, { args }).output();
    using connection = await listener.accept();
    assert.equal((connection.remoteAddr as Deno.NetAddr).hostname, address);
    assert.equal((await connecting).success, true);
    await plug(false);
    await until("its link is down", () => state().includes("NO-CARRIER"));
    await plug(true);
    await until("its link is up", () => !state().includes("NO-CARRIER"));
  }
  assert.doesNotMatch(
    ip("netns", "list") + ip("-o", "link"),
    new RegExp(`bookme-${Deno.pid}-|bm${Deno.pid}`),
  );
});

Deno.test("makeNetwork() removes what a process that is gone has left", async () => {
  {
    await using network = await networkOrNone();
    if (network === undefined) return;
  }
  const gone = new Deno.Command("true").spawn();
  await gone.status;
  const namespace = `bookme-${gone.pid}-a`;
  ip("netns", "add", namespace);
  ip("link", "add", `bm${gone.pid}`, "type", "bridge");
  const left = new Deno.Command("ip", { args: ["netns", "exec", namespace, "sleep", "600"] })
    .spawn();
  await until("it runs there", () => ip("netns", "pids", namespace) !== "");
  await using _network = await networkOrNone();
  assert.equal((await left.status).success, false);
  assert.doesNotMatch(
    ip("netns", "list") + ip("-o", "link"),
    new RegExp(`${namespace}|bm${gone.pid}:`),
  );
});
