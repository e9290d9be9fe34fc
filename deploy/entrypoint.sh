#!/bin/sh
# Turn the settings that the `secrets` service wrote into environment variables, then run the command.
# What is set already stays.
set -eu
if [ -d /run/updraft ]; then
    [ -r /run/updraft/env ] || { echo "/run/updraft/env: user $(id -u) cannot read it" >&2; exit 1; }
    while IFS= read -r line; do
        # shellcheck disable=SC2163  # the line is NAME=value
        printenv "${line%%=*}" >/dev/null || export "$line"
    done </run/updraft/env
fi
exec "$@"
