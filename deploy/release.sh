#!/usr/bin/env bash
# Builds a release into dist/: an executable for each target, bookme-webhooks-VERSION-TARGET, the list of the
# packages in them (SPDX), and what deploy/checksums.sh adds.
#
#   npx -y deno@2.9.6 task release             # every target
#   npx -y deno@2.9.6 task release linux-x64   # some
#
# The same commit, version of Deno and target make the same bytes on any Linux: deploy/reproduce.sh compares.
#
# Each needs Deno's base runtime of its target, which `deno compile` downloads. DENORT_BIN stands in for it,
# for one target at a time. DENO: see deploy/compile.sh; COMMIT and SOURCE_DATE_EPOCH: deploy/source.sh;
# MINISIGN_KEY: deploy/checksums.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deno=${DENO:-deno}
. deploy/source.sh

targets=(linux-x64 linux-arm64 macos-x64 macos-arm64 windows-x64)
tripleOf() {
  case $1 in
    linux-x64) echo x86_64-unknown-linux-gnu ;;
    linux-arm64) echo aarch64-unknown-linux-gnu ;;
    macos-x64) echo x86_64-apple-darwin ;;
    macos-arm64) echo aarch64-apple-darwin ;;
    windows-x64) echo x86_64-pc-windows-msvc ;;
    *) echo "Unknown target $1; choose from ${targets[*]}" >&2; return 2 ;;
  esac
}

asked=("$@")
[ $# -gt 0 ] || asked=("${targets[@]}")
for target in "${asked[@]}"; do tripleOf "$target" >/dev/null; done
if [ -n "${DENORT_BIN-}" ] && [ ${#asked[@]} -gt 1 ]; then
  echo "DENORT_BIN is the base runtime of one target, and ${#asked[@]} are to be built; name one" >&2
  exit 2
fi

# Fails unless a file begins as an executable of the target does: a base runtime may be another's.
checkKind() {
  case $1:$(head -c 20 "$2" | od -An -tx1 | tr -d ' \n') in
    linux-x64:7f454c46*3e00 | linux-arm64:7f454c46*b700) ;;
    macos-x64:cffaedfe07000001* | macos-arm64:cffaedfe0c000001* | windows-x64:4d5a*) ;;
    *) echo "$2 is no executable for $1; is DENORT_BIN the base runtime of another target?" >&2; return 1 ;;
  esac
}

# A release is what is built now: anything older of this version would get a checksum too.
mkdir -p dist
rm -f dist/bookme-webhooks[-_]"$VERSION"[-_.]* dist/SHA256SUMS dist/SHA256SUMS.minisig
for target in "${asked[@]}"; do
  suffix=
  [ "${target%%-*}" != windows ] || suffix=.exe
  executable=dist/bookme-webhooks-$VERSION-$target$suffix
  # Without checking types again: deno task ok does.
  OUTPUT=$executable bash deploy/compile.sh --no-check --target "$(tripleOf "$target")"
  checkKind "$target" "$executable" || { rm -f "$executable"; exit 1; }
done
"$deno" run --frozen -A deploy/sbom.ts "dist/bookme-webhooks-$VERSION.spdx.json"
bash deploy/checksums.sh
