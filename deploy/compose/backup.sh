#!/bin/sh
# Back up the Docker stack's volumes into a new folder: backup.sh FOLDER. It holds secrets, and only you can read it.
# All but the service stands still meanwhile, as databases, S3 and the log of predictions have to fit together.
set -eu
# shellcheck source=deploy/compose/volumes.sh
. "$(dirname "$0")/volumes.sh"
[ $# -eq 1 ] || fail "expected a new folder: backup.sh FOLDER"
target=$(absolute "$1")
[ ! -e "$target" ] || fail "$1 exists already, expected a new folder"
find_stack
[ -n "$(volume secrets)" ] || fail "the project $project has no data; is COMPOSE_PROJECT_NAME another one?"
docker image inspect "$image" >/dev/null 2>&1 || fail "there is no image $image: docker compose build"
! is_half_restored || fail "a restore was interrupted: run it again first"

running() { docker ps --quiet --filter "$here" --filter label=com.docker.compose.oneoff=False "$@"; }
of() { for name; do running --filter "label=com.docker.compose.service=$name"; done; }
stop() { [ $# -eq 0 ] || docker stop "$@" >/dev/null; }
start() { [ $# -eq 0 ] || docker start "$@" >/dev/null; }
is_ready() {
    docker exec "$1" python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/readyz', timeout=8)" 2>/dev/null
}
pack() {
    for name; do
        in_volume "$name" ro "tar --create --numeric-owner --use-compress-program 'gzip -1' --directory /volume ." \
            </dev/null >"$partial/$name.tar.gz"
    done
}

[ -z "$(docker ps --quiet --filter "$here" --filter label=com.docker.compose.oneoff=True)" ] ||
    fail "a \`docker compose run\` is under way; wait until it has ended"
tasks=$(of scheduler worker) service=$(of serving) stores=$(of postgres mongodb s3 redis)
others=$(running | grep -vwF "$(printf '%s\n' "$tasks" "$service" "$stores" | grep .)" || true)

umask 077
partial=$(mktemp -d "$target.partial.XXXXXX")
restart() {
    # shellcheck disable=SC2086  # each word is a container
    start $stores $service
    for id in $stores; do
        until [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" = healthy ]; do sleep 1; done
    done
    # shellcheck disable=SC2086
    start $others $tasks
}
trap 'rm -rf "$partial"; restart' EXIT
trap 'exit 1' HUP INT TERM

# Tasks under way have a minute to end, as long as all they need is still there; Airflow repeats what does not.
# shellcheck disable=SC2086
stop $tasks
# shellcheck disable=SC2086
stop $others
if [ -n "$(volume serving)" ]; then
    was_ready=false
    if [ -n "$service" ] && is_ready "$service"; then was_ready=true; fi
    # shellcheck disable=SC2086
    stop $service
    pack serving
    # shellcheck disable=SC2086
    start $service
    tries=60
    while $was_ready && [ $tries -gt 0 ] && ! is_ready "$service"; do sleep 1; tries=$((tries - 1)); done
fi
# shellcheck disable=SC2086
stop $stores
# shellcheck disable=SC2046
pack $(volumes | grep -vx serving)

if [ -e .env ]; then cp .env "$partial/env"; fi
{
    date -u '+made %Y-%m-%dT%H:%M:%SZ'
    echo "project $project"
    echo "commit $(git rev-parse HEAD 2>/dev/null || echo unknown)"
    for name in postgres mongodb s3; do echo "image $name $(image_of "$name")"; done
    volumes | sed 's/^/volume /'
} >"$partial/about.txt"
(cd "$partial" && sha256sum -- * >SHA256SUMS)
mv "$partial" "$target"
trap - EXIT
restart
echo "$1: $(volumes | wc -l | tr -d ' ') volumes, $(du -sh "$target" | cut -f1). It holds every secret of the stack: keep it encrypted."
