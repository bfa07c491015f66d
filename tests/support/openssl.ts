import type { Leaf } from "./tls.ts";
import { freePort } from "./postgres.ts";
import { until } from "./wait.ts";

/** A TLS server of OpenSSL, for what the runtime's own cannot do: old versions, alerts of all kinds. */
export interface OpensslServer extends AsyncDisposable {
  readonly port: number;
}

/** Whether this machine has the program `openssl`. */
export const has_openssl = await (async () => {
  try {
    const { success } = await new Deno.Command("openssl", { args: ["version"] }).output();
    return success;
  } catch {
    return false;
  }
})();

/** Starts `openssl s_server` with further arguments, on loopback; files it needs are in `files`. */
export async function startOpenssl(
  { cert, key }: Leaf,
  args: (directory: string) => readonly string[],
  files: Readonly<Record<string, string>> = {},
  port?: number,
): Promise<OpensslServer> {
  const directory = await Deno.makeTempDir({ prefix: "bookme-openssl-" });
  for (const [name, text] of Object.entries({ ...files, "cert.pem": cert, "key.pem": key })) {
    await Deno.writeTextFile(`${directory}/${name}`, text);
  }
  const own = port ?? await freePort();
  const child = new Deno.Command("openssl", {
    args: [
      ...["s_server", "-accept", `127.0.0.1:${own}`, "-quiet"],
      ...["-cert", `${directory}/cert.pem`, "-key", `${directory}/key.pem`],
      ...args(directory),
    ],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const close = async () => {
    child.kill("SIGKILL");
    await child.stdin.close().catch(() => {});
    await child.status;
    await Deno.remove(directory, { recursive: true });
  };
  try {
    await until("openssl listens", async () => {
      (await Deno.connect({ hostname: "127.0.0.1", port: own })).close();
      return true;
    });
  } catch (error) {
    await close();
    throw error;
  }
  return { port: own, [Symbol.asyncDispose]: close };
}
