//! The command line: flags, environment variables, help texts.
//!
//! The flags are those of the Python sidecars that this program replaces, so that their pod specs work
//! unchanged. `reader` reads arguments and variables by one set of rules. Each value is checked here, and their
//! combination in `crate::config`; `usage` turns a mistake into one line. This module depends on the settings that it fills, and on nothing above them.

/// `beamflow bench`.
mod bench;
/// `beamflow bench-engine`.
mod bench_engine;
/// `beamflow build-engine`.
mod build_engine;
/// `beamflow check`.
mod check;
/// `beamflow demo`.
mod demo;
/// `beamflow file-sink`.
#[cfg(feature = "hdf5")]
mod file_sink;
/// Flags of the engine, shared by several commands.
mod gpu;
/// `beamflow inspect`.
mod inspect;
/// `beamflow simulate-ioc`.
#[cfg(feature = "pva")]
mod ioc;
/// Flags of the log.
mod log;
/// The mosaic of `beamflow pva-sink` and `beamflow file-sink`.
#[cfg(any(feature = "pva", feature = "hdf5"))]
mod mosaic;
/// Parsers for numbers, times, addresses and policies.
mod parse;
/// `beamflow pva-sink`.
#[cfg(feature = "pva")]
mod pva_sink;
/// `beamflow pva-source`.
#[cfg(feature = "pva")]
mod pva_source;
/// The type and shape of raw results.
#[cfg(any(feature = "pva", feature = "hdf5"))]
mod raw;
/// Arguments and environment variables, read by one set of rules.
mod reader;
/// The size of a simulated scan.
mod scan;
/// `beamflow send`.
mod send;
/// The flags for serving, and the configuration made from them.
mod serve;
/// The settings in effect and the origin of each.
pub(crate) mod settings;
/// `beamflow size`.
mod size;
/// `beamflow simulate-source`.
mod source;
/// A mistake on the command line, in one line.
pub(crate) mod usage;
/// What all values have in common.
mod values;

pub(crate) use bench::{BenchArgs, Peer};
pub(crate) use bench_engine::BenchEngineArgs;
pub(crate) use build_engine::BuildEngineArgs;
pub(crate) use check::CheckArgs;
pub(crate) use demo::DemoArgs;
#[cfg(feature = "hdf5")]
pub(crate) use file_sink::FileSinkArgs;
pub(crate) use inspect::InspectArgs;
#[cfg(feature = "pva")]
pub(crate) use ioc::SimulateIocArgs;
pub(crate) use log::LogArgs;
#[cfg(feature = "pva")]
pub(crate) use pva_sink::PvaSinkArgs;
#[cfg(feature = "pva")]
pub(crate) use pva_source::PvaSourceArgs;
pub(crate) use reader::serving_variables;
#[cfg(all(feature = "pva", feature = "hdf5"))]
pub(crate) use reader::variables_of;
pub use reader::{Reading, Stop, command, read};
pub(crate) use scan::{TooLarge, check_memory};
pub(crate) use send::SendArgs;
pub(crate) use serve::ServeArgs;
pub(crate) use size::SizeArgs;
pub(crate) use source::SimulateSourceArgs;

use clap::{Parser, Subcommand};

/// Runs detector frames through a neural network, in batches, as a Numaflow map sidecar.
///
/// Without a command, beamflow serves: it loads the model, warms it up, listens on the socket, and sends exactly one
/// response for every datum of every read batch. A flag can also be set by the environment variable shown with it; the
/// flag takes precedence. A blank value counts as not given. A flag without a value also takes one: --debug=no.
///
/// Exit codes: 0 after a drained SIGTERM, 64 for a wrong flag, 1 for any other error.
#[derive(Debug, Parser)]
#[command(name = "beamflow", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags for serving.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The commands other than serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Simulates a scan, reconstructs it through a sidecar in all modes, and draws the result.
    Demo(DemoArgs),
    /// Sends frames from a file or the simulator to a running sidecar, as Numaflow does.
    Send(SendArgs),
    /// Builds a TensorRT engine from an .onnx model.
    BuildEngine(BuildEngineArgs),
    /// Loads the models of a file as for serving, trial runs included, and prints a line for each.
    Check(Box<CheckArgs>),
    /// Prints a model's tensors, shapes, batch range, memory and version.
    Inspect(InspectArgs),
    /// Measures the speed of sidecars, driven over their sockets as Numaflow does, and of other programs if named.
    Bench(BenchArgs),
    /// Measures the speed of an engine alone, without sockets, with 1 lane and more.
    BenchEngine(BenchEngineArgs),
    /// Serves simulated frames as a Numaflow source, so that a pipeline runs without a beamline.
    SimulateSource(SimulateSourceArgs),
    /// Serves the frames of a detector's PVs (EPICS pvAccess, NTNDArray) as a Numaflow source.
    #[cfg(feature = "pva")]
    PvaSource(PvaSourceArgs),
    /// Serves results as PVs (EPICS pvAccess, NTNDArray) for viewers, as a Numaflow sink.
    #[cfg(feature = "pva")]
    PvaSink(PvaSinkArgs),
    /// Writes results to HDF5 files, one for each scan, as a Numaflow sink.
    #[cfg(feature = "hdf5")]
    FileSink(FileSinkArgs),
    /// Serves simulated frames as an EPICS PV, so that a pipeline with PVA runs without a beamline.
    #[cfg(feature = "pva")]
    SimulateIoc(SimulateIocArgs),
    /// Computes devices, settings, memory and bytes from a frame size, a frame rate and the time of a batch.
    Size(SizeArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::OutputSize;
    use crate::inference::model::OrAuto;
    use crate::inference::schedule::Mode;

    fn parsed(flags: &[&str]) -> Result<Cli, String> {
        let reading = read(flags.iter().map(Into::into), |_| None);
        reading
            .map(|reading| reading.cli)
            .map_err(|stop| stop.to_string())
    }

    #[test]
    fn a_pod_spec_of_the_python_sidecars_works_unchanged() {
        let cli = parsed(&[
            "--mode",
            "concurrent",
            "--bsz_size",
            "16",
            "--queue-size",
            "300",
            "--pipeline-depth",
            "4",
            "--max-concurrent-batches",
            "2",
            "--output-size",
            "64x32",
        ])
        .unwrap();
        assert_eq!(cli.serve.model.mode, Mode::Concurrent);
        assert_eq!(cli.serve.model.bsz_size, OrAuto::Exactly(16));
        assert_eq!(
            cli.serve.frames.output_size,
            OutputSize::Size {
                width: 64,
                height: 32
            }
        );
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_with_the_allowed_values() {
        for (flag, value, allowed) in [
            ("--bsz-size", "0", "auto or a whole number from 1 to 4096"),
            ("--devices", "0,0", "each once"),
            ("--pipeline-depth", "65", "from 1 to 64"),
            ("--batch-timeout", "10", "off or "),
            ("--inference-timeout", "0s", "above 0"),
            ("--on-invalid", "tag:", "tag:NAME"),
            ("--on-failure", "retry", "nack, fail, drop or abort"),
        ] {
            let error = parsed(&[flag, value]).unwrap_err();
            assert!(error.contains(allowed), "{error}");
        }
    }

    #[test]
    fn socket_and_server_info_file_need_different_paths() {
        let cli = parsed(&["--sock-path", "/a", "--server-info-path", "/a"]).unwrap();
        let mistake = crate::config::Config::try_from(cli.serve).unwrap_err();
        assert!(mistake.to_string().contains("--server-info-path: '/a'"));
    }
}
