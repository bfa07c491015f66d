import assert from "node:assert/strict";
import { PLATFORM, platformOf } from "../../lib/core/platform.ts";

Deno.test("platformOf() never takes the end of a console on Windows for a reload, and expects no modes there", () => {
  const windows = platformOf("windows");
  assert.deepEqual(windows.stop_signals, ["SIGINT", "SIGBREAK", "SIGHUP", "SIGTERM"]);
  assert.deepEqual(windows.reload_signals, []);
  assert.ok(!windows.has_modes && !windows.opens_directories);
  assert.ok(!windows.forks && !windows.has_privileged_ports);
  for (const os of ["linux", "darwin"]) {
    const unix = platformOf(os);
    assert.deepEqual(unix.stop_signals, ["SIGINT", "SIGTERM"]);
    assert.deepEqual(unix.reload_signals, ["SIGHUP"]);
    assert.ok(unix.has_modes && unix.opens_directories);
    assert.ok(unix.forks && unix.has_privileged_ports);
  }
  assert.deepEqual(PLATFORM, platformOf(Deno.build.os));
});
