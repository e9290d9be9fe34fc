#!/usr/bin/env bash
# Roll an image of the service out to the cluster that kubectl points to, wait for it, and ask a pod its golden rows:
#   deploy/eks/deploy.sh production 123456789012.dkr.ecr.eu-central-1.amazonaws.com/updraft-serving@sha256:...
# With --render as third argument it prints the manifests instead. Whatever fails, the former version is rolled back.
set -euo pipefail

overlay=${1:-} image=${2:-} mode=${3:-}
timeout=${ROLLOUT_TIMEOUT:-10m}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "deploy: $*" >&2; exit 1; }

[[ $overlay =~ ^[a-z0-9-]+$ && -d $here/overlays/$overlay ]] ||
    fail "${overlay:-nothing}: expected one of $(cd "$here/overlays" && echo *)"
[[ $image =~ ^[a-z0-9./:_-]+@sha256:[0-9a-f]{64}$ ]] ||
    fail "${image:-nothing}: expected IMAGE@sha256:<64 hexadecimal digits>: a tag may mean another image tomorrow"
[[ -z $mode || $mode == --render ]] || fail "$mode: expected --render or nothing"

# An overlay on the overlay, in a copy: the repository stays as it is.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$here" "$work/eks"
named=$(kubectl kustomize "$work/eks/overlays/$overlay" | sed -n 's/^ *image: \(.*\)@sha256:.*/\1/p')
mkdir "$work/release"
cat >"$work/release/kustomization.yaml" <<EOF
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../eks/overlays/$overlay]
images: [{name: "$named", newName: "${image%@*}", digest: "${image#*@}"}]
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
kubectl exec --stdin deployment/serving --namespace "$namespace" -- python - <"$here/../ask_golden.py" ||
    roll_back 'it does not answer as recorded'
