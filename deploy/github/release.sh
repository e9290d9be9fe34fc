#!/usr/bin/env bash
# Build the images of a release, push them, and print each of them by its digest, as deploy/ec2 and deploy/eks take it:
#   deploy/github/release.sh v1.4.0 123456789012.dkr.ecr.eu-central-1.amazonaws.com/updraft
#   REGISTRY_USER=… REGISTRY_TOKEN=… deploy/github/release.sh v1.4.0 docker.io/my-organization/updraft
# They are PREFIX-airflow and PREFIX-serving with the release as their tag, and of the latter -slim and -shipper. It can be
# repeated: what a registry has stays as it is. IMAGES="serving shipper" takes some of them. PYTHON_IMAGE names what they
# are built on, by a tag or a digest; a tag's digest is looked up once, for all of them.
set -euo pipefail

release=${1:-} prefix=${2:-}
images=${IMAGES:-airflow serving slim shipper}
commit=${GITHUB_SHA:-$(git rev-parse HEAD)}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "release: $*" >&2; exit 1; }

[[ $release =~ ^v[0-9]+\.[0-9]+\.[0-9]+([.-][0-9A-Za-z.-]+)?$ ]] || fail "${release:-nothing}: expected a release such as v1.4.0"
[[ $prefix =~ ^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+$ ]] ||
    fail "${prefix:-nothing}: expected where the images lie, such as docker.io/my-organization/updraft"
for name in $images; do
    [[ $name =~ ^(airflow|serving|slim|shipper)$ ]] || fail "IMAGES: $name: expected airflow, serving, slim or shipper"
done
registry=${prefix%%/*}

log_in() {
    if [[ $registry =~ ^[0-9]{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$ ]]; then
        aws ecr get-login-password --region "${BASH_REMATCH[1]}" |
            docker login --username AWS --password-stdin "$registry"
    elif [[ -n ${REGISTRY_TOKEN:-} ]]; then
        docker login --username "${REGISTRY_USER:?is not set}" --password-stdin "$registry" <<<"$REGISTRY_TOKEN"
    fi
}

# Print a pushed image's digest, or nothing where the registry has no such tag.
digest_of() {
    local answer
    if answer=$(docker buildx imagetools inspect "$1" 2>&1); then
        sed -n 's/^Digest: *//p' <<<"$answer" # of what the tag names; those of platforms are indented
    elif [[ ${answer,,} != *'not found'* ]]; then
        fail "$1: $answer"
    fi
}

# A builder in a container, as `docker buildx create --use` makes one, can say where an image comes from, and what is in it.
attest=()
if docker buildx inspect 2>/dev/null | grep -q '^Driver: *docker-container$'; then
    attest=(--provenance=mode=max --sbom=true)
fi

report() {
    echo "$1"
    [[ -z ${GITHUB_STEP_SUMMARY:-} ]] || echo "- $1" >>"$GITHUB_STEP_SUMMARY"
}

base=
find_base() {
    [[ -z $base ]] || return 0
    base=$(deploy/github/base_image.sh) || exit 1
    report "base: $base"
}

build_and_push() {
    local image=$1 of=org.opencontainers.image
    shift
    docker buildx build --quiet --push --tag "$image" "${attest[@]}" \
        --build-arg "UPDRAFT_COMMIT=$commit" --build-arg "PYTHON_IMAGE=$base" \
        --label "$of.revision=$commit" --label "$of.version=$release" \
        --label "$of.base.name=${base%@*}" --label "$of.base.digest=${base#*@}" "$@" . >&2
}

log_in >&2
for name in $images; do
    case $name in
        airflow) image=$prefix-airflow:$release; arguments=() ;;
        serving) image=$prefix-serving:$release; arguments=(--file serving/Dockerfile --target serving-full) ;;
        slim) image=$prefix-serving:$release-slim; arguments=(--file serving/Dockerfile --target serving) ;;
        shipper) image=$prefix-serving:$release-shipper; arguments=(--file serving/Dockerfile --target shipper) ;;
    esac
    digest=$(digest_of "$image")
    if [[ -n $digest ]]; then
        echo "release: $image is there already" >&2
    else
        find_base
        echo "release: $image is built and pushed" >&2
        build_and_push "$image" "${arguments[@]}" || fail "$image could not be built, or pushed"
        digest=$(digest_of "$image")
        [[ -n $digest ]] || fail "$image was pushed, and the registry does not have it"
    fi
    report "$name: ${image%:*}@$digest"
done
