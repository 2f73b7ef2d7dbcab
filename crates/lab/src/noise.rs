//! Shot noise: from expected photons to the counts that the detector reports.
//!
//! Photons arrive independently, so a pixel with λ expected photons counts a Poisson number with mean and
//! variance λ. The detector writes int16, as the beamline's does: counts above 32767 are clipped.
//!
//! Clipped pixels are counted, never wrapped. Frame k uses stream k of the seed's random numbers, so no frame's
//! noise depends on another frame. Streams of one ChaCha key are independent. Seeding each frame with `seed +
//! k` would give frame 1 of scan 1 the noise of frame 0 of scan 2.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Poisson};

use super::DetectorError;

/// One frame as the detector reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// Photon counts, N·N values row by row.
    pub counts: Vec<i16>,
    /// How many of them were clipped to 32767.
    pub clipped: usize,
}

/// The detector's shot noise for one scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShotNoise {
    seed: u64,
}

impl ShotNoise {
    /// Noise determined by `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Draws the counts of `frame` for the expected photons in `intensity`; returns how many pixels
    /// were clipped to 32767.
    ///
    /// # Errors
    /// [`DetectorError::BufferLength`] when `counts` and `intensity` differ in length,
    /// [`DetectorError::Intensity`] for a value that is negative, infinite or not a number.
    pub(crate) fn expose(
        &self,
        frame: u64,
        intensity: &[f64],
        counts: &mut [i16],
    ) -> Result<usize, DetectorError> {
        if counts.len() != intensity.len() {
            return Err(DetectorError::BufferLength {
                given: counts.len(),
                expected: intensity.len(),
            });
        }
        let mut random = stream(self.seed, frame);
        let mut clipped = 0;
        for (count, &expected) in counts.iter_mut().zip(intensity) {
            let photons = if expected == 0.0 {
                0.0 // Poisson is defined for λ > 0 only
            } else {
                Poisson::new(expected)
                    .map_err(|_| DetectorError::Intensity(expected))?
                    .sample(&mut random)
            };
            if photons > f64::from(i16::MAX) {
                clipped += 1;
            }
            *count = photons as i16; // whole and not negative; `as` saturates at 32767
        }
        Ok(clipped)
    }
}

/// Random numbers of stream `stream` of `seed`, independent of every other stream. The output of ChaCha8 is
/// specified, so a scan is the same on every machine and with every release of the crate.
pub(super) fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (byte, from) in key.iter_mut().zip(seed.to_le_bytes()) {
        *byte = from;
    }
    let mut random = ChaCha8Rng::from_seed(key);
    random.set_stream(stream);
    random
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn counts(
        seed: u64,
        frame: u64,
        intensity: &[f64],
    ) -> Result<(Vec<i16>, usize), DetectorError> {
        let mut counts = vec![-1; intensity.len()];
        let clipped = ShotNoise::new(seed).expose(frame, intensity, &mut counts)?;
        Ok((counts, clipped))
    }

    #[test]
    fn counts_have_the_mean_and_the_variance_of_poisson() -> TestResult {
        for expected in [0.3, 4.0, 11.9, 12.1, 1250.0] {
            let draws = 40_000;
            let (counts, clipped) = counts(3, 0, &vec![expected; draws])?;
            assert_eq!(clipped, 0);
            let n = draws as f64;
            let mean = counts.iter().map(|&c| f64::from(c)).sum::<f64>() / n;
            let variance = counts
                .iter()
                .map(|&c| (f64::from(c) - mean).powi(2))
                .sum::<f64>()
                / n;
            // Five standard deviations of each estimate.
            assert!(
                (mean - expected).abs() < 5.0 * (expected / n).sqrt(),
                "{expected}: {mean}"
            );
            let spread = ((2.0 * expected * expected + expected) / n).sqrt();
            assert!(
                (variance - expected).abs() < 5.0 * spread,
                "{expected}: {variance}"
            );
        }
        Ok(())
    }

    #[test]
    fn saturated_pixels_are_clipped_and_counted() -> TestResult {
        let (counts, clipped) = counts(1, 0, &[0.0, 40_000.0, 10.0, 1.0e12])?;
        assert_eq!(clipped, 2);
        let brightest: Vec<bool> = counts.iter().map(|&c| c == i16::MAX).collect();
        assert_eq!(brightest, [false, true, false, true]);
        assert_eq!(counts.first(), Some(&0));
        Ok(())
    }

    #[test]
    fn each_frame_and_each_seed_has_different_noise() -> TestResult {
        let flat = [100.0; 256];
        let reference = counts(1, 1, &flat)?;
        assert_eq!(counts(1, 1, &flat)?, reference);
        for (seed, frame) in [(1, 0), (1, 2), (2, 0), (0, 2), (2, 1)] {
            assert_ne!(
                counts(seed, frame, &flat)?,
                reference,
                "seed {seed} frame {frame}"
            );
        }
        Ok(())
    }

    #[test]
    fn the_noise_of_a_seed_is_the_same_with_every_release() -> TestResult {
        // Fails if a dependency changes its stream, since published pictures would then change as well.
        let (counts, _) = counts(
            2024,
            5,
            &[0.5, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0],
        )?;
        assert_eq!(counts, [0, 2, 5, 32, 105, 301, 997, 3007]);
        Ok(())
    }

    #[test]
    fn an_invalid_intensity_is_an_error() {
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            let result = counts(1, 0, &[1.0, wrong]);
            assert!(
                matches!(result, Err(DetectorError::Intensity(_))),
                "{wrong}"
            );
        }
        let short = ShotNoise::new(1).expose(0, &[1.0; 4], &mut [0; 3]);
        assert!(matches!(short, Err(DetectorError::BufferLength { .. })));
    }
}
