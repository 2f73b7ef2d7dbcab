# Builds the image with BuildKit:
#
#   docker build -t beamflow:0.1.0 .
#   docker build -t beamflow-onnxruntime:0.1.0 --build-arg FLAVOUR=onnxruntime .     # any NVIDIA card, nothing to build
#   docker build -t beamflow-tensorrt-rtx:0.1.0 --build-arg FLAVOUR=tensorrt-rtx .
#   docker build -t beamflow-tensorrt:0.1.0 --build-arg FLAVOUR=tensorrt .           # TensorRT from NVIDIA's packages
#   docker build -t beamflow-tensorrt:0.1.0 --build-arg FLAVOUR=tensorrt \
#       --build-arg NVIDIA_IMAGE=nvcr.io/nvidia/tensorrt:TAG .                       # or from an image with TensorRT 11.4 or later
#
#   docker build --target debug --output . .          # beamflow.debug, for gdb and for addresses in a core file
#
# FLAVOUR is cpu, onnxruntime, tensorrt-rtx or tensorrt. Another one ends with "on-FLAVOUR … not found" before anything is built.
# RUNTIME=slim has a shell and Debian's tools; the default, distroless, has neither.
# buildah before 1.29 does not use the defaults below in FROM: give it --build-arg FLAVOUR=cpu --build-arg RUNTIME=distroless
# and the four images below.
#
# Every flavour has all commands: EPICS and HDF5 too. No engine is built here: an engine runs only on the kind of GPU it was built
# on, which is the node's GPU.
#
# The images that this one is based on are named by tag, so that each build has their security updates. A site that must be able to
# repeat a build sets the four arguments below with digests: rust:1.95-slim-bookworm@sha256:….
ARG FLAVOUR=cpu
ARG RUNTIME=distroless
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG PYTHON_IMAGE=python:3.13-slim-bookworm
ARG SLIM_IMAGE=debian:bookworm-slim
ARG DISTROLESS_IMAGE=gcr.io/distroless/cc-debian12:nonroot
# An image with TensorRT, for the flavour tensorrt. With the default, TensorRT comes from NVIDIA's packages.
ARG NVIDIA_IMAGE=tensorrt-packages

