#!/usr/bin/env bash
# Builds a release twice, from copies in different folders with files of different times, and compares everything
# in dist/ byte by byte.
#
#   npx -y deno@2.9.6 task reproduce             # for this kind of machine
#   npx -y deno@2.9.6 task reproduce macos-x64   # for others
#
# Knows the variables of deploy/release.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

. deploy/source.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/bookme-reproduce-XXXXXX")
trap 'rm -rf "$work"' EXIT

asked=("$@")
if [ $# = 0 ]; then
  case $(uname -m) in
    x86_64) asked=(linux-x64) ;;
    *) asked=(linux-arm64) ;;
  esac
fi

build() {
  local copy=$work/$1 time=$2
  mkdir -p "$copy" "$work/tmp-$time"
  cp -R main.ts deno.json deno.lock lib routes migrations docs deploy "$copy"
  find "$copy" -exec touch -t "$time" {} +
  TMPDIR=$work/tmp-$time bash "$copy/deploy/release.sh" "${asked[@]}"
}

build one 202001020304.05
build another/place 203001020304.05
cd "$work"
diff -r one/dist another/place/dist
cat one/dist/SHA256SUMS
echo "The same twice"
