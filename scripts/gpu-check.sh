#!/usr/bin/env bash
# Checks beamflow on a machine with an NVIDIA GPU and writes a report:
#   scripts/gpu-check.sh [REPORT]        (gpu-report.md if not given)
#
# Builds the program and the GPU tests, fetches TensorRT-RTX if TENSORRT_PATH does not name its folder, builds
# engines of the project's own model, runs the tests, the engine bench and the three modes, and, where it is
# installed, compute-sanitizer. Goes on after a failure, notes it in the report, and ends with code 1 then.
#
# BEAMFLOW and GPU_TESTS name a program and a test program built elsewhere, for machines without Rust:
#   cargo build --release --features tensorrt-rtx
#   cargo test --release --features tensorrt-rtx --test gpu --no-run
set -uo pipefail
# Needs Rust with libclang and a C++ compiler, unless BEAMFLOW and GPU_TESTS are given; and pip for Python 3, unless
# TENSORRT_PATH is given or the libraries have been fetched before.
root=$(cd "$(dirname "$0")/.." && pwd)
[ -z "${BEAMFLOW:-}" ] || BEAMFLOW=$(realpath "$BEAMFLOW")
[ -z "${GPU_TESTS:-}" ] || GPU_TESTS=$(realpath "$GPU_TESTS")
[ -z "${TENSORRT_PATH:-}" ] || TENSORRT_PATH=$(realpath "$TENSORRT_PATH")
if [ -z "${BEAMFLOW:-}" ] || [ -z "${GPU_TESTS:-}" ]; then
    command -v cargo >/dev/null || { echo "$0: cargo is missing; install Rust, or give BEAMFLOW and GPU_TESTS" >&2; exit 64; }
fi
report=$(realpath -m "${1:-gpu-report.md}")
cd "$root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

note() { printf '%s\n' "$@" >>"$report"; }

# part TITLE COMMAND…: runs the command, shows its output, and puts both into the report.
part() {
    local title=$1
    shift
    printf '\n== %s\n' "$title"
    note "" "## $title" "" '```text' "\$ ${*//$work/.}"
    if "$@" >"$work/output" 2>&1; then
        status=0
    else
        status=$?
        failures=$((failures + 1))
    fi
    tee -a "$report" <"$work/output"
    [ "$status" = 0 ] || note "(exit code $status)"
    note '```'
}

: >"$report"
card="no nvidia-smi here"
if command -v nvidia-smi >/dev/null; then
    card=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader)
fi
note "# beamflow on a GPU" "" "$(date -u +%Y-%m-%d), $card"

if [ -z "${BEAMFLOW:-}" ]; then
    part "Building" cargo build --release --locked --features tensorrt-rtx
    BEAMFLOW=$root/target/release/beamflow
fi
if [ -z "${TENSORRT_PATH:-}" ]; then
    TENSORRT_PATH=$root/target/tensorrt-rtx/tensorrt_rtx_libs
    [ -d "$TENSORRT_PATH" ] || part "Fetching TensorRT-RTX" scripts/fetch-tensorrt-rtx.sh "$root/target/tensorrt-rtx"
fi
export TENSORRT_PATH

model=$root/models/ptychonn_64.onnx
for precision in fp32 fp16; do
    engine=$work/$precision.engine
    part "Engine, $precision" "$BEAMFLOW" build-engine "$model" -o "$engine" --batch 8 --precision $precision
    part "Inspection, $precision" "$BEAMFLOW" inspect "$engine"
    part "Engine bench, $precision" "$BEAMFLOW" bench-engine "$engine" --lanes 4 --batches 2000 --output-size 64x64
    cp "$work/output" "$work/bench-$precision"
done

# The three modes, driven as Numaflow would, at whatever rate the sidecar answers; medians of three runs each,
# and what they come to relative to the engine's own best rate and to sequential mode.
modes() {
    local engine=$1 bench=$2 mode sidecar rates run
    local -A median
    for mode in sequential concurrent pipelined; do
        rm -f "$work/info"
        "$BEAMFLOW" --mode $mode --model-path "$engine" --max-concurrent-batches 3 --http-address off \
            --sock-path "$work/sock" --server-info-path "$work/info" 2>"$work/sidecar.log" &
        sidecar=$!
        run=0
        while [ ! -e "$work/info" ] && kill -0 $sidecar 2>/dev/null && [ $((run += 1)) -lt 1200 ]; do sleep 0.1; done
        : >"$work/rates"
        for run in 1 2 3; do
            "$BEAMFLOW" send --sock-path "$work/sock" --count "${FRAMES:-50000}" --read-batch 1000 >"$work/sent" || {
                cat "$work/sent" "$work/sidecar.log"
                kill $sidecar
                return 1
            }
            awk '$1 == "-" { print $3 }' "$work/sent" >>"$work/rates"
        done
        kill $sidecar
        wait $sidecar || return 1
        median[$mode]=$(sort -n "$work/rates" | sed -n 2p)
    done
    # The fourth column of the lines with graphs is frames/s.
    rates=$(awk '$2 == "yes" { print $4 }' "$bench" | sort -n | tail -1)
    awk -v s="${median[sequential]}" -v c="${median[concurrent]}" -v p="${median[pipelined]}" -v e="$rates" 'BEGIN {
        printf "%-12s %10s %18s %14s\n", "mode", "frames/s", "of bench-engine", "of sequential"
        printf "%-12s %10.0f %18.2f %14.2f\n", "sequential", s, s / e, 1
        printf "%-12s %10.0f %18.2f %14.2f\n", "concurrent", c, c / e, c / s
        printf "%-12s %10.0f %18.2f %14.2f\n", "pipelined", p, p / e, p / s
        printf "bench-engine, best: %.0f frames/s\n", e
    }'
}
for precision in fp32 fp16; do
    part "The three modes, $precision" modes "$work/$precision.engine" "$work/bench-$precision"
done

if [ -n "${GPU_TESTS:-}" ]; then
    part "GPU tests" "$GPU_TESTS" --ignored --nocapture --test-threads 1 gpu
else
    part "GPU tests" cargo test --release --locked --features tensorrt-rtx --test gpu -- --ignored --nocapture --test-threads 1 gpu
fi

if command -v compute-sanitizer >/dev/null; then
    part "compute-sanitizer" compute-sanitizer --error-exitcode 1 \
        "$BEAMFLOW" bench-engine "$work/fp32.engine" --lanes 2 --batches 20
else
    note "" "compute-sanitizer is not installed here; not run."
fi

note "" "$failures part(s) failed."
printf '\n%s\n' "$failures part(s) failed; the report is in $report."
[ "$failures" = 0 ]
