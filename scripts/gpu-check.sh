#!/usr/bin/env bash
# Checks beamflow with TensorRT-RTX on a machine with a card that it supports (compute capability 7.5, 8.x, 12.x):
#
#   scripts/gpu-check.sh [OUT]        OUT is the folder for report.md and report.json; default: gpu-report
#
# The script builds the program and the GPU tests, downloads TensorRT-RTX unless TENSORRT_PATH is set, and builds engines
# of the project's own model. Then it runs the tests, the engine bench, the three modes and, if it is installed,
# compute-sanitizer. Every part has a time limit. If a part fails, the others still run, and the exit code is 1.
# For other cards, and for the CUDA code alone: scripts/gpu-kit.sh.
#
# It needs Rust with libclang and a C++ compiler, and pip for Python 3. On a machine without them, set BEAMFLOW and
# GPU_TESTS to a program and a test program that were built elsewhere, and TENSORRT_PATH to the folder of the libraries:
#   cargo build --profile dist --features tensorrt-rtx
#   cargo test --profile dist --features tensorrt-rtx --test gpu --no-run
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=gpu-report.sh
. "$root/scripts/gpu-report.sh"
for name in BEAMFLOW GPU_TESTS TENSORRT_PATH; do
    [ -z "${!name:-}" ] || export "$name=$(realpath "${!name}")"
done
if [ -z "${BEAMFLOW:-}" ] || [ -z "${GPU_TESTS:-}" ]; then
    command -v cargo >/dev/null || { echo "$0: cargo is missing; install Rust, or set BEAMFLOW and GPU_TESTS" >&2; exit 64; }
fi
out=$(realpath -m "${1:-gpu-report}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root" || exit 1
report_begin "$out" "beamflow with TensorRT-RTX on a card"

if [ -z "${BEAMFLOW:-}" ]; then
    part 3600 "Building" cargo build --profile dist --locked --features tensorrt-rtx
    export BEAMFLOW=$root/target/dist/beamflow
fi
if [ -z "${TENSORRT_PATH:-}" ]; then
    export TENSORRT_PATH=$root/target/tensorrt-rtx/tensorrt_rtx_libs
    [ -d "$TENSORRT_PATH" ] || part 900 "Fetching TensorRT-RTX" scripts/fetch-tensorrt-rtx.sh "$root/target/tensorrt-rtx"
fi
cd "$work" || exit 1

bench() {
    "$BEAMFLOW" bench-engine "$1.engine" --lanes 4 --batches 2000 --output-size 64x64 --json "$1.json" && cp "$1.json" "$FIGURES"
}
export -f bench
for precision in fp32 fp16; do
    part 600 "Engine, $precision" "$BEAMFLOW" build-engine "$root/models/ptychonn_64.onnx" -o $precision.engine --batch 8 --precision $precision
    part 120 "Inspection, $precision" "$BEAMFLOW" inspect $precision.engine
    part 300 "Engine bench, $precision" bash -c "bench $precision"
    part 300 "The three modes, $precision" bash -c "modes $precision.engine $precision.json ${FRAMES:-50000}"
done

if [ -n "${GPU_TESTS:-}" ]; then
    part 900 "GPU tests" env -C "$root" "$GPU_TESTS" --ignored --nocapture --test-threads 1 gpu
else
    part 3600 "GPU tests" cargo test --manifest-path "$root/Cargo.toml" --profile dist --locked --features tensorrt-rtx --test gpu -- \
        --ignored --nocapture --test-threads 1 gpu
fi

if command -v compute-sanitizer >/dev/null; then
    part 600 "compute-sanitizer" compute-sanitizer --error-exitcode 1 "$BEAMFLOW" bench-engine fp32.engine --lanes 2 --batches 20
else
    left_out "compute-sanitizer" "it is not installed"
fi
report_end
