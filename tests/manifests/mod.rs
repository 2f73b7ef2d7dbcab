//! Deployed files match the program: every manifest is checked against Numaflow's own schemas and against the
//! command line, and every metric in a panel or an alert exists in the sidecar.
//!
//! Where a recent `kubectl` is available, each overlay is rendered and gets the same checks. Where `promtool`
//! is available, alerts are tested on synthetic series. Tests that need a missing tool are ignored.

/// Each component on what it is for.
mod components;
/// The containers that run beamflow: flags, settings, security.
pub mod containers;
/// Manifests, as files and rendered.
pub mod documents;
/// Faults that no schema finds.
pub mod faults;
/// The sink for files.
mod file_sink;
/// The operations guide.
mod guide;
/// The Dockerfile and the files that it copies.
mod image;
/// Other images, components, sites: what kustomize makes of them.
mod kustomize;
/// The models of the sidecars.
mod models;
/// Dashboard, alerts, PodMonitors.
mod monitoring;
/// Vertices, edges, buffers.
mod pipelines;
/// The source of a detector's PVs, and the simulated IOC.
pub mod pva;
/// The sink for viewers, and the live mosaic.
mod pva_sink;
/// The cluster on a laptop.
mod quick_start;
/// Numaflow's CRD schemas.
mod schemas;
