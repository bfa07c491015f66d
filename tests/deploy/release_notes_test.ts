import assert from "node:assert/strict";
import { notesOf, sectionOf } from "../../deploy/release_notes.ts";

const CHANGELOG = `# Changelog

## Unreleased

- Not yet.

## 0.2.0 (2026-12-24)

### Added

- Much.

## 0.1.0 (2026-12-01)

- All.
`;

Deno.test("sectionOf() takes one version's section, and refuses a version without one", () => {
  assert.equal(sectionOf(CHANGELOG, "0.2.0"), "### Added\n\n- Much.");
  assert.equal(sectionOf(CHANGELOG, "0.1.0"), "- All.");
  assert.throws(() => sectionOf(CHANGELOG, "0.1"), /no section 0\.1; give Unreleased that name/);
});

Deno.test("notesOf() says which targets were run, and where", () => {
  const files = [
    "SHA256SUMS",
    "bookme-webhooks-0.2.0-linux-x64",
    "bookme-webhooks-0.2.0-windows-x64.exe",
    "bookme-webhooks-0.1.0-macos-x64",
    "bookme-webhooks-0.2.0.spdx.json",
    "bookme-webhooks_0.2.0_amd64.deb",
  ];
  const ran = new Map([["linux-x64", "ubuntu-24.04 (Linux x86_64)"]]);
  const notes = notesOf(CHANGELOG, { version: "0.2.0", files, ran });
  assert.match(notes, /^### Added\n\n- Much\.\n/);
  const rows = notes.split("\n").filter((line) => /^\| \w+-/.test(line));
  assert.deepEqual(rows, [
    "| linux-x64 | ubuntu-24.04 (Linux x86_64) |",
    "| windows-x64 | **never**: only built |",
  ]);
  assert.match(notes, /^\*\*Not signed\*\*/m);
  const signed = [...files, "SHA256SUMS.minisig"];
  assert.doesNotMatch(notesOf(CHANGELOG, { version: "0.2.0", files: signed, ran }), /Not signed/);
});

Deno.test("notesOf() refuses to say that something ran which was not built", () => {
  const built = { version: "0.2.0", files: ["bookme-webhooks-0.2.0-linux-x64"] };
  const ran = new Map([["macos-arm64", "macos-15"]]);
  assert.throws(() => notesOf(CHANGELOG, { ...built, ran }), /for macos-arm64/);
  assert.throws(
    () => notesOf(CHANGELOG, { ...built, files: [], ran: new Map() }),
    /No executable of version 0\.2\.0 for any target/,
  );
});
