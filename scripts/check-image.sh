#!/usr/bin/env bash
# Builds the image of a flavour and runs it as strictly as a cluster does, without a registry of images:
#
#   scripts/check-image.sh [--dry-run] [--keep] [FLAVOUR]
#
# For a machine with Debian 12, root, Cargo, and the registries of Debian, crates.io and (flavours other than cpu) PyPI. Docker's
# daemon and debootstrap come from Debian's packages, unpacked into a folder and not installed; the images that the Dockerfile is
# based on are made with debootstrap and this machine's Rust. The base without a shell is Debian's C library alone, as distroless/cc
# is. Everything is in one folder (6 GB), which is removed at the end; with --keep it stays, and a second run takes it up again. --dry-run prints
# every command and runs none. The first run takes 15 minutes on two free cores.
set -euo pipefail
cd "$(dirname "$0")/.."

dry=
keep=
flavour=cpu
for argument in "$@"; do
    case $argument in
        --dry-run) dry=yes ;;
        --keep) keep=yes ;;
        cpu | onnxruntime | tensorrt-rtx | tensorrt) flavour=$argument ;;
        *)
            echo "usage: $0 [--dry-run] [--keep] [cpu|onnxruntime|tensorrt-rtx|tensorrt]" >&2
            exit 64
            ;;
    esac
done

folder=${CHECK_IMAGE_FOLDER:-/var/tmp/beamflow-check-image}
tools=$folder/tools
image=beamflow-check:$flavour
# The largest image of the flavour cpu, in MB.
largest=50
frames=$PWD/tests/data/ptychonn_64_frames.npy
model=/opt/app/models/ptychonn_64.onnx

fail() {
    echo "check-image: $*" >&2
    exit 1
}

# Prints a command, and runs it unless this is a dry run.
run() {
    printf '+ %s\n' "$*"
    [ -n "$dry" ] || "$@"
}

# Prints what is checked; whether the check is to be made.
check() {
    printf -- '- %s\n' "$*"
    [ -z "$dry" ]
}

# Waits for a condition, at most a minute.
until_true() {
    local what=$1
    shift
    for _ in $(seq 600); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "timeout: $what"
}

docker() {
    "$tools/usr/bin/docker" --host "unix://$folder/docker.sock" "$@"
}

[ -n "$dry" ] || [ "$(id -u)" = 0 ] || fail "run it as root: it starts a daemon and makes file systems"
run mkdir -p "$tools" "$folder/data" "$folder/exec"
export PATH=$tools/usr/bin:$tools/usr/sbin:$PATH

daemon=
finish() {
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
    [ -n "$keep" ] || [ -n "$dry" ] || rm -rf --one-file-system "$folder"
}
trap finish EXIT

# --- tools ---
fetch() {
    cd "$folder" && mkdir -p packages && chmod 777 packages && cd packages
    apt-get download docker.io containerd runc debootstrap
    for package in *.deb; do
        dpkg -x "$package" "$tools"
    done
}
[ -x "$tools/usr/bin/dockerd" ] || (run fetch)

serve_docker() {
    # No network of its own: containers have the machine's, or none.
    dockerd --host "unix://$folder/docker.sock" --data-root "$folder/data" --exec-root "$folder/exec" \
        --pidfile "$folder/docker.pid" --bridge none --iptables=false > "$folder/docker.log" 2>&1 &
    daemon=$!
    until_true "Docker starts; see $folder/docker.log" docker info
}
run serve_docker

# --- what the image is based on ---
# Sets `root` to a folder with Debian and further packages.
debian() {
    root=$folder/$1
    shift
    [ -e "$root/made" ] && return
    rm -rf "$root"
    DEBOOTSTRAP_DIR=$tools/usr/share/debootstrap debootstrap --variant=minbase \
        --include="$(IFS=,; echo ca-certificates "$*" | tr ' ' ,)" bookworm "$root" http://deb.debian.org/debian > "$folder/debootstrap.log"
    # The certificates of this machine, for a registry behind a proxy.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    touch "$root/made"
}

# Whether an image has to be made: it may be there from an earlier run.
missing() {
    [ -n "$dry" ] || ! docker image inspect "$1" >/dev/null 2>&1
}

slim() {
    debian slim libstdc++6
    tar -C "$root" -c . | docker import - check/slim >/dev/null

    # The C and C++ libraries alone, as in distroless/cc.
    local cc=$folder/cc package
    rm -rf "$cc" && mkdir -p "$cc/etc" "$cc/tmp"
    chmod 1777 "$cc/tmp"
    ln -s usr/lib "$cc/lib"
    ln -s usr/lib64 "$cc/lib64"
    # Debian's packages still have paths below /lib, which is a link.
    for package in libc6 libgcc-s1 libstdc++6; do
        chroot "$root" dpkg -L "$package"
    done | sed -nE 's#^/(usr/)?(lib(64)?/.+)#usr/\2#p' | sort -u > "$folder/files"
    tar -C "$root" --no-recursion --files-from "$folder/files" -c | tar -C "$cc" -x --keep-directory-symlink
    echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' > "$cc/etc/passwd"
    tar -C "$cc" -c . | docker import - check/cc >/dev/null
}

