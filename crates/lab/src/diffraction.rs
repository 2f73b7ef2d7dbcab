//! The far field: from the wave behind the object to the intensity on the detector.
//!
//! Far from the object the wave is its Fourier transform (Fraunhofer; Rodenburg & Maiden 2019):
//! I = |F{P·O}|²/N² in photons, with F the forward transform Σ exp(−2πi(kx·x + ky·y)/N) and the zero
//! frequency in the centre pixel (N/2, N/2). In numpy's words
//! `abs(fftshift(fft2(ifftshift(P * O))))**2 / N**2`; the division makes F unitary, so ΣI = Σ|P·O|².
//!
//! The two shifts cost nothing. The inner one, on the input, changes only the phases of the output, and |·|²
//! does not depend on them. The outer one is part of the probe: by the shift theorem a probe multiplied by
//! exp(2πi·⌊N/2⌋(x + y)/N) diffracts to a pattern moved by ⌊N/2⌋ pixels.
//!
//! The FFT is planned once, and computing a pattern allocates nothing: threads share a `FarField`, and each has
//! its own `Workspace`.

use std::f64::consts::TAU;
use std::sync::Arc;

use ndarray::ArrayView2;
use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftPlanner};

use super::{DetectorError, Probe};

/// Propagation from object to detector for one probe.
pub(crate) struct FarField {
    size: usize,
    /// Probe × shift phase × 1/N, column by column: the transform's first pass runs along columns.
    probe: Vec<Complex64>,
    fft: Arc<dyn Fft<f64>>,
}

impl std::fmt::Debug for FarField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FarField")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// One thread's scratch memory for [`FarField::intensity`]; about 130 KiB for a detector of 64².
#[derive(Debug, Clone)]
pub struct Workspace {
    by_column: Vec<Complex64>,
    by_row: Vec<Complex64>,
    fft: Vec<Complex64>,
    intensity: Vec<f64>,
}

impl FarField {
    /// Plans the transform for `probe`.
    pub(crate) fn new(probe: &Probe) -> Self {
        let size = probe.size();
        let fft = FftPlanner::new().plan_fft_forward(size);
        let centre = size / 2;
        let modulated = probe
            .wave()
            .t()
            .indexed_iter()
            .map(|((column, row), p)| {
                // Reduced modulo N first, so that the phase stays exact for large N.
                let turn = (centre * (row + column) % size) as f64 / size as f64;
                p * Complex64::from_polar(1.0 / size as f64, TAU * turn)
            })
            .collect();
        Self {
            size,
            probe: modulated,
            fft,
        }
    }

    /// Side N of the detector in pixels.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Scratch memory for one thread.
    pub(crate) fn workspace(&self) -> Workspace {
        let zero = Complex64::new(0.0, 0.0);
        let pixels = self.probe.len();
        Workspace {
            by_column: vec![zero; pixels],
            by_row: vec![zero; pixels],
            fft: vec![zero; self.fft.get_inplace_scratch_len()],
            intensity: vec![0.0; pixels],
        }
    }

