/** Prints a line. */
export function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** Runs a script with its arguments. An error ends it with 1 and its message, without a stack. */
export async function runScript(
  main: (args: readonly string[]) => void | Promise<void>,
): Promise<void> {
  try {
    await main(Deno.args);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    Deno.stderr.writeSync(new TextEncoder().encode(`${message}\n`));
    Deno.exit(1);
  }
}