# On Debian 12: so the program runs with glibc 2.35 and later, as in NVIDIA's images for Ubuntu 22.04.
FROM ${RUST_IMAGE} AS build
# Writes the list of crates into the program, where scanners of images read it.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo install --locked --root /usr/local cargo-auditable@0.7.7
ARG FLAVOUR
# The TensorRT binding is C++, generated from NVIDIA's headers with libclang.
RUN case "$FLAVOUR" in \
        cpu | onnxruntime) ;; \
        tensorrt | tensorrt-rtx) \
            apt-get update && apt-get install -y --no-install-recommends g++ libclang-dev \
                && rm -rf /var/lib/apt/lists/* ;; \
        *) echo "FLAVOUR is cpu, onnxruntime, tensorrt or tensorrt-rtx, not '$FLAVOUR'" >&2; exit 1 ;; \
    esac
WORKDIR /beamflow
COPY Cargo.toml Cargo.lock ./
COPY models/ptychonn_64.onnx models/
COPY scripts/third-party-notices.sh scripts/
COPY crates crates
COPY src src
# Debug information for the stage `debug`; the program in the image has none.
ENV CARGO_PROFILE_DIST_STRIP=false CARGO_PROFILE_DIST_DEBUG=line-tables-only
# The caches stay with the builder. Only what is in /out goes into a layer. The cache of the target folder is that of every checkout
# on this builder, and Cargo compares times: sources that are older than the last build, as those of an older release are, would
# not be compiled again.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/beamflow/target,sharing=locked \
    find src crates models -type f -exec touch {} + \
    && features="pva,hdf5,${FLAVOUR#cpu}" \
    && cargo auditable build --profile dist --locked --bin beamflow --features "$features" \
    && mkdir /out \
    && objcopy --only-keep-debug target/dist/beamflow /out/beamflow.debug \
    && strip --strip-all -o /out/beamflow target/dist/beamflow \
    && objcopy --add-gnu-debuglink=/out/beamflow.debug /out/beamflow \
    && scripts/third-party-notices.sh "$features" > /out/THIRD-PARTY.txt

FROM scratch AS debug
COPY --from=build /out/beamflow.debug /

# TensorRT-RTX, from NVIDIA's package.
FROM ${PYTHON_IMAGE} AS rtx
COPY scripts/fetch-tensorrt-rtx.sh scripts/tensorrt-rtx.txt /usr/local/bin/
RUN fetch-tensorrt-rtx.sh /opt/tensorrt-rtx

# TensorRT, from NVIDIA's package.
FROM ${PYTHON_IMAGE} AS trt
COPY scripts/fetch-tensorrt.sh /usr/local/bin/
RUN fetch-tensorrt.sh /opt/tensorrt

# onnxruntime with its CUDA provider, CUDA 13 and cuDNN 9, from their packages.
FROM ${PYTHON_IMAGE} AS ort
COPY scripts/fetch-onnxruntime-cuda.sh scripts/onnxruntime-cuda.txt /usr/local/bin/
RUN fetch-onnxruntime-cuda.sh /opt/onnxruntime

FROM ${DISTROLESS_IMAGE} AS base-distroless
FROM ${SLIM_IMAGE} AS base-slim

FROM base-${RUNTIME} AS on-cpu

# Always slim: the libraries of CUDA and cuDNN have not been tried without Debian's.
FROM ${SLIM_IMAGE} AS on-onnxruntime
COPY --from=ort /opt/onnxruntime /opt/onnxruntime
ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so LD_LIBRARY_PATH=/opt/onnxruntime
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM base-${RUNTIME} AS on-tensorrt-rtx
COPY --from=rtx /opt/tensorrt-rtx /opt/tensorrt-rtx
ENV TENSORRT_PATH=/opt/tensorrt-rtx/tensorrt_rtx_libs
# The NVIDIA runtime mounts the driver's compute library into the container.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility

# With the linker's cache, as NVIDIA's images have it; so it is always slim.
FROM ${SLIM_IMAGE} AS tensorrt-packages
COPY --from=trt /opt/tensorrt /opt/tensorrt
RUN echo /opt/tensorrt > /etc/ld.so.conf.d/tensorrt.conf && ldconfig

FROM ${NVIDIA_IMAGE} AS on-tensorrt
# The last one is what builds engines; without it every start fails.
RUN for library in libnvinfer.so.11 libnvonnxparser.so.11 libnvinfer_builder_resource; do \
        ldconfig -p | grep -qF "$library" \
            || { echo "there is no $library: set NVIDIA_IMAGE to an image with TensorRT 11.4 or later" >&2; exit 1; }; \
    done
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM on-${FLAVOUR}
# One heap for all threads, which keeps freed memory. With a heap per thread, the memory of a frame that one thread frees
# is not available to the next thread. Returning memory after each frame and requesting it again takes longer than the frame.
ENV GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=2147483647
COPY --from=build /out/beamflow /usr/local/bin/beamflow
COPY models/ptychonn_64.onnx /opt/app/models/
# The licence of the EPICS crates asks for its text beside the program.
COPY LICENSE LICENSES /usr/share/doc/beamflow/
COPY --from=build /out/THIRD-PARTY.txt /usr/share/doc/beamflow/
ARG FLAVOUR
ARG REVISION=unknown
LABEL org.opencontainers.image.title="beamflow" \
      org.opencontainers.image.description="Detector frames through a neural network, in a Numaflow pipeline" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.beamflow.flavour="$FLAVOUR"
# An unprivileged user. Every user of the pod can write to Numaflow's shared folder.
USER 65532:65532
# Status page and metrics: map, PVA source, PVA sink, file sink.
EXPOSE 9100 9101 9102 9103
ENTRYPOINT ["/usr/local/bin/beamflow"]
