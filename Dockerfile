# The sidecar for the CPU engine: .onnx models and the simulated device.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /beamflow
COPY Cargo.toml Cargo.lock README.md ./
COPY models models
COPY benches benches
COPY src src
RUN cargo build --release --locked

FROM debian:bookworm-slim
COPY --from=build /beamflow/target/release/beamflow /usr/local/bin/beamflow
# Numaflow's shared folder is writable to every user of the pod.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/beamflow"]
