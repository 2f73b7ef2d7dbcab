#!/usr/bin/env bash
# Runs tests where undefined behaviour and data races are seen, on a nightly toolchain with the component rust-src:
#   scripts/sanitize.sh miri    the books, slots, lanes and decoders in an interpreter, the threads in several orders
#   scripts/sanitize.sh tsan    lanes, slots and schedules, the host, and the sidecar under faults, with ThreadSanitizer
# Each builds into a folder of its own under target/.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}

needs() {
    if ! cargo +nightly --version >/dev/null 2>&1; then
        echo "There is no nightly toolchain: rustup toolchain install nightly --component rust-src $*" >&2
        exit 1
    fi
    if [ ! -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ]; then
        echo "The nightly toolchain is without its source: rustup component add --toolchain nightly rust-src" >&2
        exit 1
    fi
}

case ${1-} in
miri)
    needs --component miri
    export CARGO_TARGET_DIR=$target/miri PROPTEST_CASES=${PROPTEST_CASES:-4}
    # The clock is read, and proptest looks for its file of failures; what is told to panic needs no trace.
    export MIRIFLAGS="-Zmiri-disable-isolation" RUST_BACKTRACE=0
    # Left out: those that go through every value or byte there is, which takes an interpreter hours.
    cargo +nightly miri test --locked --lib -- batch:: ledger:: frame:: \
        --skip no_npy_header --skip version_1_cannot_hold --skip the_nearest
    export MIRIFLAGS="$MIRIFLAGS -Zmiri-many-seeds=0..${SEEDS:-4}"
    cargo +nightly miri test --locked --lib -- batch::ring:: engine::lane::
    ;;
tsan)
    needs
    export CARGO_TARGET_DIR=$target/tsan FUZZ_RUNS=${FUZZ_RUNS:-1000}
    export RUSTFLAGS="-Zsanitizer=thread" RUSTDOCFLAGS="-Zsanitizer=thread"
    # The kernel passes what tokio's poller reads from the thread that registers a socket to the one that polls, and the
    # sanitizer does not see that. Any other race ends the program that it is in.
    suppressed=$(mktemp)
    trap 'rm -f "$suppressed"' EXIT
    echo 'race:tokio::runtime::io::driver::Driver>::turn' >"$suppressed"
    export TSAN_OPTIONS="halt_on_error=1 suppressions=$suppressed ${TSAN_OPTIONS-}"
    test=(cargo +nightly test --locked --no-fail-fast -Zbuild-std --target "$host")
    "${test[@]}" --lib -- batch:: engine::lane:: engine::simulated:: schedule:: telemetry:: handler::
    "${test[@]}" --test host --test fuzz
    # Those that stop the sidecar by a signal are left out: the sanitizer holds it back as long as the main thread waits.
    "${test[@]}" --test black_box -- answers:: devices:: faults:: identical:: sdk:: streams::
    ;;
*)
    sed -n '2,5s/^# //p' "$0"
    exit 64
    ;;
esac
