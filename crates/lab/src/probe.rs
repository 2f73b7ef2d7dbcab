//! The probe: the wave that illuminates one N×N patch of the object.
//!
//! P(x, y) = s·exp(−(r/R)^m)·exp(iπ·r²/N), r measured from the centre pixel (N/2, N/2): a disc of radius R with
//! a soft, super-Gaussian edge (m = 8) and a parabolic wavefront, as from a slightly defocused lens. The
//! curvature is necessary: with a flat wavefront an object and its conjugate mirror image (its twin) give the
//! same pattern, and no network can distinguish them; with a curved one they differ (Rodenburg & Maiden 2019,
//! on structured and defocused probes). The curvature also spreads the bright centre of the pattern over a
//! disc, so that no pixel saturates.
//!
//! Σ|P|² is the number of photons per frame.

use std::f64::consts::PI;

use ndarray::Array2;
use rustfft::num_complex::Complex64;

use super::DetectorError;

/// Side N of the detector, hence of the probe and of each patch, in pixels.
pub(crate) const DETECTOR_SIZE: usize = 64;
/// Photons in the probe, so in each frame of a fully transparent object.
pub(crate) const PHOTONS: f64 = 1.0e6;
/// Radius R of the lit disc in pixels, for [`DETECTOR_SIZE`].
pub(crate) const RADIUS: f64 = 16.0;
/// Exponent m of the disc's edge: 2 is a Gaussian, large is a hard pinhole.
pub(crate) const EDGE_ORDER: i32 = 8;
/// Curvature κ of the wavefront, phase πκ·r²/N: 0 is flat, 1 is what the model was trained with.
pub(crate) const CURVATURE: f64 = 1.0;

/// Largest simulated detector: its field takes two gigabytes.
const LARGEST: usize = 8192;

/// Parameters of a probe; the default is the one the demo's model was trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeShape {
    /// Side N in pixels.
    pub size: usize,
    /// Radius R of the disc in pixels.
    pub(crate) radius: f64,
    /// Exponent m of the edge.
    pub(crate) edge_order: i32,
    /// Curvature κ of the wavefront: the phase is πκ·r²/N.
    pub(crate) curvature: f64,
    /// Photons per frame, Σ|P|².
    pub(crate) photons: f64,
}

impl Default for ProbeShape {
    fn default() -> Self {
        Self {
            size: DETECTOR_SIZE,
            radius: RADIUS,
            edge_order: EDGE_ORDER,
            curvature: CURVATURE,
            photons: PHOTONS,
        }
    }
}

/// The complex probe P, shape (N, N), in square roots of photons.
#[derive(Debug, Clone)]
pub struct Probe {
    shape: ProbeShape,
    wave: Array2<Complex64>,
}

impl Probe {
    /// Samples the probe on its N×N grid.
    ///
    /// # Errors
    /// [`DetectorError::Impossible`] for a size outside 2 to 8192, a radius, edge order or photon count
    /// that is not positive, or a curvature beyond ±1000.
    pub fn new(shape: ProbeShape) -> Result<Self, DetectorError> {
        check(shape)?;
        let centre = (shape.size / 2) as f64;
        let raw = Array2::from_shape_fn((shape.size, shape.size), |(row, column)| {
            let (x, y) = (column as f64 - centre, row as f64 - centre);
            let r2 = x * x + y * y;
            let edge = (-(r2.sqrt() / shape.radius).powi(shape.edge_order)).exp();
            Complex64::from_polar(edge, PI * shape.curvature * r2 / shape.size as f64)
        });
        // Never zero: the centre pixel is always 1.
        let total: f64 = raw.iter().map(Complex64::norm_sqr).sum();
        let scale = (shape.photons / total).sqrt();
        Ok(Self {
            shape,
            wave: raw.mapv(|p| p * scale),
        })
    }

    /// Side N in pixels.
    pub fn size(&self) -> usize {
        self.shape.size
    }

    /// The complex wave P, shape (N, N).
    pub fn wave(&self) -> &Array2<Complex64> {
        &self.wave
    }

    /// |P|², shape (N, N), in photons per pixel: the brighter a pixel, the more reliable its reconstruction.
    /// The weights for the mosaic's stitcher.
    pub fn intensity(&self) -> Array2<f64> {
        self.wave.mapv(|p| p.norm_sqr())
    }
}

fn check(shape: ProbeShape) -> Result<(), DetectorError> {
    let impossible = |what, given: String, allowed| {
        Err(DetectorError::Impossible {
            what,
            given,
            allowed,
        })
    };
    let positive = |value: f64| value.is_finite() && value > 0.0;
    if !(2..=LARGEST).contains(&shape.size) {
        impossible(
            "the detector size",
            shape.size.to_string(),
            "2 to 8192 pixels",
        )
    } else if !positive(shape.radius) {
        impossible(
            "the probe radius",
            shape.radius.to_string(),
            "a positive number of pixels",
        )
    } else if shape.edge_order < 1 {
        impossible(
            "the probe's edge order",
            shape.edge_order.to_string(),
            "1 or more",
        )
    } else if !positive(shape.photons) {
        impossible("the photon count", shape.photons.to_string(), "positive")
    } else if !(-1e3..=1e3).contains(&shape.curvature) {
        impossible(
            "the probe's curvature",
            shape.curvature.to_string(),
            "between -1000 and 1000",
        )
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn the_probe_holds_exactly_its_photons_at_any_size() -> TestResult {
        for (size, radius, photons) in [(64, 16.0, 1.0e6), (33, 7.0, 250.0), (128, 40.0, 3.0e7)] {
            let probe = Probe::new(ProbeShape {
                size,
                radius,
                photons,
                ..ProbeShape::default()
            })?;
            let total = probe.intensity().sum();
            assert!((total / photons - 1.0).abs() < 1e-12, "{size}: {total}");
        }
        Ok(())
    }

    #[test]
    fn the_default_probe_is_the_one_the_model_was_trained_with() -> TestResult {
        let probe = Probe::new(ProbeShape::default())?;
        let at = |x: usize, y: usize| probe.wave().get((y, x)).copied().ok_or("outside");
        let centre = at(32, 32)?;
        assert!(centre.arg().abs() < 1e-15);
        // r = 16: amplitude falls to 1/e, phase is π·256/64 = 4π, so 0.
        let edge = at(48, 32)? / centre;
        assert!((edge.norm() - (-1.0f64).exp()).abs() < 1e-12);
        assert!(edge.arg().abs() < 1e-9);
        // r² = 4² + 4² = 32: phase π/2 (positive: the sign tells the object from its twin).
        let inner = at(36, 28)? / centre;
        assert!((inner.arg() - PI / 2.0).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn an_impossible_probe_is_an_error_that_names_the_quantity() {
        let shapes = [
            ProbeShape {
                size: 1,
                ..ProbeShape::default()
            },
            ProbeShape {
                radius: 0.0,
                ..ProbeShape::default()
            },
            ProbeShape {
                edge_order: 0,
                ..ProbeShape::default()
            },
            ProbeShape {
                photons: f64::NAN,
                ..ProbeShape::default()
            },
            ProbeShape {
                curvature: f64::INFINITY,
                ..ProbeShape::default()
            },
        ];
        for shape in shapes {
            let result = Probe::new(shape);
            assert!(
                matches!(result, Err(DetectorError::Impossible { .. })),
                "{shape:?}"
            );
        }
    }
}
