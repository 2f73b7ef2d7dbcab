//! What is to be built.

use crate::options::{DeviceSelection, Precision};
use beamflow_frame::BadValue;
use std::path::PathBuf;
use std::str::FromStr;

/// An engine to be built.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The `.onnx` file.
    pub model: PathBuf,
    /// Where the engine goes.
    pub engine: PathBuf,
    /// The rows of a run; `None`: as the model says, or `rows_if_open`.
    pub batch: Option<BatchRequest>,
    /// The rows of a run where neither the model nor `batch` says.
    pub rows_if_open: usize,
    /// The precision.
    pub precision: Precision,
    /// The GPU's compute capability, where it is not the one at hand.
    pub compute_capability: Option<ComputeCapability>,
    /// Where there is no `compute_capability`: the GPUs, of which the first is built for.
    pub devices: DeviceSelection,
    /// The folder with the TensorRT libraries.
    pub library_path: Option<PathBuf>,
}

/// The rows of a run if neither the model nor a flag says.
pub const USUAL_ROWS: usize = 8;

/// The rows that an engine is built for, as in a TensorRT optimization profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRequest {
    /// The fewest rows that a run takes.
    pub least: usize,
    /// The number it is tuned for.
    pub best: usize,
    /// The most.
    pub most: usize,
}

impl BatchRequest {
    /// Exactly `rows`.
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

/// A GPU generation: 8.0 is an A100, 8.9 an L4, 9.0 an H100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComputeCapability {
    /// Before the point.
    pub major: u32,
    /// After it.
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
    fn a_batch_is_a_number_or_a_range_in_order() {
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
