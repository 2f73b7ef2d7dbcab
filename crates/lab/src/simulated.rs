//! The whole experiment as one value that computes any frame on demand.
//!
//! Frames are not stored: a scan of thousands of frames needs the memory of the object and one probe.
//! `SimulatedScan::frame` is the simple call. `SimulatedScan::expose` with a `Workspace` per thread allocates
//! nothing; it is meant for streaming at full rate.
//!
//! Every position's patch lies inside the object (checked once, in `new`). Frame k depends on the arguments and
//! on k only.

use super::{DetectorError, Exposure, FarField, Object, Probe, Scan, ShotNoise, Workspace};
use beamflow_frame::Position;

/// A scan of a known object: frame k is the noisy far field of the patch at position k.
#[derive(Debug)]
pub struct SimulatedScan {
    object: Object,
    probe: Probe,
    scan: Scan,
    far_field: FarField,
    noise: ShotNoise,
}

impl SimulatedScan {
    /// Combines object, probe and scan; `seed` determines the shot noise.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] when the scan's patches are not the probe's size,
    /// [`DetectorError::OutsideObject`] when a patch leaves the object.
    pub fn new(object: Object, probe: Probe, scan: Scan, seed: u64) -> Result<Self, DetectorError> {
        let size = probe.size();
        if scan.patch() != size {
            return Err(DetectorError::Shape {
                what: "the scan's patch",
                given: (scan.patch(), scan.patch()),
                expected: (size, size),
            });
        }
        for &position in scan.positions() {
            object.patch(position, (size, size))?;
        }
        let far_field = FarField::new(&probe);
        Ok(Self {
            object,
            probe,
            scan,
            far_field,
            noise: ShotNoise::new(seed),
        })
    }

    /// How many frames the scan has.
    pub fn len(&self) -> usize {
        self.scan.positions().len()
    }

    /// Whether it has no frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Side N of each frame in pixels.
    pub fn size(&self) -> usize {
        self.far_field.size()
    }

    /// The known object.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The probe.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// One position per frame.
    pub fn positions(&self) -> &[Position] {
        self.scan.positions()
    }

    /// Scratch memory for one thread that calls [`expose`](Self::expose).
    pub fn workspace(&self) -> Workspace {
        self.far_field.workspace()
    }

