#!/usr/bin/env bash
# Builds the image of deploy/Containerfile from dist/bookme-webhooks, and checks a container of it: on a read-only
# root, as a user without rights, it becomes healthy, delivers an event to a receiver that verifies it, ends with
# 0 on the image's signal, and starts again on its volume.
#
# ENGINE  docker, or what takes its commands (default: docker)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

engine=${ENGINE:-docker}
name=bookme-webhooks-test-$$
work=$(mktemp -d "${TMPDIR:-/tmp}/bookme-container-XXXXXX")
clean_up() {
  "$engine" rm --force "$name" "$name-receiver" >/dev/null 2>&1 || true
  "$engine" volume rm --force "$name" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap clean_up EXIT

say() { echo "container: $*"; }
fail() {
  echo "container: $*" >&2
  "$engine" logs "$name" >&2 || true
  exit 1
}
shown() { "$engine" inspect --format "$1" "$name"; }
inside() { "$engine" exec "$name" /usr/bin/bookme-webhooks "$@" --config /etc/bookme-webhooks/config.yaml; }

healthy() {
  local tries
  for ((tries = 0; tries < 180; tries++)); do
    [ "$(shown '{{.State.Health.Status}}')" != healthy ] || return 0
    [ "$(shown '{{.State.Running}}')" = true ] || fail "The daemon ended"
    sleep 1
  done
  fail "Never healthy"
}

"$engine" build --file deploy/Containerfile --tag "$name" .
RECEIVER_SECRET=$("$engine" run --rm "$name" secret)
export RECEIVER_SECRET
cat >"$work/config.yaml" <<'YAML'
database: { directory: /var/lib/bookme-webhooks }
secrets: { receiver: env:RECEIVER_SECRET }
endpoints:
  - { id: receiver, url: "http://127.0.0.1:9000/webhooks/bookme", secret: receiver, events: ["*"] }
YAML
chmod 644 "$work/config.yaml"

"$engine" run --detach --name "$name" --read-only --env RECEIVER_SECRET \
  --volume "$name:/var/lib/bookme-webhooks" \
  --volume "$work/config.yaml:/etc/bookme-webhooks/config.yaml:ro" "$name" >/dev/null
healthy
case $(shown '{{.Config.User}}') in
  "" | 0 | 0:* | root*) fail "It runs as root" ;;
esac
say "healthy, as $(shown '{{.Config.User}}') on a read-only root"

# In the same network, so that loopback is the same.
"$engine" run --detach --name "$name-receiver" --read-only --env RECEIVER_SECRET \
  --network "container:$name" "$name" listen --secret env:RECEIVER_SECRET --json >/dev/null
inside send booking.created --endpoint receiver || fail "The receiver did not accept an event"
say "an event was delivered and verified"

"$engine" stop --time 60 "$name" >/dev/null
[ "$(shown '{{.State.ExitCode}}')" = 0 ] || fail "It ended with $(shown '{{.State.ExitCode}}')"
"$engine" start "$name" >/dev/null
healthy
inside deliveries --json | grep -q '"delivered"' || fail "The delivery is gone after a restart"
say "stopped with 0, and has its deliveries after a start"