rust() {
    debian rust gcc libc6-dev
    local sysroot
    sysroot=$(rustc --print sysroot)
    mkdir -p "$root/usr/local/rust"
    cp -a "$sysroot"/{bin,lib} "$root/usr/local/rust/"
    tar -C "$root" -c . | docker import \
        --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV CARGO_HOME=/usr/local/cargo' - check/rust >/dev/null
    rm -rf "$root/usr/local/rust"
}

python() {
    debian python python3 python3-pip
    tar -C "$root" -c . | docker import - check/python >/dev/null
}
if missing check/cc; then run slim; fi
if missing check/rust; then run rust; fi
if [ "$flavour" != cpu ] && missing check/python; then run python; fi

# --- the image ---
arguments=(
    --network host --build-arg "FLAVOUR=$flavour" --build-arg RUST_IMAGE=check/rust --build-arg PYTHON_IMAGE=check/python
    --build-arg SLIM_IMAGE=check/slim --build-arg DISTROLESS_IMAGE=check/cc --build-arg "REVISION=$(git rev-parse HEAD)"
)
export DOCKER_BUILDKIT=1
run docker build "${arguments[@]}" --tag "$image" .
run docker build "${arguments[@]}" --target debug --output "$folder/debug" .

# --- as a cluster runs it ---
strict=(--user 65532:65532 --read-only --cap-drop ALL --security-opt no-new-privileges --network none)
shared=$folder/numaflow
run rm -rf "$shared"
run install -d -m 777 "$shared"

check "the program starts, and reads its model" && {
    docker run --rm "${strict[@]}" "$image" --version
    docker run --rm "${strict[@]}" "$image" inspect "$model" >/dev/null
}
check "labels, licences and the list of crates are there; the debug file belongs to the program" && {
    docker inspect --format '{{json .Config.Labels}}' "$image" | grep -q '"org.opencontainers.image.version"' || fail "no labels"
    docker create --name files "$image" >/dev/null
    docker export files | tar -x -C "$folder" usr/share/doc/beamflow usr/local/bin/beamflow
    docker rm files >/dev/null
    grep -q 'Apache License' "$folder/usr/share/doc/beamflow/LICENSE"
    grep -q '^tokio ' "$folder/usr/share/doc/beamflow/THIRD-PARTY.txt" || fail "no notices"
    sections=$(readelf --sections --wide "$folder/usr/local/bin/beamflow")
    grep -q ' \.dep-v0 ' <<< "$sections" || fail "no list of crates"
    grep -q ' \.gnu_debuglink ' <<< "$sections" || fail "no name of the debug file"
    if grep -q ' \.debug_info ' <<< "$sections"; then fail "the program is not stripped"; fi
    sections=$(readelf --sections --wide "$folder/debug/beamflow.debug")
    grep -q ' \.debug_line ' <<< "$sections" || fail "no lines in the debug file"
}
if [ "$flavour" = cpu ]; then
    check "it has at most $largest MB, and no shell" && {
        bytes=$(docker inspect --format '{{.Size}}' "$image")
        echo "  $((bytes / 1000000)) MB"
        [ "$bytes" -le $((largest * 1000000)) ] || fail "the image has $bytes bytes"
        if docker run --rm --entrypoint /bin/sh "$image" -c true 2>/dev/null; then fail "there is a shell"; fi
    }
fi

# One life of a sidecar: it answers frames, changes its log, and drains.
life() {
    local begun
    begun=$(date --utc +%Y-%m-%dT%H:%M:%S.%NZ)
    docker start sidecar >/dev/null
    until_true "the model is loaded; see docker logs" test -s "$shared/mapper-server-info"
    local pid answer
    pid=$(docker inspect --format '{{.State.Pid}}' sidecar)
    answer=$(nsenter --target "$pid" --net curl --silent --show-error --fail --retry 20 --retry-connrefused --retry-delay 1 \
        http://127.0.0.1:9100/readyz)
    echo "  readyz: $answer"
    docker exec sidecar /usr/local/bin/beamflow send --frames /frames.npy
    docker kill --signal USR1 sidecar >/dev/null
    switched() { docker logs --since "$begun" sidecar 2>&1 | grep -q 'The log shows debug lines'; }
    until_true "the log changes" switched
    docker stop --time 30 sidecar >/dev/null
    [ "$(docker inspect --format '{{.State.ExitCode}}' sidecar)" = 0 ] || fail "SIGTERM did not end it with code 0"
}
check "it serves, answers frames, drains after SIGTERM, and starts again where the socket was left" && {
    docker create --name sidecar "${strict[@]}" --volume "$shared:/var/run/numaflow" --volume "$frames:/frames.npy:ro" \
        --env "MODEL_PATH=$model" "$image" >/dev/null
    life
    docker start sidecar >/dev/null
    until_true "the model is loaded; see docker logs" test -s "$shared/mapper-server-info"
    docker kill --signal KILL sidecar >/dev/null
    until_true "it is killed" test "$(docker wait sidecar)" = 137
    rm -f "$shared/mapper-server-info"
    [ -S "$shared/batchmap.sock" ] || fail "a killed sidecar leaves no socket: nothing is tried"
    life
    docker rm sidecar >/dev/null
}
[ -n "$dry" ] || echo "The image of the flavour $flavour is as it should be."
