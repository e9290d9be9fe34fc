#!/usr/bin/env bash
# Print what images are built on by its digest, such as python:3.11-slim-bookworm@sha256:…: PYTHON_IMAGE, or else what the
# Dockerfile names. What has a digest already stays as it is; for another the registry is asked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "base_image: $*" >&2; exit 1; }

image=${PYTHON_IMAGE:-$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)}
if [[ $image == *@* ]]; then
    [[ $image =~ ^[^@[:space:]]+@sha256:[0-9a-f]{64}$ ]] ||
        fail "PYTHON_IMAGE: $image: expected a digest of 64 hexadecimal digits after @sha256:"
    echo "$image"
    exit 0
fi
answer=$(docker buildx imagetools inspect "$image" 2>&1) || fail "PYTHON_IMAGE: $image: $answer"
digest=$(sed -n 's/^Digest: *//p' <<<"$answer") # of what the tag names; those of platforms are indented
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "PYTHON_IMAGE: $image: the registry's answer has no digest: $answer"
echo "$image@$digest"
