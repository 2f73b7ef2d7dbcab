#!/usr/bin/env bash
# The whole pipeline on simulated frames, in a cluster of its own on this machine:
#
#   scripts/quick-start.sh [--dry-run] [--keep]
#
# It makes a cluster with kind or k3d, installs Numaflow, builds the image, deploys k8s/overlays/laptop, waits until frames are
# answered, and prints the address of the status page. Ctrl-C ends it and removes the cluster, whatever went before; with --keep the
# cluster stays, and `kind delete cluster --name beamflow` or `k3d cluster delete beamflow` removes it. --dry-run prints every
# command and runs none.
#
# It needs Docker, kind or k3d, kubectl 1.27 or later, 2 cores, 4 GiB of memory, 10 GB of disk, and a network. The first time takes
# about 15 minutes, nearly all of it for the image.
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=beamflow
namespace=beamline
image=beamflow:0.1.0
numaflow=v1.8.3
manifest=https://github.com/numaproj/numaflow/releases/download/$numaflow/install.yaml

dry=
keep=
for argument in "$@"; do
    case $argument in
        --dry-run) dry=yes ;;
        --keep) keep=yes ;;
        *)
            echo "usage: $0 [--dry-run] [--keep]" >&2
            exit 64
            ;;
    esac
done

fail() {
    echo "quick-start: $*" >&2
    exit 1
}

# Prints a command, and runs it unless this is a dry run.
run() {
    printf '+ %s\n' "$*"
    [ -n "$dry" ] || "$@"
}

has() {
    command -v "$1" >/dev/null
}

if has kind; then
    kind=kind
elif has k3d; then
    kind=k3d
elif [ -n "$dry" ]; then
    kind=kind
else
    fail "neither kind nor k3d is installed; see https://kind.sigs.k8s.io or https://k3d.io"
fi
for tool in docker kubectl; do
    [ -n "$dry" ] || has "$tool" || fail "$tool is not installed"
done

# The commands of the two kinds of cluster.
exists() {
    case $kind in
        kind) kind get clusters 2>/dev/null | grep -qx "$cluster" ;;
        k3d) k3d cluster get "$cluster" >/dev/null 2>&1 ;;
    esac
}
create() {
    case $kind in
        kind) run kind create cluster --name "$cluster" --wait 3m ;;
        k3d) run k3d cluster create "$cluster" --wait --timeout 3m ;;
    esac
}
load() {
    case $kind in
        kind) run kind load docker-image "$image" --name "$cluster" ;;
        k3d) run k3d image import "$image" --cluster "$cluster" ;;
    esac
}
delete() {
    case $kind in
        kind) run kind delete cluster --name "$cluster" ;;
        k3d) run k3d cluster delete "$cluster" ;;
    esac
}

# kubectl for this cluster alone, whatever the current context is.
kube() {
    local context=$kind-$cluster
    run kubectl --context "$context" "$@"
}

# The sidecar's pod, or nothing.
pod() {
    kubectl --context "$kind-$cluster" --namespace "$namespace" get pods --output name \
        --selector numaflow.numaproj.io/pipeline-name=ptychography,numaflow.numaproj.io/vertex-name=reconstruct |
        head -n 1
}

# Frames that the sidecar has answered, by its metrics.
answered() {
    kubectl --context "$kind-$cluster" get --raw "/api/v1/namespaces/$namespace/pods/${1#pod/}:9100/proxy/metrics" 2>/dev/null |
        sed -n 's/^beamflow_frames_completed_total{.*outcome="done".*} \([0-9]*\).*$/\1/p'
}

wait_for_frames() {
    echo "+ wait until frames are answered, for at most 10 minutes"
    [ -z "$dry" ] || return 0
    local found frames
    for _ in $(seq 120); do
        found=$(pod || true)
        frames=$([ -z "$found" ] || answered "$found" || true)
        if [ "${frames:-0}" -gt 0 ]; then
            echo "$frames frames are answered."
            return 0
        fi
        sleep 5
    done
    kubectl --context "$kind-$cluster" --namespace "$namespace" get pods >&2 || true
    fail "no frame was answered within 10 minutes; docs/troubleshooting.md goes from what the pods show to the remedy"
}

[ -n "$dry" ] || ! exists || fail "there is a cluster named $cluster already; remove it, or deploy into it: docs/operations.md"

run docker build --tag "$image" .

if [ -z "$keep" ]; then
    trap delete EXIT
    trap 'exit 130' INT TERM
fi
create
load
kube create namespace numaflow-system
# Numaflow's definitions are too large for a client-side apply.
kube apply --namespace numaflow-system --server-side --filename "$manifest"
kube --namespace numaflow-system rollout status deployment/numaflow-controller --timeout 5m
kube create namespace "$namespace"
kube apply --namespace "$namespace" --kustomize k8s/overlays/laptop
wait_for_frames

if [ -n "$dry" ]; then
    found=pod/NAME
else
    found=$(pod)
fi
echo "The status page: http://localhost:9100. Ctrl-C ends this${keep:+; the cluster stays}."
kube --namespace "$namespace" port-forward "$found" 9100
