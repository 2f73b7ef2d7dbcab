#!/usr/bin/env bash
# Finds undefined behaviour and data races in tests, on a nightly toolchain with the component rust-src:
#   scripts/sanitize.sh miri    ledger, slots, lanes and decoders in an interpreter, threads in several orders
#   scripts/sanitize.sh tsan    lanes, slots and schedules, the host, and the sidecar under faults, with ThreadSanitizer
# Each command builds into its own folder under target/.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}

needs() {
    if ! cargo +nightly --version >/dev/null 2>&1; then
        echo "The nightly toolchain is missing: rustup toolchain install nightly --component rust-src $*" >&2
        exit 1
    fi
    if [ ! -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ]; then
        echo "The nightly toolchain has no source: rustup component add --toolchain nightly rust-src" >&2
        exit 1
    fi
}

case ${1-} in
miri)
    needs --component miri
    export CARGO_TARGET_DIR=$target/miri PROPTEST_CASES=${PROPTEST_CASES:-4}
    # No isolation: the tests read the clock, and proptest reads its file of failures. Expected panics need no backtrace.
    export MIRIFLAGS="-Zmiri-disable-isolation" RUST_BACKTRACE=0
    # Skipped: tests that go through every value or every byte. They take hours in an interpreter.
    cargo +nightly miri test --locked --lib -p beamflow-frame -- \
        --skip no_npy_header --skip version_1_cannot_hold --skip the_nearest
    cargo +nightly miri test --locked --lib -p beamflow -- inference::batch:: inference::ledger::
    export MIRIFLAGS="$MIRIFLAGS -Zmiri-many-seeds=0..${SEEDS:-4}"
    cargo +nightly miri test --locked --lib -p beamflow -- inference::batch::ring:: inference::lane::
    ;;
tsan)
    needs
    export CARGO_TARGET_DIR=$target/tsan FUZZ_RUNS=${FUZZ_RUNS:-1000}
    export RUSTFLAGS="-Zsanitizer=thread" RUSTDOCFLAGS="-Zsanitizer=thread"
    # tokio's poller reads a value that the thread registering a socket wrote. The kernel orders the two, and the sanitizer
    # does not see that. Any other race ends the program.
    suppressed=$(mktemp)
    trap 'rm -f "$suppressed"' EXIT
    echo 'race:tokio::runtime::io::driver::Driver>::turn' >"$suppressed"
    export TSAN_OPTIONS="halt_on_error=1 suppressions=$suppressed ${TSAN_OPTIONS-}"
    test=(cargo +nightly test --locked --no-fail-fast -Zbuild-std --target "$host")
    "${test[@]}" --lib -p beamflow -- inference:: status:: telemetry::
    "${test[@]}" --lib -p beamflow-engine -- simulated::
    "${test[@]}" -p beamflow --test suite -- host:: fuzz::
    # Tests that stop the sidecar by a signal are left out: the sanitizer delays the signal while the main thread waits.
    "${test[@]}" -p beamflow --test suite -- black_box::{answers,devices,faults,identical,sdk,streams}::
    ;;
*)
    sed -n '2,5s/^# //p' "$0"
    exit 64
    ;;
esac
