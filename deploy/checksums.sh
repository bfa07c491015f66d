#!/usr/bin/env bash
# Writes dist/SHA256SUMS for everything of this version in dist/, and signs it: SHA256SUMS.minisig.
#
# MINISIGN_KEY       file with the secret key of minisign; without one nothing is signed, and that is said
# MINISIGN_PASSWORD  its password, if it has one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

. deploy/source.sh
key=${MINISIGN_KEY:+$(cd "$(dirname "$MINISIGN_KEY")" && pwd)/$(basename "$MINISIGN_KEY")}
cd dist
shopt -s nullglob
# Packages of Debian have an underscore in front of the version.
files=(bookme-webhooks[-_]"$VERSION"[-_.]*)
if [ ${#files[@]} = 0 ]; then
  echo "dist/ has nothing of version $VERSION; run deploy/release.sh first" >&2
  exit 1
fi
rm -f SHA256SUMS.minisig # of other bytes
sha256sum "${files[@]}" >SHA256SUMS
echo "Wrote dist/SHA256SUMS: ${#files[@]} files"

if [ -z "$key" ]; then
  echo "WARNING: not signed: MINISIGN_KEY names no key" >&2
  exit
fi
# The comment is signed too. minisign's own would have the time, and so be another each time.
minisign -S -s "$key" -m SHA256SUMS -t "bookme-webhooks $VERSION" <<<"${MINISIGN_PASSWORD-}" >/dev/null
# A key that nobody has the other half of would help nobody.
if [ -f ../deploy/minisign.pub ]; then minisign -V -q -p ../deploy/minisign.pub -m SHA256SUMS; fi
echo "Signed dist/SHA256SUMS.minisig"
