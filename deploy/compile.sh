#!/usr/bin/env bash
# Builds dist/bookme-webhooks: one executable with the program, its migrations and the embedded
# PostgreSQL in it, for the machine it is built on.
#
#   npx -y deno@2.9.6 task compile
#
# DENO        the deno command; `deno` unless said
# DENORT_BIN  a base runtime of that very version, where Deno's own cannot be downloaded
# OUTPUT      where the executable goes; dist/bookme-webhooks unless said
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deno=${DENO:-deno}
output=${OUTPUT:-dist/bookme-webhooks}
if ! command -v "$deno" >/dev/null; then
  echo "There is no command $deno; run npx -y deno@2.9.6 task compile, or set DENO" >&2
  exit 1
fi

options=(
  --frozen
  # Deno would leave a cache file of a predictable name in the temporary directory.
  --no-code-cache
  # What is not granted here is refused, never asked for. The first four have no narrower form: which
  # hosts, files and variables are used, the configuration says. The addresses of this machine are
  # asked for so that a daemon that listens on all of them never sends to itself. No other programs
  # are run and no native libraries loaded.
  --no-prompt --allow-net --allow-read --allow-write --allow-env --allow-sys=networkInterfaces
)
# Leaves out the packages that only tests use; Deno 2.6 does not know how to.
if "$deno" compile --help | grep -q -- --exclude-unused-npm; then
  options+=(--exclude-unused-npm)
fi

mkdir -p "$(dirname "$output")"
"$deno" compile --quiet "${options[@]}" --output "$output" main.ts
echo "Built $output"
