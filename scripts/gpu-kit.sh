#!/usr/bin/env bash
# Runs beamflow's CUDA code on a machine that has only an NVIDIA driver: no Rust, no TensorRT, no network.
#
#   scripts/gpu-kit.sh build FOLDER             on a machine with Rust, libclang, clang, a C++ compiler and xz; no GPU
#   FOLDER/gpu-kit.sh run FOLDER OUT            on the machine with the card: about four minutes
#   FOLDER/gpu-kit.sh run FOLDER OUT --dry-run  without a card, on the stand-in driver, with small counts
#
# The program, the driver, the memory, streams, graphs, copies and faults are real. TensorRT is the stand-in of
# tests/stand_in: an inference is a few CUDA kernels that take a set time. OUT is the folder for report.md, report.json
# and logs.tar.gz. The exit code is 1 if a part failed. Card: compute capability 7.5 or later. Driver: CUDA 12 or later.
#
# If the program and the test program of the feature tensorrt-rtx are already built, pass their paths to `build` in
# BEAMFLOW and GPU_STAND_IN_TESTS.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 64
}

need() {
    command -v "$1" >/dev/null || {
        echo "gpu-kit.sh: $1 is missing; $2" >&2
        exit 1
    }
}

# ---- build

# Prints the folder of the TensorRT-RTX headers in the crate trtx-sys.
headers() {
    cargo metadata --format-version 1 --offline --filter-platform host-tuple --features tensorrt-rtx |
        tr ',' '\n' | sed -n 's|^"manifest_path":"\(.*/trtx-sys-[^/]*\)/Cargo.toml".*|\1/TensorRT-Headers/TRT-RTX-1.7|p' | head -1
}

build() {
    local folder work program tests
    mkdir -p "$1"
    folder=$(realpath "$1")
    cd "$here/.."
    need cargo "install Rust"
    need xz "install xz-utils"
    work=$(mktemp -d)
    trap "rm -rf '$work'" EXIT
    program=${BEAMFLOW:-} tests=${GPU_STAND_IN_TESTS:-}
    if [ -z "$program" ] || [ -z "$tests" ]; then
        cargo test --profile dist --locked --features tensorrt-rtx --test gpu_stand_in --no-run \
            --message-format json-render-diagnostics >"$work/built" || exit 1
        program=$(sed -n 's|.*"executable":"\([^"]*/beamflow\)".*|\1|p' "$work/built" | tail -1)
        tests=$(sed -n 's|.*"executable":"\([^"]*/gpu_stand_in-[^"]*\)".*|\1|p' "$work/built" | tail -1)
    fi
    mkdir -p "$work/kit/bin" "$work/kit/lib" "$work/kit/driver"
    sh tests/stand_in/build.sh "$(headers)" "$work/stand_in" || exit 1
    # A program that was built elsewhere may have its symbols.
    strip -o "$work/kit/bin/beamflow" "$program" || exit 1
    strip -o "$work/kit/bin/gpu_stand_in" "$tests" || exit 1
    cp "$work/stand_in/probe" "$work/kit/bin/"
    cp -P "$work"/stand_in/libtensorrt_rtx.so* "$work/kit/lib/"
    cp -P "$work"/stand_in/libcuda.so* "$work/kit/driver/"
    # The stand-in says that it is made with CUDA 13; its kernels run on drivers of CUDA 12 as well.
    sed -i 's/Cuda compilation tools, release 13/Cuda compilation tools, release 12/' "$work/kit/lib/libtensorrt_rtx.so.1"
    tar -C "$work/kit" -cJf "$folder/kit.tar.xz" bin lib driver || exit 1
    cp "$here/gpu-kit.sh" "$here/gpu-report.sh" "$folder/"
    echo "$folder: $(du -sh "$folder" | cut -f1), needs $(glibc "$work"/kit/bin/* "$work"/kit/lib/*) or later"
}

# Prints the latest glibc version that these programs need.
glibc() {
    objdump -T "$@" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1
}

# ---- run

