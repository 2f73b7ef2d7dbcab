//! The figures of an engine bench, as a table and as JSON.

use crate::commands::table;
use serde::Serialize;
use std::time::Duration;

/// All figures of a bench.
#[derive(Debug, Serialize)]
pub(crate) struct EngineBench {
    /// The engine, in words.
    pub(crate) engine: String,
    /// Frames in a batch.
    pub(crate) batch: usize,
    /// Batches that each lane ran.
    pub(crate) batches_per_lane: usize,
    /// One for each number of lanes, with and without CUDA graphs.
    pub(crate) runs: Vec<Run>,
}

/// The figures of one number of lanes.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    /// Lanes side by side.
    pub(crate) lanes: usize,
    /// Whether CUDA graphs were allowed; `None` where the engine knows none.
    pub(crate) cuda_graphs: Option<bool>,
    /// Batches a second, all lanes together.
    pub(crate) batches_per_second: f64,
    /// Frames a second, all lanes together.
    pub(crate) frames_per_second: f64,
    /// A batch of int16 frames into its slot.
    pub(crate) convert: Percentiles,
    /// Host to device.
    pub(crate) copy_in: Percentiles,
    pub(crate) compute: Percentiles,
    /// Device to host.
    pub(crate) copy_out: Percentiles,
}

/// Times per batch, in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Percentiles {
    /// Half of the batches took no longer.
    pub(crate) p50_us: f64,
    /// 99 of 100 took no longer.
    pub(crate) p99_us: f64,
}

impl Percentiles {
    /// Of `times`.
    #[must_use]
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |fraction| table::percentile(&times, fraction).as_secs_f64() * 1e6;
        Percentiles {
            p50_us: at(0.50),
            p99_us: at(0.99),
        }
    }
}

/// The table's lines.
pub(crate) fn rows(bench: &EngineBench) -> Vec<[String; 8]> {
    let header = [
        "lanes",
        "graphs",
        "batches/s",
        "frames/s",
        "convert",
        "copy in",
        "compute",
        "copy out",
    ];
    let units = [
        "",
        "",
        "",
        "",
        "p50/p99 ms",
        "p50/p99 ms",
        "p50/p99 ms",
        "p50/p99 ms",
    ];
    let stage = |p: &Percentiles| format!("{:.3}/{:.3}", p.p50_us / 1e3, p.p99_us / 1e3);
    let row = |run: &Run| {
        [
            run.lanes.to_string(),
            match run.cuda_graphs {
                None => "-".to_owned(),
                Some(true) => "yes".to_owned(),
                Some(false) => "no".to_owned(),
            },
            format!("{:.1}", run.batches_per_second),
            format!("{:.0}", run.frames_per_second),
            stage(&run.convert),
            stage(&run.copy_in),
            stage(&run.compute),
            stage(&run.copy_out),
        ]
    };
    [header, units]
        .map(|line| line.map(str::to_owned))
        .into_iter()
        .chain(bench.runs.iter().map(row))
        .collect()
}
