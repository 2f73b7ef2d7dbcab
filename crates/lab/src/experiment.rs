//! The simulated experiment of the demo, `send`, `simulate-source` and `simulate-ioc`: one object, one probe, one scan.
//!
//! Lengths in metres are those of `pixel_size`: a patch is 512 nm wide on every detector, so that a finer detector
//! has smaller pixels and sees the same experiment. With `RASTER` the probe moves by 48 nm from point to point.

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

/// The width of a patch of the object in metres, whatever the detector.
pub const PATCH_WIDTH: f64 = 512e-9;

/// The side of a pixel of the object in metres, for patches of `side` × `side` pixels: 8 nm for 64.
#[must_use]
pub fn pixel_size(side: usize) -> f64 {
    PATCH_WIDTH / side as f64
}

/// Where the probe is for frame `k`, as (x, y) in metres from the centre of the object: x to the right, y downwards,
/// along the columns and rows of a frame. Pixel N/2 is the centre of N pixels. Nothing beyond the end of the scan.
#[must_use]
pub fn probe_position(scan: &SimulatedScan, k: usize) -> Option<(f64, f64)> {
    let position = scan.positions().get(k)?;
    let (rows, columns) = scan.object().shape();
    let metres = |corner: usize, extent: usize| {
        // Whole pixels below 2³¹.
        let pixels = (corner + scan.size() / 2) as f64 - (extent / 2) as f64;
        pixels * pixel_size(scan.size())
    };
    Some((metres(position.x, columns), metres(position.y, rows)))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Raster = Raster {
        rows: 3,
        columns: 5,
        jitter: 0,
        ..RASTER
    };

    #[test]
    fn the_probe_is_centred_and_moves_by_the_step() {
        let scan = scan(SMALL).unwrap();
        let close = |(x, y): (f64, f64), expected: (f64, f64)| {
            assert!((x - expected.0).abs() < 1e-18, "{x} {expected:?}");
            assert!((y - expected.1).abs() < 1e-18, "{y} {expected:?}");
        };
        let at = |k| probe_position(&scan, k).unwrap();
        close(at(0), (-96e-9, -48e-9));
        close(at(7), (0.0, 0.0));
        close(at(8), (48e-9, 0.0));
        close(at(12), (0.0, 48e-9));
        assert_eq!(probe_position(&scan, 15), None);
    }

    #[test]
    fn a_finer_detector_sees_the_same_positions() {
        let (coarse, fine) = (scan(SMALL).unwrap(), scan_on(256, SMALL).unwrap());
        for k in 0..15 {
            assert_eq!(probe_position(&coarse, k), probe_position(&fine, k));
        }
    }
}
