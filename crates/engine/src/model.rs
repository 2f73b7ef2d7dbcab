//! A model's input and outputs: names, shapes, element types, batch dimension.

use beamflow_frame::values::Element;

/// Name, shape and type of a tensor for one frame, without the batch dimension.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TensorSpec {
    /// The tensor's name in the model.
    pub name: String,
    /// Shape without the batch dimension, slowest axis first: `[1, 128, 128]` for `N×1×128×128`.
    pub shape: Vec<usize>,
    /// The type of its values.
    pub element: Element,
}

impl TensorSpec {
    /// Values in one frame of this tensor.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The tensor of an image H×W×1 as 1×H×W, which are the same bytes. Any other tensor does not change.
    pub(crate) fn with_channel_first(mut self) -> Self {
        if let [height, width, 1] = *self.shape.as_slice() {
            self.shape = vec![1, height, width];
        }
        self
    }

    /// Bytes in one frame of this tensor.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.element.size())
    }
}

impl std::fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[N", self.name)?;
        self.shape.iter().try_for_each(|n| write!(f, "×{n}"))?;
        write!(f, "]")
    }
}

/// Rows in a batch if neither the settings nor the model define it.
const USUAL_BATCH: usize = 8;

/// The model's batch dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchDimension {
    /// Every run takes exactly this many rows; short batches are padded.
    Static(usize),
    /// Any number of rows.
    Dynamic,
    /// Any number of rows in a range, as in a TensorRT optimization profile.
    Within {
        /// The fewest rows that a run takes; shorter batches are padded.
        least: usize,
        /// The number of rows that the engine is tuned for.
        best: usize,
        /// The most rows that a run takes.
        most: usize,
    },
}

impl BatchDimension {
    /// Any number of rows in a range. If the range is a single number, the dimension is static.
    #[must_use]
    pub const fn within(least: usize, best: usize, most: usize) -> Self {
        if least == most {
            Self::Static(least)
        } else {
            Self::Within { least, best, most }
        }
    }

    /// Rows to run for `frames` frames.
    #[must_use]
    pub fn rows(self, frames: usize) -> usize {
        match self {
            Self::Static(rows) => rows,
            Self::Dynamic => frames,
            Self::Within { least, .. } => frames.max(least),
        }
    }

    /// The fewest rows that a run takes.
    #[must_use]
    pub fn least(self) -> usize {
        match self {
            Self::Static(rows) => rows,
            Self::Dynamic => 1,
            Self::Within { least, .. } => least,
        }
    }

    /// The most rows that a run takes, if there is a limit.
    #[must_use]
    pub fn most(self) -> Option<usize> {
        match self {
            Self::Static(rows) => Some(rows),
            Self::Dynamic => None,
            Self::Within { most, .. } => Some(most),
        }
    }

    /// The best batch size for the model.
    #[must_use]
    pub fn best(self) -> usize {
        match self {
            Self::Static(rows) => rows,
            Self::Dynamic => USUAL_BATCH,
            Self::Within { best, .. } => best,
        }
    }

    /// Whether a run may take `rows` rows.
    #[must_use]
    pub fn allows(self, rows: usize) -> bool {
        match self {
            Self::Static(fixed) => rows == fixed,
            Self::Dynamic => rows > 0,
            Self::Within { least, most, .. } => (least..=most).contains(&rows),
        }
    }
}

impl ModelSpec {
    /// The model with the channel before the image, if its input is an image H×W×1.
    #[cfg_attr(
        not(any(feature = "tensorrt", feature = "tensorrt-rtx")),
        allow(dead_code)
    )]
    pub(crate) fn with_channel_first(self) -> Self {
        let input = self.input.clone().with_channel_first();
        if input == self.input {
            return self;
        }
        let outputs = self.outputs.into_iter();
        Self {
            input,
            outputs: outputs.map(TensorSpec::with_channel_first).collect(),
            batch: self.batch,
        }
    }
}

impl std::fmt::Display for BatchDimension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Static(rows) => write!(f, "fixed at {rows}"),
            Self::Dynamic => write!(f, "dynamic"),
            Self::Within { least, best, most } => write!(f, "{least} to {most}, best {best}"),
        }
    }
}

/// A model's input, outputs and batch dimension.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModelSpec {
    /// The only input: frames.
    pub input: TensorSpec,
    /// The outputs, in the model's order; at least one.
    pub outputs: Vec<TensorSpec>,
    /// The number of rows that a run takes.
    pub batch: BatchDimension,
}

impl ModelSpec {
    /// Bytes that a batch of `rows` rows takes, input and outputs together.
    #[must_use]
    pub fn batch_bytes(&self, rows: usize) -> usize {
        let row: usize = std::iter::once(&self.input)
            .chain(&self.outputs)
            .map(TensorSpec::bytes)
            .sum();
        row.saturating_mul(rows)
    }
}
