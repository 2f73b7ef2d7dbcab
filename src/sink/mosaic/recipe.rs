//! What a mosaic is made of.

use super::patch::Part;
use super::settings::Settings;
use crate::sink::positions::Positions;

/// What a mosaic is made of.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// The output with the phase, in radians.
    pub(crate) phase: String,
    /// The output with the amplitude, if the model has one.
    pub(crate) amplitude: Option<String>,
    pub(crate) positions: Positions,
    pub(crate) canvas: Settings,
}

impl Recipe {
    /// What an output is in the mosaic.
    pub(crate) fn part(&self, output: &str) -> Option<Part> {
        if output == self.phase {
            Some(Part::Phase)
        } else if self.amplitude.as_deref() == Some(output) {
            Some(Part::Amplitude)
        } else {
            None
        }
    }
}
