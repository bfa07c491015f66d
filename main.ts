if (import.meta.main) {
  // While the program is being loaded, a request to reload would end it.
  const ignore = () => {};
  Deno.addSignalListener("SIGHUP", ignore);
  const { run } = await import("./lib/cli/cli.ts");
  const running = run(Deno.args);
  // A daemon has a listener of its own by now; other commands end by SIGHUP, as usual.
  Deno.removeSignalListener("SIGHUP", ignore);
  Deno.exit(await running);
}
