#!/usr/bin/env bash
# Downloads the TensorRT-RTX libraries for this version of beamflow into a folder:
#   scripts/fetch-tensorrt-rtx.sh FOLDER
# The libraries are then in FOLDER/tensorrt_rtx_libs, together with NVIDIA's licence. Version and hashes are in tensorrt-rtx.txt.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:?"usage: $0 FOLDER"}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes --dest "$wheels" -r "$here/tensorrt-rtx.txt"
mkdir -p "$folder"
python3 -m zipfile -e "$wheels"/*.whl "$folder"
