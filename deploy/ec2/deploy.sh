#!/usr/bin/env bash
# Replace the running service on this machine by another image, without a failed request:
#   deploy/ec2/deploy.sh 123456789012.dkr.ecr.eu-central-1.amazonaws.com/updraft-serving@sha256:...
# The new container starts beside the old one, has to be ready and to answer the golden rows as recorded, and then gets
# the requests. Only when it has answered through the proxy for a while is the old one stopped. Whatever fails, the old
# one goes on serving, and the exit code is 1. It can be repeated at any time, also after it was killed half-way.
set -euo pipefail

image=${1:-}
name=${UPDRAFT_NAME:-updraft}                             # of the network, the volume and the containers
port=${SERVING_PORT:-5000}
bind=${BIND:-127.0.0.1}
environment=${UPDRAFT_ENV_FILE:-/etc/updraft/service.env} # UPDRAFT_REGISTRY=..., one variable a line
verify_key=${UPDRAFT_VERIFY_KEY:-/etc/updraft/verify.pem}
state=${UPDRAFT_STATE:-/var/lib/updraft-deploy}           # the proxy's configuration, and the lock
front_image=${FRONT_IMAGE:-nginx:1.28}
ready_seconds=${READY_SECONDS:-120}
watch_seconds=${WATCH_SECONDS:-10}
drain_seconds=${DRAIN_SECONDS:-60}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
front=$name-front
candidate='' switched=''

say() { echo "deploy: $*"; }
fail() { echo "deploy: $*" >&2; exit 1; }

check_arguments() {
    [[ $image =~ ^([a-z0-9./:_-]+@)?sha256:[0-9a-f]{64}$ ]] ||
        fail "${image:-nothing}: expected IMAGE@sha256:<64 hexadecimal digits>: a tag may mean another image tomorrow"
    [[ -r $environment ]] || fail "$environment: not readable; UPDRAFT_ENV_FILE names the file of the service's variables"
    [[ -r $verify_key ]] || fail "$verify_key: not readable; UPDRAFT_VERIFY_KEY names the public key of the registry"
    docker version >/dev/null 2>&1 || fail 'docker does not answer'
}

is_running() { [[ $(docker inspect --format '{{.State.Running}}' "$1" 2>/dev/null) == true ]]; }

# The container that gets the requests, as the running proxy says itself; else as its configuration says.
active() {
    local answered=''
    answered=$(curl --silent --max-time 10 --output /dev/null --dump-header - "http://${bind/0.0.0.0/127.0.0.1}:$port/healthz" |
        tr -d '\r' | sed -n 's/^X-Served-By: //Ip') || true
    [[ -n $answered ]] || answered=$(sed -n 's/.*X-Served-By \(.*\) always;/\1/p' "$state/front/default.conf" 2>/dev/null) || true
    echo "$answered"
}

# Written whole, then renamed: the proxy may start at any moment.
point_to() {
    mkdir -p "$state/front"
    sed "s/@CONTAINER@/$1/" "$here/ec2/front.conf" >"$state/front/.new"
    chmod 0644 "$state/front/.new"
    mv "$state/front/.new" "$state/front/default.conf"
    if ! docker exec "$front" nginx -s reload >/dev/null 2>&1; then
        docker rm --force "$front" >/dev/null 2>&1 || true
        docker run --detach --name "$front" --network "$name" --restart unless-stopped --publish "$bind:$port:80" \
            --volume "$state/front:/etc/nginx/conf.d:ro" --security-opt no-new-privileges --memory 256m \
            --log-opt max-size=10m --log-opt max-file=3 "$front_image" >/dev/null
    fi
}

# Asked inside the container: without a port of its own it collides with nothing.
is_ready() {
    docker exec "$1" python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/readyz', timeout=5)" \
        >/dev/null 2>&1
}

start() {
    docker rm --force "$1" >/dev/null 2>&1 || true
    docker run --detach --name "$1" --network "$name" --restart unless-stopped --env-file "$environment" \
        --env UPDRAFT_VERIFY_KEY=/etc/updraft/verify.pem --volume "$verify_key:/etc/updraft/verify.pem:ro" \
        --volume "$name-data:/var/lib/updraft" --read-only --tmpfs /tmp:mode=1777,size=256m --init \
        --cap-drop ALL --security-opt no-new-privileges --memory "${MEMORY:-2g}" \
        --log-opt max-size=10m --log-opt max-file=3 "$image" >/dev/null
}

wait_until_ready() {
    local end=$((SECONDS + ready_seconds))
    until is_ready "$1"; do
        [[ $(docker inspect --format '{{.RestartCount}} {{.State.Running}}' "$1") == '0 true' ]] ||
            fail "$image ended before it was ready"
        ((SECONDS < end)) || fail "$image was not ready within $ready_seconds seconds"
        sleep 1
    done
}

wait_for_switch() {
    local end=$((SECONDS + 30))
    until [[ $(active) == "$1" ]]; do
        ((SECONDS < end)) || fail "the proxy did not switch to $1: docker logs $front"
        sleep 0.2
    done
}

# As callers see it: the old container is kept until the new one has answered for a while.
watch_it() {
    local end=$((SECONDS + watch_seconds))
    while ((SECONDS < end)); do
        is_ready "$1" || fail "$image did not stay ready"
        [[ $(active) == "$1" ]] || fail "the proxy no longer reaches $1"
        sleep 1
    done
}

# nginx ends an old worker when its last request has ended.
drain() {
    local end=$((SECONDS + drain_seconds))
    while docker top "$front" 2>/dev/null | grep -q 'is shutting down' && ((SECONDS < end)); do sleep 0.5; done
}

roll_back() {
    local code=$?
    trap - EXIT
    if [[ $code != 0 && -n $candidate ]]; then
        if [[ -n $switched && -n $old ]]; then
            point_to "$old"
            wait_for_switch "$old"
        fi
        docker logs --tail 20 "$candidate" 2>&1 | sed 's/^/    /' >&2 || true
        if [[ -n $old ]]; then
            docker rm --force "$candidate" >/dev/null 2>&1 || true
            say "rolled back: $old serves" >&2
        else
            docker stop "$candidate" >/dev/null 2>&1 || true
        fi
    fi
    exit "$code"
}

check_arguments
mkdir -p "$state"
exec 9>"$state/lock"
flock --wait 30 9 || fail "another deployment is running ($state/lock)"
docker network inspect "$name" >/dev/null 2>&1 || docker network create "$name" >/dev/null
docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" >/dev/null || fail "$image: cannot be pulled"

old=$(active)
[[ -n $old ]] && is_running "$old" || old=''
candidate=$name-blue
[[ $old == "$candidate" ]] && candidate=$name-green
trap roll_back EXIT
trap 'exit 1' INT TERM
# A deployment that was killed may have left the proxy with a configuration that it has not read.
[[ -z $old ]] || point_to "$old"
say "starting $image as $candidate beside ${old:-nothing}"
start "$candidate"
wait_until_ready "$candidate"
docker exec --interactive "$candidate" python - <"$here/ask_golden.py" || fail "$image does not answer as recorded"
switched=yes
point_to "$candidate"
wait_for_switch "$candidate"
watch_it "$candidate"
drain
# It stays as a stopped container until the next deployment, for its logs.
[[ -z $old ]] || docker stop -t 60 "$old" >/dev/null || say "$old could not be stopped; it gets no requests" >&2
say "$candidate serves $image"
