//! What is deployed is what the program understands: every manifest is read, checked against Numaflow's own schemas and
//! against the command line, and every metric that a panel or an alert names is one that the sidecar has.
//!
//! Each overlay is rendered and goes through the same checks, where there is a `kubectl` recent enough; alerts are run
//! on made-up series where there is a `promtool`. What a machine lacks is said, and skipped.

// Tests and their helpers stop at the first surprise; clippy.toml's leave reaches only the tests themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

/// The containers that run beamflow: flags, settings, security.
mod containers;
/// Manifests, as files and as rendered.
mod documents;
/// The operations guide.
mod guide;
/// The Dockerfile and what it copies.
mod image;
/// Dashboard, alerts, PodMonitors.
mod monitoring;
/// Vertices, edges, buffers.
mod pipelines;
/// Numaflow's CRD schemas.
mod schemas;
