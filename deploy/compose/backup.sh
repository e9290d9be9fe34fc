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
stopping=
stop() {
    stopping="$*"
    { [ $# -eq 0 ] || docker stop "$@" >/dev/null; } && stopping=
}
start() { [ $# -eq 0 ] || docker start "$@" >/dev/null; }
# Another Ctrl-C ends the docker command, though not the script.
repeat() { "$@" || { sleep 1 && "$@"; } || { sleep 1 && "$@"; }; }
health() { docker inspect --format '{{with .State.Health}}{{.Status}}{{end}}' "$1"; }
is_ready() {
    docker exec "$1" python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/readyz', timeout=8)" 2>/dev/null
}
packer=
pack() {
    for name; do
        # In the background, as a shell acts on a signal only after what is in the foreground, which may take hours.
        in_volume "$name" ro "tar --create --numeric-owner --use-compress-program 'gzip -1' --directory /volume ." \
            </dev/null >"$partial/$name.tar.gz" &
        packer=$!
        wait "$packer"
        packer=
    done
}
end_packing() {
    # Docker loses a signal that comes before the container has started.
    while :; do
        docker ps --all --quiet --filter "label=updraft.volume=$project" | xargs docker rm --force >/dev/null 2>&1 || true
        sleep 1
    done &
    remover=$!
    wait "$packer" || true
    kill -KILL "$remover"
}

[ -z "$(docker ps --quiet --filter "$here" --filter label=com.docker.compose.oneoff=True)" ] ||
    fail "a \`docker compose run\` is under way; wait until it has ended"
tasks=$(of scheduler worker) service=$(of serving) stores=$(of postgres mongodb s3 redis)
others=$(running | grep -vwF "$(printf '%s\n' "$tasks" "$service" "$stores" | grep .)" || true)

umask 077
partial=$(mktemp -d "$target.partial.XXXXXX") || fail "no folder can be made beside $1"
# Start what was running, as much of it as can be.
restart() {
    well=true tries=180
    # shellcheck disable=SC2086  # each word is a container
    repeat start $stores $service || well=false
    for id in $stores; do
        until [ "$(health "$id")" = healthy ] || [ $tries -eq 0 ]; do sleep 1; tries=$((tries - 1)); done
    done
    [ $tries -gt 0 ] || well=false
    # shellcheck disable=SC2086
    repeat start $others $tasks || well=false
    $well
}
give_up() {
    trap '' HUP INT TERM
    trap - EXIT
    echo "$0: no backup is made; what was stopped starts again" >&2
    # Docker goes on stopping what it was told to, and until that is over it takes a start for done.
    # shellcheck disable=SC2086
    repeat stop $stopping || true
    [ -z "$packer" ] || end_packing
    rm -rf "$partial"
    restart || fail "no backup is made, and not all that was running runs again: docker compose up -d --wait"
    fail "no backup is made; what was running runs again"
}
trap give_up EXIT
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
trap '' HUP INT TERM
mv "$partial" "$target"
trap - EXIT
restart || fail "$1 is whole, but not all that was running runs again: docker compose up -d --wait"
echo "$1: $(volumes | wc -l | tr -d ' ') volumes, $(du -sh "$target" | cut -f1). It holds every secret of the stack: keep it encrypted."
