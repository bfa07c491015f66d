#!/usr/bin/env bash
# Builds dist/bookme-webhooks: one executable that contains the program, its migrations and the embedded
# PostgreSQL, for the kind of machine it is built on. Passes its arguments on to `deno compile`, so
# `--target aarch64-apple-darwin` builds for another kind; deploy/release.sh builds for all.
#
#   npx -y deno@2.9.6 task compile
#
# The same sources, commit and base runtime make the same bytes.
#
# DENO        the deno command (default: deno)
# BUNDLER     the one that makes the bundle, see deploy/bundle.ts (default: DENO)
# DENORT_BIN  a base runtime of exactly that version, if Deno's own cannot be downloaded
# OUTPUT      the executable (default: dist/bookme-webhooks)
# COMMIT      what --version --json says, see deploy/source.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deno=${DENO:-deno}
output=${OUTPUT:-dist/bookme-webhooks}
if ! command -v "$deno" >/dev/null; then
  echo "Command not found: $deno; run npx -y deno@2.9.6 task compile, or set DENO" >&2
  exit 1
fi

options=(
  # What the bundle needs is in it.
  --no-lock --config bundle/deno.json
  # Otherwise Deno leaves a cache file with a predictable name in the temporary directory.
  --no-code-cache
  # V8 compiles a function of the embedded PostgreSQL again, for speed, once it has run about as many bytes of it. Its
  # default, a twentieth of this, has it compile for a second at each start what is run little more.
  --v8-flags=--wasm-tiering-budget=300000000
  # Everything not granted here is refused without asking. The first four have no narrower form: the
  # configuration decides which hosts, files and variables are used. A daemon that listens on all
  # addresses of the machine reads them to never send to itself. It runs no other programs and loads no
  # native libraries.
  --no-prompt --allow-net --allow-read --allow-write --allow-env --allow-sys=networkInterfaces,statfs,userInfo,uid,gid
)

# An executable traces only if Deno traced when it was compiled. Whether it records anything is then for its
# own environment to say, as lib/observe/traces.ts reads it. Nothing is passed on unasked.
export OTEL_DENO_TRACING=true OTEL_PROPAGATORS=none

. deploy/source.sh
[ -n "$COMMIT" ] || echo "Not a git checkout: the executable does not know its commit; set COMMIT" >&2

mkdir -p "$(dirname "$output")"
output=$(cd "$(dirname "$output")" && pwd)/$(basename "$output")

# The names of the folder and of the output, and the times of the files, go into an executable: it is compiled
# from a copy that has the same everywhere, and gets its name afterwards.
work=$(mktemp -d "${TMPDIR:-/tmp}/bookme-compile-XXXXXX")
trap 'rm -rf "$work"' EXIT
copy=$work/bookme-webhooks
mkdir "$copy"
cp -R main.ts deno.json deno.lock lib routes migrations docs deploy "$copy"
if [ -n "$COMMIT" ]; then printf '{ "commit": "%s" }\n' "$COMMIT" >"$copy/lib/core/build.json"; fi
cd "$copy"
"${BUNDLER:-$deno}" run --frozen -A deploy/bundle.ts "$copy/bundle"
for file in bundle/*; do
  [ "$file" = bundle/main.js ] || options+=(--include "$file")
done
find "$copy" -exec env TZ=UTC0 touch -t 202601010000.00 {} +
"$deno" compile --quiet "${options[@]}" "$@" --output "$work/out/bookme-webhooks" bundle/main.js
mv "$work"/out/bookme-webhooks* "$output" # for Windows it ends with .exe
echo "Built $output"
