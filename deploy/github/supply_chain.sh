#!/usr/bin/env bash
# Write what each image is made of as CycloneDX, and ask PyPI whether a vulnerability of it is known:
#   deploy/github/supply_chain.sh sbom
# Both read the locks, which name every package with its hashes. A package that could not be looked up is a failure, too.
set -euo pipefail

out=${1:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=$root/.venv/bin

[[ -n $out ]] || { echo 'supply_chain: expected the folder to write to' >&2; exit 1; }
[[ -x $bin/pip-audit ]] || { echo "supply_chain: no .venv: run 'make venv' first" >&2; exit 1; }
mkdir -p "$out"
failed=0
for lock in requirements.txt serving/requirements.txt serving/requirements-full.txt serving/requirements-shipper.txt; do
    name=${lock%.txt}
    "$bin/cyclonedx-py" requirements "$root/$lock" --of JSON --output-reproducible -o "$out/${name//\//-}.cdx.json"
    [[ ${AUDIT:-on} == off ]] || "$bin/pip-audit" --strict --disable-pip --require-hashes --requirement "$root/$lock" || failed=1
done
exit "$failed"
