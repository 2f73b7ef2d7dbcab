#!/usr/bin/env bash
# Runs tests where undefined behaviour and data races are seen, on a nightly toolchain with the component rust-src:
#   scripts/sanitize.sh miri    the books, slots, lanes and decoders in an interpreter, the threads in several orders
#   scripts/sanitize.sh tsan    lanes and slots, the sidecar's tests over its socket, and a short campaign, with ThreadSanitizer
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
    # The clock is read, and proptest looks for its file of failures.
    export MIRIFLAGS="-Zmiri-disable-isolation"
    # Left out: what makes headers of 64 KiB, byte by byte.
    cargo +nightly miri test --locked --lib -- batch:: ledger:: frame:: \
        --skip no_npy_header --skip version_1_cannot_hold
    export MIRIFLAGS="$MIRIFLAGS -Zmiri-many-seeds=0..${SEEDS:-8}"
    cargo +nightly miri test --locked --lib -- batch::ring:: engine::lane::
    ;;
tsan)
    needs
    export CARGO_TARGET_DIR=$target/tsan CAMPAIGN_FRAMES=${CAMPAIGN_FRAMES:-3000}
    export RUSTFLAGS="-Zsanitizer=thread" RUSTDOCFLAGS="-Zsanitizer=thread"
    # The first race ends the program that it is in.
    export TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS-}"
    test=(cargo +nightly test --locked -Zbuild-std --target "$host")
    "${test[@]}" --lib -- batch:: engine::lane:: engine::simulated:: schedule:: telemetry:: handler::
    "${test[@]}" --test black_box --test campaign --no-fail-fast -- --nocapture
    ;;
*)
    sed -n '2,5s/^# //p' "$0"
    exit 64
    ;;
esac
