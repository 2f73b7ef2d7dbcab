//! The error of a stitched phase, in radians, against the known truth.
//!
//! The measure is the median over the well-covered pixels; the image's arbitrary constant is removed as the
//! median difference. For comparison it also has the error of the best constant phase, since any flat image has
//! a finite error. A perfect image has error 0 whatever its constant.

use ndarray::{Array2, ArrayView2, Zip};

use super::{StitchError, Stitched};

/// Pixels with at least this fraction of the median coverage of all lit pixels count as well covered.
const WELL_COVERED: f64 = 0.2;

/// Errors of a reconstruction, in radians except `ratio` and `pixels`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PhaseError {
    /// Median of |reconstruction − truth − offset|.
    pub median: f64,
    /// Median of |truth − median of truth|: the error of a constant phase.
    pub constant_median: f64,
    /// `median / constant_median`: 0 is perfect, 1 no better than a constant.
    pub ratio: f64,
    /// Largest minus smallest true phase among the pixels compared.
    pub span: f64,
    /// Median of reconstruction − truth; subtract it from the image before comparing.
    pub offset: f64,
    /// The number of compared pixels.
    pub pixels: usize,
}

impl PhaseError {
    /// Compares the pixels that are well covered; `truth` is in radians, in the shape of the image.
    ///
    /// # Errors
    /// [`StitchError::TruthShape`].
    pub fn measure(stitched: &Stitched, truth: ArrayView2<'_, f64>) -> Result<Self, StitchError> {
        Self::compare(stitched.phase.view(), stitched.coverage.view(), truth)
    }

    /// The same of a phase in radians and its coverage, all of one shape: those of [`Stitched`], or of a snapshot while the scan
    /// runs.
    ///
    /// # Errors
    /// [`StitchError::TruthShape`].
    pub fn compare(
        phase: ArrayView2<'_, f64>,
        coverage: ArrayView2<'_, f64>,
        truth: ArrayView2<'_, f64>,
    ) -> Result<Self, StitchError> {
        if truth.dim() != phase.dim() || coverage.dim() != phase.dim() {
            return Err(StitchError::TruthShape {
                truth: truth.dim(),
                stitched: phase.dim(),
            });
        }
        let mut truths = Vec::new();
        let mut differences = Vec::new();
        let covered = well_covered(coverage);
        Zip::from(&covered)
            .and(phase)
            .and(truth)
            .for_each(|&covered, &phase, &truth| {
                if covered {
                    truths.push(truth);
                    differences.push(phase - truth);
                }
            });
        let offset = median(&mut differences);
        let median_truth = median(&mut truths);
        let spread = |values: &[f64], centre: f64| {
            median(
                &mut values
                    .iter()
                    .map(|v| (v - centre).abs())
                    .collect::<Vec<_>>(),
            )
        };
        let error = spread(&differences, offset);
        let constant = spread(&truths, median_truth);
        // `median` sorts in place, so the ends are the extremes.
        let span = truths
            .last()
            .zip(truths.first())
            .map_or(0.0, |(high, low)| high - low);
        Ok(Self {
            median: error,
            constant_median: constant,
            ratio: error / constant,
            span,
            offset,
            pixels: truths.len(),
        })
    }
}

impl Stitched {
    /// The image minus `offset` (see [`PhaseError::offset`]), NaN where it is not reliable: the image to draw.
    pub fn trusted_phase(&self, offset: f64) -> Array2<f64> {
        let mut phase = &self.phase - offset;
        Zip::from(&mut phase)
            .and(&well_covered(self.coverage.view()))
            .for_each(|phase, &covered| {
                if !covered {
                    *phase = f64::NAN;
                }
            });
        phase
    }
}

/// Where an image is reliable: pixels with at least a fifth of the median coverage of the lit ones, so all but the scan's dim rim
/// and the holes of dropped frames. Same shape as the image.
fn well_covered(coverage: ArrayView2<'_, f64>) -> Array2<bool> {
    let mut lit: Vec<f64> = coverage.iter().copied().filter(|&w| w > 0.0).collect();
    let enough = WELL_COVERED * median(&mut lit);
    coverage.mapv(|w| w > 0.0 && w >= enough)
}

/// Sorts `values` and returns their median: the mean of the two middle ones if their number is even, NaN if
/// there are none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2);
    let lower = values.get(values.len().saturating_sub(1) / 2);
    lower.zip(upper).map_or(f64::NAN, |(a, b)| 0.5 * (a + b))
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn stitched(phase: Array2<f64>, coverage: Array2<f64>) -> Stitched {
        Stitched {
            phase,
            coverage,
            constants: vec![0.0],
            sweeps: 0,
            last_change: 0.0,
        }
    }

    #[test]
    fn the_median_error_is_what_the_pixels_say() -> TestResult {
        let truth = Array2::from_shape_fn((1, 5), |(_, x)| x as f64); // 0 1 2 3 4
        let wrong_by = ndarray::arr2(&[[0.0, 0.1, -0.2, 0.4, 0.0]]);
        let image = stitched(&truth + &wrong_by + 7.0, Array2::ones((1, 5)));
        let error = PhaseError::measure(&image, truth.view())?;
        assert!((error.offset - 7.0).abs() < 1e-12);
        assert!((error.median - 0.1).abs() < 1e-12, "{error:?}");
        assert!((error.constant_median - 1.0).abs() < 1e-12);
        assert!((error.ratio - 0.1).abs() < 1e-12);
        assert!((error.span - 4.0).abs() < 1e-12);
        assert_eq!(error.pixels, 5);
        Ok(())
    }

    #[test]
    fn dim_and_dark_pixels_are_not_compared() -> TestResult {
        let truth = Array2::zeros((1, 5));
        let phase = ndarray::arr2(&[[0.0, 0.0, 50.0, f64::NAN, 0.0]]);
        let coverage = ndarray::arr2(&[[4.0, 5.0, 0.5, 0.0, 4.0]]);
        let image = stitched(phase, coverage);
        let error = PhaseError::measure(&image, truth.view())?;
        assert_eq!((error.pixels, error.median, error.span), (3, 0.0, 0.0));
        let trusted = image.trusted_phase(1.0);
        assert!(
            trusted
                .iter()
                .map(|p| p.is_nan())
                .eq([false, false, true, true, false])
        );
        assert_eq!(trusted.first(), Some(&-1.0));
        Ok(())
    }

    #[test]
    fn a_truth_of_another_shape_is_an_error() {
        let image = stitched(Array2::zeros((3, 3)), Array2::ones((3, 3)));
        let result = PhaseError::measure(&image, Array2::zeros((3, 4)).view());
        assert!(matches!(result, Err(StitchError::TruthShape { .. })));
    }
}
