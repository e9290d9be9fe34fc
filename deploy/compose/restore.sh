#!/bin/sh
# Restore what backup.sh has written into a stack without data: restore.sh FOLDER; then: docker compose up -d --wait
# `restore.sh --overwrite FOLDER` stops the stack and replaces its data. What was interrupted is run again.
set -eu
# shellcheck source=deploy/compose/volumes.sh
. "$(dirname "$0")/volumes.sh"
overwrite=false
if [ "${1:-}" = --overwrite ]; then overwrite=true && shift; fi
[ $# -eq 1 ] || fail "expected the folder of a backup: restore.sh [--overwrite] FOLDER"
source=$(absolute "$1")

# Nothing is touched before all of it is known to be whole.
for name in SHA256SUMS about.txt; do [ -s "$source/$name" ] || fail "$1 is no whole backup: it has no $name"; done
(cd "$source" && sha256sum --check --strict --quiet SHA256SUMS >&2) || fail "$1 is damaged: its files are not those in SHA256SUMS"
kept=$(sed -n 's/^volume //p' "$source/about.txt")
for name in about.txt $(echo "$kept" | sed 's/$/.tar.gz/'); do
    grep -q "  $name\$" "$source/SHA256SUMS" || fail "$1 is damaged: SHA256SUMS lacks $name"
done

find_stack
known=$(docker compose config --volumes)
for name in $kept; do
    echo "$known" | grep -qx "$name" ||
        fail "the backup has the volume $name and this stack has none: set COMPOSE_FILE and COMPOSE_PROFILES as they were"
done
for name in postgres mongodb s3; do
    is=$(image_of "$name") was=$(sed -n "s/^image $name //p" "$source/about.txt")
    [ "$is" = "$was" ] || echo "$0: $name was $was and is $is: where it does not start, take the former image" >&2
done

docker image inspect "$image" >/dev/null 2>&1 || docker compose build
if ! $overwrite && ! is_half_restored; then
    for name in $(volumes); do
        [ -z "$(in_volume "$name" ro 'find /volume -type f -print -quit' </dev/null)" ] ||
            fail "the project $project has data already, in its volume $name; --overwrite replaces all of it"
    done
fi
docker compose --profile '*' down --remove-orphans
docker compose create --quiet-pull >/dev/null
in_volume secrets rw 'touch /volume/.restoring' </dev/null
# The marker stays until all is there: no part of the stack starts before.
empty='find /volume -mindepth 1 ! -path /volume/.restoring -delete'
for name in $(volumes | grep -vxF "$kept" || true); do in_volume "$name" rw "$empty" </dev/null; done
for name in $kept; do
    in_volume "$name" rw "$empty
        exec tar --extract --gzip --numeric-owner --same-owner --preserve-permissions --directory /volume" <"$source/$name.tar.gz"
done
in_volume secrets rw 'rm /volume/.restoring' </dev/null
echo "$1 is restored into the project $project. Now: docker compose up -d --wait"
