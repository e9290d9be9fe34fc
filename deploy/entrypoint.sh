#!/bin/sh
# Turn the settings that the `secrets` service wrote into environment variables, then run the command.
# What is set already stays.
set -eu
if [ -r /run/updraft/env ]; then
    while IFS= read -r line; do
        printenv "${line%%=*}" >/dev/null || export "$line"
    done </run/updraft/env
fi
exec "$@"