    /// Noise-free intensity of frame `k` in expected photons, N·N values row by row, stored in `workspace`.
    ///
    /// # Errors
    /// [`DetectorError::NoSuchFrame`]; [`DetectorError::BufferLength`] for a workspace of another
    /// detector.
    pub fn intensity<'w>(
        &self,
        k: usize,
        workspace: &'w mut Workspace,
    ) -> Result<&'w [f64], DetectorError> {
        let position = self.positions().get(k).copied();
        let frames = self.len();
        let position = position.ok_or(DetectorError::NoSuchFrame { index: k, frames })?;
        let patch = self.object.patch(position, (self.size(), self.size()))?;
        self.far_field.intensity(patch, workspace)
    }

    /// Counts of frame `k` into `counts` (N·N values, row by row); returns how many were clipped.
    ///
    /// # Errors
    /// Those of [`intensity`](Self::intensity); [`DetectorError::BufferLength`] when `counts` is not
    /// N·N long.
    pub(crate) fn expose(
        &self,
        k: usize,
        workspace: &mut Workspace,
        counts: &mut [i16],
    ) -> Result<usize, DetectorError> {
        let intensity = self.intensity(k, workspace)?;
        self.noise.expose(k as u64, intensity, counts)
    }

    /// Frame `k`, newly allocated.
    ///
    /// # Errors
    /// [`DetectorError::NoSuchFrame`].
    pub fn frame(&self, k: usize) -> Result<Exposure, DetectorError> {
        let mut counts = vec![0; self.size() * self.size()];
        let clipped = self.expose(k, &mut self.workspace(), &mut counts)?;
        Ok(Exposure { counts, clipped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProbeShape, Raster};

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn experiment(seed: u64) -> Result<SimulatedScan, DetectorError> {
        let raster = Raster {
            rows: 3,
            columns: 4,
            step: 9,
            jitter: 2,
            seed,
        };
        let scan = Scan::raster(raster, (120, 120), 64)?;
        let probe = Probe::new(ProbeShape::default())?;
        SimulatedScan::new(Object::test_target(120, 120)?, probe, scan, seed)
    }

    #[test]
    fn a_frame_is_the_same_whenever_and_wherever_it_is_made() -> TestResult {
        let experiment = experiment(5)?;
        let in_order: Vec<Exposure> = (0..experiment.len())
            .map(|k| experiment.frame(k))
            .collect::<Result<_, _>>()?;
        // In reverse order, with reused memory, on another thread.
        let experiment = &experiment;
        let backwards = std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let mut workspace = experiment.workspace();
                let mut frames = Vec::new();
                for k in (0..experiment.len()).rev() {
                    let mut counts = vec![-7; 64 * 64];
                    let clipped = experiment.expose(k, &mut workspace, &mut counts)?;
                    frames.push(Exposure { counts, clipped });
                }
                Ok::<_, DetectorError>(frames)
            });
            thread.join().map_err(|_| "the thread died")
        })??;
        assert!(in_order.iter().eq(backwards.iter().rev()));
        assert_ne!(
            in_order.first(),
            self::experiment(6)?.frame(0).ok().as_ref()
        );
        Ok(())
    }

    #[test]
    fn counts_follow_the_noise_free_intensity() -> TestResult {
        let experiment = experiment(5)?;
        let mut workspace = experiment.workspace();
        for k in 0..experiment.len() {
            let frame = experiment.frame(k)?;
            assert_eq!(frame.clipped, 0);
            let expected = experiment.intensity(k, &mut workspace)?;
            let photons: f64 = expected.iter().sum();
            let counted: f64 = frame.counts.iter().map(|&c| f64::from(c)).sum();
            // A sum of independent Poisson counts is Poisson; the bound is six standard deviations.
            assert!((counted - photons).abs() < 6.0 * photons.sqrt());
            assert!(
                (0.3e6..=1.0e6).contains(&photons),
                "frame {k}: {photons} photons"
            );
            let chi2: f64 = frame
                .counts
                .iter()
                .zip(expected)
                .filter(|&(_, &e)| e > 5.0)
                .map(|(&c, e)| (f64::from(c) - e).powi(2) / e)
                .sum();
            let bright = expected.iter().filter(|&&e| e > 5.0).count() as f64;
            assert!(
                (chi2 / bright - 1.0).abs() < 6.0 * (2.0 / bright).sqrt(),
                "{chi2} / {bright}"
            );
        }
        Ok(())
    }

    #[test]
    fn two_frames_at_one_position_differ_by_their_noise() -> TestResult {
        let place = Position { x: 20, y: 30 };
        let scan = Scan::from_positions(vec![place, place], 64);
        let probe = Probe::new(ProbeShape::default())?;
        let twice = SimulatedScan::new(Object::test_target(120, 120)?, probe, scan, 5)?;
        assert_ne!(twice.frame(0)?, twice.frame(1)?);
        Ok(())
    }

    #[test]
    fn a_frame_beyond_the_scan_is_an_error() -> TestResult {
        let result = experiment(5)?.frame(12);
        assert_eq!(
            result,
            Err(DetectorError::NoSuchFrame {
                index: 12,
                frames: 12
            })
        );
        Ok(())
    }

    #[test]
    fn a_scan_that_does_not_belong_to_object_or_probe_is_an_error() -> TestResult {
        let probe = Probe::new(ProbeShape::default())?;
        let object = Object::test_target(120, 120)?;
        let outside = Scan::from_positions(vec![Position { x: 57, y: 0 }], 64);
        let result = SimulatedScan::new(object.clone(), probe.clone(), outside, 1);
        assert!(matches!(result, Err(DetectorError::OutsideObject { .. })));
        let small = Scan::from_positions(vec![Position { x: 0, y: 0 }], 32);
        let result = SimulatedScan::new(object, probe, small, 1);
        assert!(matches!(result, Err(DetectorError::Shape { .. })));
        Ok(())
    }
}
