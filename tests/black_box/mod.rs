//! Black-box tests of the sidecar: a real socket, real gRPC, a real model, the real program.
//!
//! One file per promise. All are modules of one test program, which is linked once.

/// Every datum is answered exactly once, with its own result.
mod answers;
/// From a detector's PV to results.
#[cfg(feature = "pva")]
mod beamline;
/// `beamflow bench`.
mod bench;
/// Compressed frames.
mod codecs;
/// A sidecar on a temporary socket, frames, and their expected results.
mod common;
/// Nacks, their delays, and the last delivery.
mod deliveries;
/// pipeline.yaml, run.
#[cfg(feature = "pva")]
mod deployed;
/// A detector for tests of the PVA source.
#[cfg(feature = "pva")]
mod detector;
/// Several devices, and the number of batches in flight on them.
mod devices;
/// Full disk.
mod disk;
/// inspect, bench-engine, build-engine.
mod engine_commands;
/// Engine faults: every datum is answered.
mod faults;
/// `beamflow file-sink`: what is in its files.
#[cfg(all(feature = "pva", feature = "hdf5"))]
mod file_sink;
/// When its files end, and what a kill and a full disk leave.
#[cfg(all(feature = "pva", feature = "hdf5"))]
mod file_sink_ends;
/// While it and other parts of a beamline are killed.
#[cfg(all(feature = "pva", feature = "hdf5"))]
mod file_sink_kills;
/// Folders that cannot be written to.
mod folders;
/// Missing frame numbers.
mod gaps;
/// p4p's gateway between `beamflow pva-sink` and viewers.
#[cfg(feature = "pva")]
mod gateway;
/// Results do not depend on mode, depth, batch, neighbours or position.
mod identical;
/// `beamflow simulate-ioc`, and clients of pvAccess.
#[cfg(feature = "pva")]
mod ioc;
/// Memory limits.
mod limits;
/// The live demo in a browser.
#[cfg(all(feature = "pva", feature = "hdf5"))]
mod live_page;
/// The log.
mod logs;
/// Metrics, stats and health over HTTP.
mod metrics;
/// What the Python sidecars gave.
mod migration;
/// Model files as people have them.
mod model_files;
/// The models file.
mod models_file;
/// The live mosaic of `beamflow pva-sink`.
#[cfg(feature = "pva")]
mod mosaic;
/// Pixels that are no measurements, results that are no numbers, and metadata.
mod numbers;
/// `beamflow file-sink` as the onSuccess sink of `beamflow pva-sink`.
#[cfg(all(feature = "pva", feature = "hdf5"))]
mod on_success;
/// The status page, in a browser.
mod page;
/// Exit codes, one-line mistakes, signals, files, commands.
mod process;
/// The page of `beamflow pva-source`, in a browser.
#[cfg(feature = "pva")]
mod pva_page;
/// `beamflow pva-source` and the servers of others.
#[cfg(feature = "pva")]
mod pva_peers;
/// `beamflow pva-source` and a server of others: refusals and losses.
#[cfg(feature = "pva")]
mod pva_refusals;
/// `beamflow pva-sink`: its clients.
#[cfg(feature = "pva")]
mod pva_sink;
/// `beamflow pva-sink` at the end of a pipeline whose parts are killed.
#[cfg(feature = "pva")]
mod pva_sink_kills;
/// `beamflow pva-sink` behind maps: dead letters, two models.
#[cfg(feature = "pva")]
mod pva_sink_maps;
/// The page of `beamflow pva-sink`, in a browser.
#[cfg(feature = "pva")]
mod pva_sink_page;
/// `beamflow pva-sink` and the clients of others.
#[cfg(feature = "pva")]
mod pva_sink_peers;
/// `beamflow pva-sink`: its messages.
#[cfg(feature = "pva")]
mod pva_sink_results;
/// `beamflow pva-source`.
#[cfg(feature = "pva")]
mod pva_source;
/// The README's tables of flags agree with `--help`.
mod readme;
/// Numbers compared with onnxruntime's.
mod reference;
/// A file sink for tests, and h5py as the reader of its files.
#[cfg(all(feature = "pva", feature = "hdf5"))]
mod result_files;
/// Results for tests of the sinks.
#[cfg(feature = "pva")]
mod results;
/// What scrapers of the metrics get.
mod scrape;
/// The handler under the SDK's own server.
mod sdk;
/// A sidecar with its HTTP server.
mod served;
/// Several models in one sidecar.
mod several_models;
/// `beamflow size`.
mod size;
/// A simulated source, and a sidecar that reads from it.
mod source;
/// Streams do not delay each other.
mod streams;
/// Settings as pods have them.
mod variables;