# engine SIDE TYPE BATCH FILE: writes an engine file for frames of SIDE × SIDE.
engine() {
    printf 'stand-in plan\ninput diffraction %s N 1 %s %s\noutput amplitude f32 N 1 %s %s\noutput phase f32 N 1 %s %s\nbatch %s\n' \
        "$2" "$1" "$1" "$1" "$1" "$1" "$1" "$3" >"$4"
}

# frames SIDE COUNT FILE: writes a .npy file of int16 noise.
frames() {
    local header
    header=$(printf "{'descr': '<i2', 'fortran_order': False, 'shape': (%d, %d, %d), }" "$2" "$1" "$1")
    {
        printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "$header"
        head -c $((2 * $1 * $1 * $2)) /dev/urandom
    } >"$3"
}

machine() {
    command -v nvidia-smi >/dev/null &&
        nvidia-smi --query-gpu=name,driver_version,memory.total,pcie.link.gen.current,pcie.link.width.current --format=csv
    uname -sr
    "$BEAMFLOW" --version && "$BEAMFLOW" inspect 128-f32.engine
}

probe() { "$KIT/bin/probe" "$PROBE_ROUNDS" "$FIGURES"; }

# tests FILTER…: runs the tests of tests/gpu_stand_in that match a filter.
tests() {
    STAND_IN_LIBRARIES=$LIBRARIES STAND_IN_HANG_S=100 "$KIT/bin/gpu_stand_in" --nocapture --test-threads "$TEST_THREADS" "$@" 2>&1 |
        tee tests.log
    local status=${PIPESTATUS[0]} passed
    # There is no such line if the test program crashed.
    passed=$(sed -n 's/^test result:.* \([0-9]*\) passed.*/\1/p' tests.log)
    printf '{"passed": %s, "skipped": %s}' "${passed:-null}" "$(grep -c 'skipped: ' tests.log)" >"$FIGURES"
    echo "skipped, of those that passed: $(grep -c 'skipped: ' tests.log)"
    return "$status"
}

# bench COMPUTE_US KERNELS ENGINE…: runs `bench-engine` with 1 to 4 lanes, with and without graphs.
bench() {
    local engine figures="" us=$1 kernels=$2
    shift 2
    for engine in "$@"; do
        STAND_IN_COMPUTE_US=$us STAND_IN_KERNELS=$kernels "$BEAMFLOW" bench-engine "$engine.engine" --lanes 4 \
            --batches "$BENCH_BATCHES" --output-size 64x64 --json "bench-$engine.json" || return 1
        figures+="${figures:+,}\"$engine\": $(cat "bench-$engine.json")"
        # Whole after each engine: the next one may fail.
        printf '{%s}' "$figures" >"$FIGURES"
    done
}

# modes_of ENGINE COMPUTE_US COUNT FLAGS…: runs the three modes and `bench-engine`; FLAGS go to the sidecar.
modes_of() {
    local engine=$1 count=$3
    export STAND_IN_COMPUTE_US=$2 STAND_IN_KERNELS=40
    shift 3
    SERVE_FLAGS="$*"
    "$BEAMFLOW" bench-engine "$engine.engine" --lanes 4 --batches "$BENCH_BATCHES" --output-size 64x64 --json bench.json &&
        modes "$engine.engine" bench.json "$count" --frames "${engine%%-*}.npy"
}

resident() { awk '/VmRSS/ { print $2 }' "/proc/$sidecar/status"; }
on_card() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | head -1; }

# Checks that the memory of the sidecar and of the card does not grow after the first of three rounds of 5,000 batches.
memory() {
    serve --mode pipelined --model-path 64-f32.engine || return 1
    local round first_resident=0 first_on_card=0 now used
    for round in 1 2 3; do
        rate --frames 64.npy --count "$MEMORY_FRAMES" --read-batch 800 >/dev/null || return 1
        now=$(resident) used=$(on_card)
        echo "after round $round: $now KiB resident, ${used:-unknown} MiB in use on the card"
        [ "$round" = 1 ] && first_resident=$now first_on_card=${used:-0}
    done
    printf '{"resident_growth_kib": %d, "card_growth_mib": %d}' $((now - first_resident)) $((${used:-0} - first_on_card)) >"$FIGURES"
    stop || return 1
    [ $((now - first_resident)) -le 8192 ] || { echo "resident memory grew by more than 8 MiB"; return 1; }
    [ $((${used:-0} - first_on_card)) -le 4 ] || { echo "memory in use on the card grew by more than 4 MiB"; return 1; }
}

