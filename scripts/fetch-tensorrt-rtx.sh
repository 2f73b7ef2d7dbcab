#!/usr/bin/env bash
# Fetches the TensorRT-RTX libraries that this version of beamflow is made for into a folder:
#   scripts/fetch-tensorrt-rtx.sh FOLDER
# The libraries lie in FOLDER/tensorrt_rtx_libs then; NVIDIA's licence beside them.
set -euo pipefail
version=1.7.1.116
folder=${1:?"usage: $0 FOLDER"}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
python3 -m pip download --quiet --no-deps --dest "$wheels" "tensorrt-rtx-cu13-libs==$version"
mkdir -p "$folder"
python3 -m zipfile -e "$wheels"/*.whl "$folder"
