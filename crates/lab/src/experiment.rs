//! The simulated experiment of the demo, `send` and `simulate-source`: one object, one probe, one scan.

use crate::probe::{DETECTOR_SIZE, PHOTONS};
use crate::{DetectorError, Object, Probe, ProbeShape, Raster, Scan, SimulatedScan};

/// The demo's scan: the lit disc is 32 pixels wide, so neighbours overlap by four fifths.
pub const RASTER: Raster = Raster {
    rows: 30,
    columns: 30,
    step: 6,
    jitter: 1,
    seed: 1,
};

/// A scan of the test target along `raster`, with the probe that the model was trained for.
///
/// # Errors
/// [`DetectorError`] for a raster without points.
pub fn scan(raster: Raster) -> Result<SimulatedScan, DetectorError> {
    scan_on(DETECTOR_SIZE, raster)
}

/// The same experiment on a detector of `side` × `side` pixels. The disc, the photons, the step of `raster` and
/// its jitter scale with `side`, so that counts per pixel and the overlap of neighbours stay the same.
///
/// # Errors
/// [`DetectorError`] for a raster without points, or a detector that is too small or too large.
pub fn scan_on(side: usize, raster: Raster) -> Result<SimulatedScan, DetectorError> {
    let scale = side as f64 / DETECTOR_SIZE as f64;
    scan_of(side, PHOTONS * scale * scale, raster)
}

/// The same with `photons` in a frame at most, whatever the size of the detector: the fewer there are, the more pixels are 0.
///
/// # Errors
/// [`DetectorError`] for a raster without points, no photons, or a detector that is too small or too large.
pub fn scan_of(side: usize, photons: f64, raster: Raster) -> Result<SimulatedScan, DetectorError> {
    let scale = side as f64 / DETECTOR_SIZE as f64;
    let usual = ProbeShape::default();
    let probe = Probe::new(ProbeShape {
        size: side,
        radius: usual.radius * scale,
        photons,
        ..usual
    })?;
    let raster = Raster {
        step: (raster.step * side / DETECTOR_SIZE).max(1),
        jitter: raster.jitter * side / DETECTOR_SIZE,
        ..raster
    };
    let (rows, columns) = raster.object_shape(probe.size())?;
    let object = Object::test_target(rows, columns)?;
    let scan = Scan::raster(raster, (rows, columns), probe.size())?;
    SimulatedScan::new(object, probe, scan, raster.seed)
}