sanitizer() {
    compute-sanitizer --leak-check full --error-exitcode 1 "$BEAMFLOW" bench-engine 64-f32.engine --lanes 2 --batches 20
}

run() {
    local folder out dry=${3:-}
    folder=$(realpath "$1") out=$(realpath -m "$2")
    [ -z "$dry" ] || [ "$dry" = --dry-run ] || usage
    # shellcheck source=gpu-report.sh
    . "$here/gpu-report.sh"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    export KIT=$work/kit BEAMFLOW=$work/kit/bin/beamflow LIBRARIES=$work/kit/lib
    mkdir -p "$KIT" "$work/run"
    if command -v xz >/dev/null; then
        tar -C "$KIT" -xJf "$folder/kit.tar.xz" || exit 1
    else
        need python3 "install xz or Python 3"
        python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$folder/kit.tar.xz" "$KIT" || exit 1
    fi
    cd "$work/run"
    local many=100000 few=10000 engines="64-f32 128-f32 128-f16 512-f16" driver=${LD_LIBRARY_PATH:-}
    local results="results:: graphs:: commands:: missing::" faults="faults::"
    export PROBE_ROUNDS=101 BENCH_BATCHES=1000 MEMORY_FRAMES=40000 TEST_THREADS=4
    if [ "$dry" ]; then
        many=80 few=16 engines=64-f32 driver=$KIT/driver
        results="results::frames commands::bench graphs::without missing::without" faults="faults::launch faults::refused faults::loss_of_the_only"
        export PROBE_ROUNDS=3 BENCH_BATCHES=5 MEMORY_FRAMES=160 TEST_THREADS=2 STAND_IN_BARE=1
    fi
    # The driver's folder may be on the library path.
    export LD_LIBRARY_PATH=$LIBRARIES${driver:+:$driver} TENSORRT_PATH=$LIBRARIES
    local side
    for side in 64 128 512; do
        engine $side f32 8 $side-f32.engine
        engine $side f16 8 $side-f16.engine
    done
    frames 64 64 64.npy
    frames 128 64 128.npy
    frames 512 16 512.npy
    export -f machine probe tests bench modes_of resident on_card memory sanitizer

    report_begin "$out" "beamflow on a card, TensorRT replaced by a stand-in${dry:+ (dry run)}"
    part 20 "The machine" bash -c machine
    part 60 "What the card and its driver do" bash -c probe
    part 120 "Results, graphs, commands" bash -c "tests $results"
    part 120 "Faults" bash -c "tests $faults"
    part 60 "Engine bench, nothing to compute" bash -c "bench 0 0 $engines"
    part 60 "Engine bench, 100 us in 42 kernels" bash -c "bench 100 40 $engines"
    part 90 "Modes, 128 x 128 f16, 100 us a batch" bash -c "modes_of 128-f16 100 $many"
    part 90 "Modes, 128 x 128 f16, 100 us a batch, spinning" bash -c "modes_of 128-f16 100 $many --spin"
    part 90 "Modes, 512 x 512 f16, 700 us a batch" bash -c "modes_of 512-f16 700 $few"
    part 60 "Memory" bash -c memory
    if command -v compute-sanitizer >/dev/null && [ -z "$dry" ]; then
        part 60 "compute-sanitizer" bash -c sanitizer
    else
        left_out "compute-sanitizer" "it is not installed or there is no card"
    fi
    tar -C "$work/run" -czf "$out/logs.tar.gz" --exclude='*.npy' .
    report_end
}

case "${1:-} $#" in
"build 2") build "$2" ;;
"run 3" | "run 4") run "$2" "$3" "${4:-}" ;;
*) usage ;;
esac