    /// Noise-free intensity of one N×N patch of the object, in expected photons per pixel: N·N values,
    /// row by row, zero frequency in pixel (N/2, N/2). They live in `workspace` until its next use.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] for a patch that is not N×N, [`DetectorError::BufferLength`] for a
    /// workspace of another detector.
    pub(crate) fn intensity<'w>(
        &self,
        patch: ArrayView2<'_, Complex64>,
        workspace: &'w mut Workspace,
    ) -> Result<&'w [f64], DetectorError> {
        let n = self.size;
        if patch.dim() != (n, n) {
            return Err(DetectorError::Shape {
                what: "the patch",
                given: patch.dim(),
                expected: (n, n),
            });
        }
        let Workspace {
            by_column,
            by_row,
            fft,
            intensity,
        } = workspace;
        if intensity.len() != n * n || fft.len() < self.fft.get_inplace_scratch_len() {
            return Err(DetectorError::BufferLength {
                given: intensity.len(),
                expected: n * n,
            });
        }

        let exit_wave = self.probe.iter().zip(patch.t());
        for (wave, (p, o)) in by_column.iter_mut().zip(exit_wave) {
            *wave = p * o;
        }
        self.fft.process_with_scratch(by_column, fft); // along y, one column after another
        for (row, values) in by_row.chunks_exact_mut(n).enumerate() {
            let column_values = by_column.iter().skip(row).step_by(n);
            for (value, from) in values.iter_mut().zip(column_values) {
                *value = *from;
            }
        }
        self.fft.process_with_scratch(by_row, fft); // along x, one row after another
        for (photons, wave) in intensity.iter_mut().zip(by_row.iter()) {
            *photons = wave.norm_sqr();
        }
        Ok(intensity)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::ProbeShape;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    /// The patch of `tests/data/diffraction_reference.npy`: a smooth object without symmetry.
    fn reference_patch(size: usize) -> Array2<Complex64> {
        Array2::from_shape_fn((size, size), |(row, column)| {
            let (x, y) = (column as f64, row as f64);
            let phase = 0.8 * (0.21 * x).sin() + 0.5 * (0.13 * y + 0.05 * x).cos();
            let amplitude = 0.8 + 0.2 * (0.17 * x - 0.11 * y).cos();
            Complex64::from_polar(amplitude, phase)
        })
    }

    /// The values of a float64 array of any shape.
    fn read_npy(path: &str) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
        let array = beamflow_frame::npy::Array::read(&bytes)?;
        assert_eq!(array.dtype, beamflow_frame::Dtype::F64);
        let (values, _) = array.data.as_chunks();
        Ok(values.iter().copied().map(f64::from_le_bytes).collect())
    }

    #[test]
    fn the_pattern_is_the_one_the_model_was_trained_on() -> TestResult {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/diffraction_reference.npy"
        );
        let reference = read_npy(path)?;
        let far_field = FarField::new(&Probe::new(ProbeShape::default())?);
        let mut workspace = far_field.workspace();
        let pattern = far_field.intensity(reference_patch(64).view(), &mut workspace)?;
        assert_eq!(pattern.len(), reference.len());
        let brightest = reference.iter().copied().fold(0.0, f64::max);
        for (k, (ours, theirs)) in pattern.iter().zip(&reference).enumerate() {
            // Dark pixels are differences of large numbers, hence the second term.
            let tolerance = 1e-9 * theirs.abs() + 1e-13 * brightest;
            assert!(
                (ours - theirs).abs() <= tolerance,
                "pixel {k}: {ours} against {theirs}"
            );
        }
        Ok(())
    }

    #[test]
    fn the_pattern_is_the_plain_fourier_sum() -> TestResult {
        for size in [8, 9] {
            let shape = ProbeShape {
                size,
                radius: 2.5,
                photons: 1.0,
                ..ProbeShape::default()
            };
            let probe = Probe::new(shape)?;
            let patch = reference_patch(size);
            let far_field = FarField::new(&probe);
            let mut workspace = far_field.workspace();
            let pattern = far_field.intensity(patch.view(), &mut workspace)?;

            let half = (size / 2) as f64;
            for (pixel, ours) in pattern.iter().enumerate() {
                let (ky, kx) = ((pixel / size) as f64 - half, (pixel % size) as f64 - half);
                let sum: Complex64 = probe
                    .wave()
                    .indexed_iter()
                    .zip(&patch)
                    .map(|(((y, x), p), o)| {
                        let turns = (kx * x as f64 + ky * y as f64) / size as f64;
                        p * o * Complex64::from_polar(1.0, -TAU * turns)
                    })
                    .sum();
                let plain = sum.norm_sqr() / (size * size) as f64;
                assert!(
                    (ours - plain).abs() < 1e-13,
                    "{size}: pixel {pixel}: {ours} {plain}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn no_photon_is_lost_between_object_and_detector() -> TestResult {
        let probe = Probe::new(ProbeShape::default())?;
        let far_field = FarField::new(&probe);
        let patch = reference_patch(64);
        let behind: f64 = probe
            .wave()
            .iter()
            .zip(&patch)
            .map(|(p, o)| (p * o).norm_sqr())
            .sum();
        let mut workspace = far_field.workspace();
        let detected: f64 = far_field
            .intensity(patch.view(), &mut workspace)?
            .iter()
            .sum();
        assert!((detected / behind - 1.0).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn a_patch_or_workspace_of_another_size_is_an_error() -> TestResult {
        let far_field = FarField::new(&Probe::new(ProbeShape::default())?);
        let mut workspace = far_field.workspace();
        let small = reference_patch(63);
        let result = far_field.intensity(small.view(), &mut workspace);
        assert!(matches!(result, Err(DetectorError::Shape { .. })));
        let other = ProbeShape {
            size: 32,
            ..ProbeShape::default()
        };
        let mut workspace = FarField::new(&Probe::new(other)?).workspace();
        let result = far_field.intensity(reference_patch(64).view(), &mut workspace);
        assert!(matches!(result, Err(DetectorError::BufferLength { .. })));
        Ok(())
    }
}
