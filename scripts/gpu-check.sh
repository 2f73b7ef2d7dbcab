#!/usr/bin/env bash
# Checks beamflow with a real model on a machine with an NVIDIA card:
#
#   scripts/gpu-check.sh [OUT]                  TensorRT-RTX: compute capability 7.5, 8.x, 12.x
#   scripts/gpu-check.sh --onnxruntime [OUT]    onnxruntime's CUDA provider: every card that CUDA 13 runs on
#
# OUT is the folder for report.md and report.json; default: gpu-report. The script builds the program and the GPU tests.
# It runs the tests, the engine bench, the three modes and, if it is installed, compute-sanitizer, with the project's own
# model and with those in MODELS (.onnx files, separated by spaces). Every part has a time limit. If a part fails, the
# others still run, and the exit code is 1. For the CUDA code alone: scripts/gpu-kit.sh.
#
# It needs Rust with libclang and a C++ compiler. TensorRT-RTX is downloaded with pip unless TENSORRT_PATH is set.
# --onnxruntime needs ORT_DYLIB_PATH, the path of the library of onnxruntime-gpu, and CUDA 13 and cuDNN 9 on the library
# path. On a machine without Rust, set BEAMFLOW and GPU_TESTS to a program and a test program that were built elsewhere:
#   cargo build --profile dist --features tensorrt-rtx
#   cargo test --profile dist --features tensorrt-rtx --test gpu --no-run
# or, for onnxruntime, with --features onnxruntime and --test gpu_onnxruntime.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=gpu-report.sh
. "$root/scripts/gpu-report.sh"
engine=tensorrt-rtx tests=gpu title=TensorRT-RTX
if [ "${1:-}" = --onnxruntime ]; then
    engine=onnxruntime tests=gpu_onnxruntime title="onnxruntime's CUDA provider"
    shift
    [ -n "${ORT_DYLIB_PATH:-}" ] || { echo "$0: set ORT_DYLIB_PATH to libonnxruntime.so of onnxruntime-gpu" >&2; exit 64; }
fi
for name in BEAMFLOW GPU_TESTS TENSORRT_PATH ORT_DYLIB_PATH; do
    [ -z "${!name:-}" ] || export "$name=$(realpath "${!name}")"
done
# TensorRT-RTX refuses these cards when it opens an engine, so nothing below would pass.
card=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1)
case $engine/$card in
tensorrt-rtx/9.* | tensorrt-rtx/10.*)
    echo "$0: TensorRT-RTX does not support compute capability $card: use --onnxruntime" >&2
    exit 1
    ;;
esac
if [ -z "${BEAMFLOW:-}" ] || [ -z "${GPU_TESTS:-}" ]; then
    command -v cargo >/dev/null || { echo "$0: cargo is missing; install Rust, or set BEAMFLOW and GPU_TESTS" >&2; exit 64; }
fi
out=$(realpath -m "${1:-gpu-report}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root" || exit 1
report_begin "$out" "beamflow with $title on a card"

if [ -z "${BEAMFLOW:-}" ]; then
    part 3600 "Building" cargo build --profile dist --locked --features $engine
    export BEAMFLOW=$root/target/dist/beamflow
fi
if [ $engine = tensorrt-rtx ] && [ -z "${TENSORRT_PATH:-}" ]; then
    export TENSORRT_PATH=$root/target/tensorrt-rtx/tensorrt_rtx_libs
    [ -d "$TENSORRT_PATH" ] || part 900 "Fetching TensorRT-RTX" scripts/fetch-tensorrt-rtx.sh "$root/target/tensorrt-rtx"
fi
cd "$work" || exit 1

# The model, the flags of the engine, and its name in the report.
bench() {
    "$BEAMFLOW" bench-engine "$1" $2 --lanes 4 --batches "${BATCHES:-2000}" --output-size 64x64 --json "$3.json" && cp "$3.json" "$FIGURES"
}
modes_of() {
    SERVE_FLAGS=$2 modes "$1" "$3.json" "${FRAMES:-50000}" $4
}
export -f bench modes_of

# measure MODEL PRECISION…: benches a model and the three modes with it.
measure() {
    local model=$1 precision name file flags frames
    shift
    for precision in "$@"; do
        name=$(basename "$model" .onnx)-$precision
        if [ $engine = onnxruntime ]; then
            file=$model flags="--device onnxruntime-cuda --precision $precision"
        else
            file=$name.engine flags=
            part 600 "Engine, $name" "$BEAMFLOW" build-engine "$model" -o "$file" --batch 8 --precision $precision
            part 120 "Inspection, $name" "$BEAMFLOW" inspect "$file"
        fi
        part 300 "Engine bench, $name" bash -c "bench '$file' '$flags' $name"
        # The simulator's frames are 64 x 64.
        frames=
        [ ! -e "${model%.onnx}.npy" ] || frames="--frames ${model%.onnx}.npy"
        part 300 "The three modes, $name" bash -c "modes_of '$file' '$flags' $name '$frames'"
    done
}
for model in "$root/models/ptychonn_64.onnx" ${MODELS:-}; do
    measure "$(realpath "$model")" fp32 tf32 fp16
done

if [ -n "${GPU_TESTS:-}" ]; then
    part 900 "GPU tests" env -C "$root" "$GPU_TESTS" --ignored --nocapture --test-threads 1 gpu_
else
    part 3600 "GPU tests" cargo test --manifest-path "$root/Cargo.toml" --profile dist --locked --features $engine --test $tests -- \
        --ignored --nocapture --test-threads 1 gpu_
fi

if command -v compute-sanitizer >/dev/null; then
    file=ptychonn_64-fp32.engine flags=
    [ $engine = tensorrt-rtx ] || file=$root/models/ptychonn_64.onnx flags="--device onnxruntime-cuda"
    part 600 "compute-sanitizer" compute-sanitizer --error-exitcode 1 "$BEAMFLOW" bench-engine "$file" $flags --lanes 2 --batches 20
else
    left_out "compute-sanitizer" "it is not installed"
fi
report_end
