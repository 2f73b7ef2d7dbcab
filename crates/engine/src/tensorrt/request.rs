//! Requests to build an engine.

use crate::options::{DeviceSelection, Precision};
use beamflow_frame::BadValue;
use std::path::PathBuf;
use std::str::FromStr;

/// A request to build an engine.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The `.onnx` file.
    pub model: PathBuf,
    /// The path of the engine file to write.
    pub engine: PathBuf,
    /// Rows per run; `None`: the model's batch size, or `rows_if_open` if that is dynamic.
    pub batch: Option<BatchRequest>,
    /// Rows per run if the model's batch dimension is dynamic and `batch` is `None`.
    pub rows_if_open: usize,
    /// The precision to build with.
    pub precision: Precision,
    /// The compute capability of the target GPU, if the target is not a GPU of this machine.
    pub compute_capability: Option<ComputeCapability>,
    /// The GPUs of this machine. Without `compute_capability`, the engine is built for the first of them.
    pub devices: DeviceSelection,
    /// The folder with the TensorRT libraries; `None`: the system's library path.
    pub library_path: Option<PathBuf>,
}

/// Rows per run if neither the model nor a flag sets them.
pub const USUAL_ROWS: usize = 8;

/// The rows per run that an engine is built for, as in a TensorRT optimization profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRequest {
    /// The fewest rows that a run takes.
    pub least: usize,
    /// The number of rows that the engine is tuned for.
    pub best: usize,
    /// The most rows that a run takes.
    pub most: usize,
}

impl BatchRequest {
    /// A range of exactly `rows` rows.
    #[must_use]
    pub const fn exactly(rows: usize) -> Self {
        Self {
            least: rows,
            best: rows,
            most: rows,
        }
    }
}

/// Reads `8` or `1:8:16`.
impl FromStr for BatchRequest {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let numbers: Vec<usize> = text
            .split(':')
            .filter_map(|n| n.parse().ok().filter(|n| (1..=65_536).contains(n)))
            .collect();
        match *numbers {
            [rows] if !text.contains(':') => Ok(Self::exactly(rows)),
            [least, best, most]
                if least <= best && best <= most && text.split(':').count() == 3 =>
            {
                Ok(Self { least, best, most })
            }
            _ => Err(BadValue::new(
                text,
                "a number of rows such as 8, or least:best:most such as 1:8:16, up to 65536",
            )),
        }
    }
}

/// A GPU generation: 7.5 is a T4, 8.0 an A100, 8.9 an L4, 9.0 an H100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComputeCapability {
    /// The number before the point.
    pub major: u32,
    /// The number after the point.
    pub minor: u32,
}

impl std::fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ComputeCapability {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        text.split_once('.')
            .and_then(|(major, minor)| {
                Some(Self {
                    major: major.parse().ok()?,
                    minor: minor.parse().ok()?,
                })
            })
            .ok_or_else(|| BadValue::new(text, "two numbers with a point, such as 8.9"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_number_or_an_ordered_range() {
        assert_eq!("8".parse(), Ok(BatchRequest::exactly(8)));
        assert_eq!(
            "1:8:16".parse(),
            Ok(BatchRequest {
                least: 1,
                best: 8,
                most: 16
            })
        );
        for text in [
            "", "0", "8:4:16", "1:2", "1:2:3:4", "a:8:9", "1::2", "70000",
        ] {
            assert!(text.parse::<BatchRequest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_compute_capability_has_a_point() {
        let parsed = "8.9".parse::<ComputeCapability>().unwrap();
        assert_eq!((parsed.major, parsed.minor), (8, 9));
        for text in ["89", "8.", "sm_89", ""] {
            assert!(text.parse::<ComputeCapability>().is_err(), "{text}");
        }
    }
}
