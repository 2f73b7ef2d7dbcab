//! The flags of the mosaic, of `beamflow pva-sink` and `beamflow file-sink`.

use super::parse::whole_number;
#[cfg(feature = "pva")]
use super::parse::{rate, time};
use crate::config::ConfigError;
use crate::frame::BadValue;
use crate::sink::mosaic::{Recipe, Settings as Canvas, WeightsFile};
use crate::sink::positions::{Grid, Orientation, PositionOffset, PositionSource, Positions};
use clap::Args;
use std::path::PathBuf;
#[cfg(feature = "pva")]
use std::time::Duration;

/// See the module's essay.
#[derive(Args, Debug)]
pub(crate) struct MosaicArgs {
    /// Stitches the results of a scan into one picture: pva-sink serves it while the scan runs, file-sink writes the final one
    /// to the file. The size of a pixel must be given with it.
    #[arg(long, env = "PVA_MOSAIC")]
    pub(crate) mosaic: bool,

    /// The size of a pixel of the results on the sample, in metres.
    #[arg(long, env = "PVA_PIXEL_SIZE", value_name = "METRES", value_parser = length)]
    pub(crate) pixel_size: Option<f64>,

    /// The output of the model that has the phase, in radians.
    #[arg(
        long,
        env = "PVA_PHASE_OUTPUT",
        default_value = "phase",
        value_name = "NAME"
    )]
    pub(crate) phase_output: String,

    /// The output that has the amplitude; off: the model has none. A phase waits for the amplitude of its frame.
    #[arg(
        long,
        env = "PVA_AMPLITUDE_OUTPUT",
        default_value = "amplitude",
        value_name = "NAME"
    )]
    pub(crate) amplitude_output: String,

    /// Where the positions of frames come from: headers (x-position-x and x-position-y, in metres), or a file with a row for
    /// each frame. .csv without a header, .npy and .npz: y, x in metres; .npz and .h5: probe_position_y_m and
    /// probe_position_x_m.
    #[arg(
        long,
        env = "PVA_POSITIONS",
        default_value = "headers",
        value_name = "headers|FILE"
    )]
    pub(crate) positions: PositionSource,

    /// The number of the frame that has the first row of the file. A number beyond the last row begins again at the first.
    /// first: the smallest number of its series that has come, which is right only if the first frame of each scan comes, and
    /// before all others.
    #[arg(
        long,
        env = "PVA_POSITION_OFFSET",
        default_value = "first",
        value_name = "first|NUMBER"
    )]
    pub(crate) position_offset: PositionOffset,

    /// How the picture lies on the stage: the axis that goes down, then the one to the right, with their signs.
    #[arg(
        long,
        env = "PVA_ORIENTATION",
        default_value = "+y+x",
        value_name = "AXES",
        allow_hyphen_values = true
    )]
    pub(crate) orientation: Orientation,

    /// Pixels that are cut from each side of a result.
    #[arg(long, env = "PVA_EDGE", default_value = "0", value_name = "PIXELS", value_parser = whole_number::<0, 4_096>)]
    pub(crate) edge: usize,

    /// How much each pixel of a result counts: a .npy file with |P|² of the probe, as large as a result. If not given, a Hann
    /// window.
    #[arg(long, env = "PVA_WEIGHTS", value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,

    /// The largest width and height of the mosaic; results outside are counted.
    #[arg(long, env = "PVA_CANVAS", default_value = "4096", value_name = "PIXELS", value_parser = whole_number::<16, 32_768>)]
    pub(crate) canvas: usize,
}

/// The pictures of a live mosaic.
#[cfg(feature = "pva")]
#[derive(Args, Debug)]
pub(crate) struct PictureArgs {
    /// Pictures per second, at most; one is made only if something was placed.
    #[arg(long, env = "PVA_MOSAIC_RATE", default_value = "4", value_name = "RATE", value_parser = rate)]
    pub(crate) mosaic_rate: f64,

    /// The time without results after which the final picture is made, by the solver on all results of the series.
    #[arg(long, env = "PVA_MOSAIC_IDLE", default_value = "5s", value_name = "TIME", value_parser = time)]
    pub(crate) mosaic_idle: Duration,
}

fn length(text: &str) -> Result<f64, BadValue> {
    let metres = text.parse().ok();
    metres
        .filter(|metres: &f64| metres.is_normal() && (1e-15..1.0).contains(metres))
        .ok_or_else(|| BadValue::new(text, "a length in metres, such as 6.89e-9"))
}

impl MosaicArgs {
    /// What the mosaic is made of, if it is on; the files are read.
    ///
    /// # Errors
    /// [`ConfigError`] naming the flag.
    pub(crate) fn recipe(&self) -> Result<Option<Recipe>, ConfigError> {
        if !self.mosaic {
            return Ok(None);
        }
        let wrong = |flag, given: String, reason: String| ConfigError {
            flag,
            given,
            reason,
        };
        let Some(pixel_size) = self.pixel_size else {
            let reason = "it needs the size of a pixel on the sample, in metres; add --pixel-size";
            return Err(wrong("--mosaic", "yes".into(), reason.into()));
        };
        let grid = Grid::new(pixel_size, self.orientation).map_err(|bad| {
            wrong(
                "--pixel-size",
                pixel_size.to_string(),
                format!("use {}", bad.instead()),
            )
        })?;
        let positions = Positions::read(&self.positions, self.position_offset);
        let weights = self.weights.as_deref().map(WeightsFile::read).transpose();
        let given = |path: &PathBuf| path.display().to_string();
        let amplitude = Some(self.amplitude_output.clone());
        let amplitude = amplitude.filter(|name| !name.eq_ignore_ascii_case("off"));
        let mut canvas = Canvas::new(grid);
        canvas.edge = self.edge;
        canvas.canvas.side = self.canvas;
        canvas.amplitude = amplitude.is_some();
        canvas.weights = weights.map_err(|error| {
            let path = self.weights.as_ref().map(given).unwrap_or_default();
            wrong("--weights", path, error.to_string())
        })?;
        Ok(Some(Recipe {
            phase: self.phase_output.clone(),
            amplitude,
            positions: positions.map_err(|error| {
                let path = match &self.positions {
                    PositionSource::File(path) => given(path),
                    PositionSource::Headers => "headers".to_owned(),
                };
                wrong("--positions", path, error.to_string())
            })?,
            canvas,
        }))
    }
}
