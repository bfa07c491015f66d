#!/usr/bin/env bash
# Builds dist/bookme-webhooks: one executable that contains the program, its migrations and the embedded
# PostgreSQL, for the kind of machine it is built on. Passes its arguments on to `deno compile`.
#
#   npx -y deno@2.9.6 task compile
#
# DENO        the deno command (default: deno)
# DENORT_BIN  a base runtime of exactly that version, if Deno's own cannot be downloaded
# OUTPUT      the executable (default: dist/bookme-webhooks)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deno=${DENO:-deno}
output=${OUTPUT:-dist/bookme-webhooks}
if ! command -v "$deno" >/dev/null; then
  echo "Command not found: $deno; run npx -y deno@2.9.6 task compile, or set DENO" >&2
  exit 1
fi

options=(
  --frozen
  # Otherwise Deno leaves a cache file with a predictable name in the temporary directory.
  --no-code-cache
  # Everything not granted here is refused without asking. The first four have no narrower form: the
  # configuration decides which hosts, files and variables are used. A daemon that listens on all
  # addresses of the machine reads them to never send to itself. It runs no other programs and loads no
  # native libraries.
  --no-prompt --allow-net --allow-read --allow-write --allow-env --allow-sys=networkInterfaces,statfs,userInfo,uid,gid
)
# Leaves out the packages that only tests use. The Deno of the smoke test does not know the option.
if "$deno" compile --help | grep -q -- --exclude-unused-npm; then
  options+=(--exclude-unused-npm)
fi

mkdir -p "$(dirname "$output")"
"$deno" compile --quiet "${options[@]}" "$@" --output "$output" main.ts
echo "Built $output"
