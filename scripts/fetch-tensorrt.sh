#!/usr/bin/env bash
# Downloads TensorRT 11.4 from NVIDIA's Python index into a folder (several GB):
#   scripts/fetch-tensorrt.sh FOLDER
# On PyPI the package is only a stub, which fetches the libraries from the same index. NVIDIA publishes no hashes that could be
# written down here. NVIDIA's licence applies, and is in FOLDER/licences.
set -euo pipefail
version=11.4.0.106
index=https://pypi.nvidia.com
folder=${1:?"usage: $0 FOLDER"}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$wheels" --index-url "$index" "tensorrt-cu13-libs==$version"
mkdir -p "$folder/licences"
python3 - "$wheels" "$folder" <<'END'
import pathlib, shutil, sys, zipfile

wheels, folder = map(pathlib.Path, sys.argv[1:])
for wheel in wheels.glob("*.whl"):
    archive = zipfile.ZipFile(wheel)
    for name in archive.namelist():
        path = pathlib.PurePosixPath(name)
        if ".so" in path.name:
            target = folder / path.name
        elif "licen" in path.name.lower():
            target = folder / "licences" / path.name
        else:
            continue
        with archive.open(name) as source, open(target, "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
END
