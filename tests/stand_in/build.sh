#!/bin/sh
# Builds the two stand-ins, the check of the driver's, and the probe: build.sh HEADERS_DIR OUT_DIR
# Needs a C++ compiler (CXX, or c++) and clang 14 or later for the kernels (CLANG, or clang); no CUDA toolkit.
# HEADERS_DIR is a folder of TensorRT headers. Those of TensorRT for RTX make libtensorrt_rtx.so.1,
# those of TensorRT make libnvinfer.so. cuda_runtime_api.h is looked for there and one folder up.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: build.sh HEADERS_DIR OUT_DIR" >&2
    exit 64
fi
here=$(cd "$(dirname "$0")" && pwd)
headers=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

version() { sed -n "s/^#define TRT_$1_[A-Z]* \([0-9]*\).*/\1/p" "$headers/NvInferVersion.h"; }
if grep -q TRT_MAJOR_RTX "$headers/NvInferVersion.h"; then
    name=libtensorrt_rtx.so
else
    name=libnvinfer.so
fi
major=$(version MAJOR)
full=$name.$major.$(version MINOR).$(version PATCH)

# The kernels as PTX for cards of compute capability 7.5 and later, in a C string.
clang=${CLANG:-clang}
if ! command -v "$clang" >/dev/null; then
    echo "build.sh: $clang is missing; it makes the kernels' PTX: install clang, or name one with CLANG" >&2
    exit 1
fi
"$clang" -x cuda --cuda-gpu-arch=sm_75 --cuda-device-only -nocudainc -nocudalib -std=c++17 -O2 \
    -S -o "$work/kernels.ptx" "$here/kernels.cu"
{
    echo 'static char const KERNELS_PTX[] = R"PTX('
    cat "$work/kernels.ptx"
    echo ')PTX";'
} >"$work/kernels.ptx.h"

flags="-std=c++17 -O1 -Wall -Wextra -fPIC -fvisibility=hidden -pthread"
units_of_driver="cuda cuda_work cuda_graph cuda_kernels stream report"
units_of_tensorrt="nvinfer engine context launch plan"
for unit in $units_of_driver $units_of_tensorrt check probe; do
    echo "$here/$unit.cpp"
done | xargs -P "$(nproc)" -I{} sh -c \
    "\${CXX:-c++} $flags -I '$work' -isystem '$headers' -isystem '$headers/..' -c {} -o '$work/'\$(basename {} .cpp).o"

# Only the C functions are for others to see.
echo '{ global: cu*; stand_in_*; createInfer*; getInferLib*; local: *; };' >"$work/exports"

# -z nodelete: a program that closes a library and opens it again keeps its state and its threads.
link() {
    library=$1
    shift
    objects=
    for unit in "$@"; do objects="$objects $work/$unit.o"; done
    ${CXX:-c++} -shared -pthread -Wl,-z,nodelete -Wl,-z,defs \
        -Wl,--version-script="$work/exports" -Wl,-soname,"$library" \
        -o "$out/$library" $objects -ldl
}
link libcuda.so.1 $units_of_driver
link "$name.$major" $units_of_tensorrt
# The name that a program may try first: a real driver's must not be found before the stand-in.
ln -sf libcuda.so.1 "$out/libcuda.so"
ln -sf "$name.$major" "$out/$full"
ln -sf "$name.$major" "$out/$name"
${CXX:-c++} -pthread -o "$out/check" "$work/check.o" -L "$out" -l:libcuda.so.1
${CXX:-c++} -o "$out/probe" "$work/probe.o" -ldl
