#!/usr/bin/env bash
# Downloads the TensorRT-RTX libraries for this version of beamflow into a folder:
#   scripts/fetch-tensorrt-rtx.sh FOLDER [cu13|cu12]
# cu13, the default, needs driver 580 or later. cu12 is made with CUDA 12 and runs on drivers of CUDA 12 as well.
# The libraries are then in FOLDER/tensorrt_rtx_libs, together with NVIDIA's licence. Version and hashes are in
# tensorrt-rtx.txt and tensorrt-rtx-cu12.txt.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage="usage: $0 FOLDER [cu13|cu12]"
folder=${1:?"$usage"}
case ${2:-cu13} in
cu13) wheel=$here/tensorrt-rtx.txt ;;
cu12) wheel=$here/tensorrt-rtx-cu12.txt ;;
*) echo "$usage" >&2; exit 64 ;;
esac
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes --dest "$wheels" -r "$wheel"
mkdir -p "$folder"
python3 -m zipfile -e "$wheels"/*.whl "$folder"
