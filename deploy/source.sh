# Sourced by the scripts that build: exports what they say of the sources that they are in.
#
# VERSION            of deno.json
# COMMIT             40 hexadecimal digits, with -dirty if tracked files were changed; empty without git
# SOURCE_DATE_EPOCH  the commit's time, in seconds since 1970
#
# The latter two may be set beforehand, for sources without git.
VERSION=$(sed -nE 's/^  "version": "([0-9A-Za-z.+-]+)",$/\1/p' deno.json)
COMMIT=${COMMIT-$(git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || true)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
if [[ ! $COMMIT =~ ^([0-9a-f]{40}(-dirty)?)?$ ]]; then
  echo "COMMIT must be 40 hexadecimal digits, not $COMMIT" >&2
  exit 2
fi
if [[ ! $SOURCE_DATE_EPOCH =~ ^[0-9]{1,12}$ ]]; then
  echo "SOURCE_DATE_EPOCH must be seconds since 1970, not $SOURCE_DATE_EPOCH" >&2
  exit 2
fi
export VERSION COMMIT SOURCE_DATE_EPOCH
