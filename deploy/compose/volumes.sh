# Read by backup.sh and restore.sh: the volumes and containers of the stack, and what happens in them.
# shellcheck shell=sh
set -eu

fail() {
    echo "$0: $*" >&2
    exit 1
}

absolute() {
    case $1 in
        /*) echo "${1%/}" ;;
        *) echo "$PWD/${1%/}" ;;
    esac
}

# Names the project and the image whose tar reads and writes the volumes. Docker Compose reads .env and COMPOSE_* itself.
find_stack() {
    cd "$(dirname "$0")/../.." || exit
    docker version >/dev/null || fail "Docker does not answer"
    docker compose config --quiet || fail "the Compose file, with .env, is not valid"
    project=$(docker compose config | sed -n 's/^name: //p')
    image=$(docker compose config --images secrets)
    here="label=com.docker.compose.project=$project"
}

# The volumes that are there, by their names in the Compose file.
volumes() {
    docker volume ls --filter "$here" --format '{{.Label "com.docker.compose.volume"}}' | sort
}

# The image of a service, without those of what it depends on.
image_of() {
    docker compose config --images "$1" | grep -vxF "$image"
}

volume() {
    docker volume ls --quiet --filter "$here" --filter "label=com.docker.compose.volume=$1"
}

# in_volume NAME ro|rw COMMAND: run a shell command as root, with the volume as /volume.
in_volume() {
    docker run --rm --init --interactive --network none --user 0 --entrypoint sh \
        --label "updraft.volume=$project" --volume "$(volume "$1"):/volume:$2" "$image" -euc "$3"
}

is_half_restored() {
    [ -n "$(volume secrets)" ] && in_volume secrets ro 'test -e /volume/.restoring' </dev/null
}

if ! command -v sha256sum >/dev/null; then
    sha256sum() { shasum --algorithm 256 "$@"; }
fi
