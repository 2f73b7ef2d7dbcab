# Builds the sidecar's image with BuildKit:
#
#   docker build -t beamflow:0.1.0 .
#   docker build -t beamflow-onnxruntime:0.1.0 --build-arg FLAVOUR=onnxruntime .     # any NVIDIA card, nothing to build
#   docker build -t beamflow-tensorrt-rtx:0.1.0 --build-arg FLAVOUR=tensorrt-rtx .
#   docker build -t beamflow-tensorrt:0.1.0 --build-arg FLAVOUR=tensorrt \
#       --build-arg NVIDIA_IMAGE=nvcr.io/nvidia/tensorrt:TAG .        # a tag with TensorRT 11.4 or later
#
# Every flavour has the commands for EPICS, pva-source and simulate-ioc.
# No engine is built here: an engine runs only on the kind of GPU it was built on, which is the node's GPU.

# cpu, onnxruntime, tensorrt-rtx or tensorrt.
ARG FLAVOUR=cpu
# The base image of the flavour tensorrt. The default has no TensorRT, and a check below refuses it.
ARG NVIDIA_IMAGE=debian:bookworm-slim

FROM rust:1.95-slim-bookworm AS build
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
COPY crates crates
COPY src src
# The caches stay with the builder. Only the program goes into a layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/beamflow/target \
    cargo build --profile dist --locked --bin beamflow --features "pva,hdf5,${FLAVOUR#cpu}" \
    && cp target/dist/beamflow /usr/local/bin/beamflow

# TensorRT-RTX, from NVIDIA's package.
FROM python:3.13-slim-bookworm AS rtx
COPY scripts/fetch-tensorrt-rtx.sh /usr/local/bin/
RUN fetch-tensorrt-rtx.sh /opt/tensorrt-rtx

# onnxruntime with its CUDA provider, CUDA 13 and cuDNN 9, from their packages.
FROM python:3.13-slim-bookworm AS ort
COPY scripts/fetch-onnxruntime-cuda.sh scripts/onnxruntime-cuda.txt /usr/local/bin/
RUN fetch-onnxruntime-cuda.sh /opt/onnxruntime

FROM debian:bookworm-slim AS on-cpu

FROM debian:bookworm-slim AS on-onnxruntime
COPY --from=ort /opt/onnxruntime /opt/onnxruntime
ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so LD_LIBRARY_PATH=/opt/onnxruntime
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM debian:bookworm-slim AS on-tensorrt-rtx
COPY --from=rtx /opt/tensorrt-rtx /opt/tensorrt-rtx
ENV TENSORRT_PATH=/opt/tensorrt-rtx/tensorrt_rtx_libs
# The NVIDIA runtime mounts the driver's compute library into the container.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM ${NVIDIA_IMAGE} AS on-tensorrt
RUN ldconfig -p | grep -q 'libnvinfer\.so\.11' \
    || { echo "NVIDIA_IMAGE has no TensorRT 11: set an image that has it with --build-arg NVIDIA_IMAGE=…" >&2; exit 1; }
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM on-${FLAVOUR}
# One heap for all threads, which keeps freed memory. With a heap per thread, the memory of a frame that one thread frees
# is not available to the next thread. Returning memory after each frame and requesting it again takes longer than the frame.
ENV GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=2147483647
COPY --from=build /usr/local/bin/beamflow /usr/local/bin/beamflow
COPY models/ptychonn_64.onnx /opt/app/models/
# The licence of the EPICS crates asks for its text beside the program.
COPY LICENSE LICENSES /usr/share/doc/beamflow/
# An unprivileged user. Every user of the pod can write to Numaflow's shared folder.
USER 65532:65532
# Status page and metrics: map, PVA source, PVA sink, file sink.
EXPOSE 9100 9101 9102 9103
ENTRYPOINT ["/usr/local/bin/beamflow"]
