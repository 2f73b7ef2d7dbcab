#!/bin/sh
# Builds the two stand-ins, and the check of the driver's: build.sh HEADERS_DIR OUT_DIR
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

flags="-std=c++17 -O1 -Wall -Wextra -fPIC -fvisibility=hidden -pthread"
units_of_driver="cuda cuda_work cuda_graph stream report"
units_of_tensorrt="nvinfer engine context plan"
for unit in $units_of_driver $units_of_tensorrt check; do
    echo "$here/$unit.cpp"
done | xargs -P "$(nproc)" -I{} sh -c \
    "\${CXX:-c++} $flags -isystem '$headers' -isystem '$headers/..' -c {} -o '$work/'\$(basename {} .cpp).o"

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
