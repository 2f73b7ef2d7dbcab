#!/usr/bin/env bash
# Downloads onnxruntime with its CUDA provider, CUDA 13 and cuDNN 9 into a folder (1.5 GB, 2.1 GB unpacked):
#   scripts/fetch-onnxruntime-cuda.sh FOLDER
# Then, with a driver for CUDA 13 (580 or later):
#   export ORT_DYLIB_PATH=FOLDER/libonnxruntime.so LD_LIBRARY_PATH=FOLDER
# The licences of the packages are in FOLDER/licences.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:?"usage: $0 FOLDER"}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
# The libraries do not depend on the version of Python that the wheel is for.
python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes --dest "$wheels" \
    --python-version 3.12 --implementation cp --abi cp312 --abi none \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -r "$here/onnxruntime-cuda.txt"
mkdir -p "$folder/licences"
for wheel in "$wheels"/*.whl; do
    python3 - "$wheel" "$folder" <<'END'
import pathlib, shutil, sys, zipfile

wheel, folder = zipfile.ZipFile(sys.argv[1]), pathlib.Path(sys.argv[2])
# The Python module, other providers, and libraries that nothing here opens.
UNUSED = "pybind11", "tensorrt", "nvblas", "cufftw", ".alt."
package = pathlib.Path(sys.argv[1]).name.split("-")[0]
for name in wheel.namelist():
    path = pathlib.PurePosixPath(name)
    if ".so" in path.name and not any(word in path.name for word in UNUSED):
        target = folder / path.name
    elif path.name.lower().startswith(("license", "thirdpartynotices")):
        target = folder / "licences" / f"{package}-{path.name}"
    else:
        continue
    with wheel.open(name) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
END
    rm "$wheel"
done
ln -sf libonnxruntime.so.1.31.1 "$folder/libonnxruntime.so"
