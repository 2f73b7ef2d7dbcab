#!/usr/bin/env bash
# Downloads the TensorRT-RTX libraries for this version of beamflow into a folder:
#   scripts/fetch-tensorrt-rtx.sh FOLDER
# The libraries are then in FOLDER/tensorrt_rtx_libs, together with NVIDIA's licence.
set -euo pipefail
version=1.7.1.116
folder=${1:?"usage: $0 FOLDER"}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
python3 -m pip download --quiet --no-deps --dest "$wheels" "tensorrt-rtx-cu13-libs==$version"
mkdir -p "$folder"
python3 -m zipfile -e "$wheels"/*.whl "$folder"
