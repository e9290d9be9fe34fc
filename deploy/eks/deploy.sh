#!/usr/bin/env bash
# Roll the images of a release, of the service and of its shipper, out to the cluster that kubectl points to, wait for them,
# and ask a pod its golden rows:
#   images=123456789012.dkr.ecr.eu-central-1.amazonaws.com/updraft-serving
#   deploy/eks/deploy.sh production $images@sha256:... $images@sha256:...
# With --render as fourth argument it prints the manifests instead. Whatever fails, the former version is rolled back.
set -euo pipefail

overlay=${1:-} image=${2:-} shipper=${3:-} mode=${4:-}
timeout=${ROLLOUT_TIMEOUT:-10m}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "deploy: $*" >&2; exit 1; }

[[ $overlay =~ ^[a-z0-9-]+$ && -d $here/overlays/$overlay ]] ||
    fail "${overlay:-nothing}: expected one of $(cd "$here/overlays" && echo *)"
for name in "$image" "$shipper"; do
    [[ $name =~ ^[a-z0-9./:_-]+@sha256:[0-9a-f]{64}$ ]] ||
        fail "${name:-nothing}: expected IMAGE@sha256:<64 hexadecimal digits>: a tag may mean another image tomorrow"
done
[[ $image != "$shipper" ]] || fail "$image: expected two images, of the service and of its shipper"
[[ -z $mode || $mode == --render ]] || fail "$mode: expected --render or nothing"

# An overlay on the overlay, in a copy: the repository stays as it is.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$here" "$work/eks"
mkdir "$work/release"
cat >"$work/release/kustomization.yaml" <<EOF
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../eks/overlays/$overlay]
patches:
  - target: {kind: Deployment, name: serving}
    patch: |
      - {op: test, path: /spec/template/spec/containers/0/name, value: serving}
      - {op: test, path: /spec/template/spec/initContainers/0/name, value: shipper}
      - {op: replace, path: /spec/template/spec/containers/0/image, value: "$image"}
      - {op: replace, path: /spec/template/spec/initContainers/0/image, value: "$shipper"}
EOF
if [[ $mode == --render ]]; then
    kubectl kustomize "$work/release"
    exit
fi

namespace=$(kubectl kustomize "$work/release" | sed -n 's/^  namespace: //p' | sort -u)
before=$(kubectl get deployment serving --namespace "$namespace" --ignore-not-found --output jsonpath='{.metadata.name}')
roll_back() {
    [[ -n $before ]] || fail "$*; there is no former version"
    kubectl rollout undo deployment/serving --namespace "$namespace" >&2
    kubectl rollout status deployment/serving --namespace "$namespace" --timeout "$timeout" >&2
    fail "$*; rolled back"
}
kubectl apply --kustomize "$work/release"
kubectl rollout status deployment/serving --namespace "$namespace" --timeout "$timeout" || roll_back 'it did not become ready'
kubectl exec --stdin deployment/serving --namespace "$namespace" --container serving -- python - <"$here/../ask_golden.py" ||
    roll_back 'it does not answer as recorded'
