//! The scan: the position of the probe for each frame.
//!
//! A raster of rows and columns with a step smaller than the probe, so that neighbouring patches overlap. Each
//! point has a random jitter of whole pixels, because a perfectly regular raster leaves a periodic artefact
//! that ptychography cannot distinguish from the object ("raster grid pathology", Thibault et al.,
//! Ultramicroscopy 109, 2009). The raster is centred on the object.
//!
//! Each position's N×N patch lies inside the object; the same raster gives the same positions.

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Uniform};

use super::DetectorError;
use super::noise::stream;
use beamflow_frame::Position;

/// Stream of the seed's random numbers for the jitter; frames use 0, 1, 2, ... for their noise.
const JITTER_STREAM: u64 = u64::MAX;

/// Longest scan: 2²⁴ frames.
const MOST_POINTS: usize = 1 << 24;

/// A jittered raster without an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raster {
    /// Lines of the scan.
    pub rows: usize,
    /// Points per line.
    pub columns: usize,
    /// Distance of neighbouring points in pixels; smaller than the lit diameter for overlap.
    pub step: usize,
    /// Largest shift of a point in x and in y, in pixels.
    pub jitter: usize,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Raster {
    /// Smallest object, (rows, columns), that holds this raster with its full jitter, for patches of
    /// `patch` × `patch` pixels.
    ///
    /// # Errors
    /// [`DetectorError::Impossible`] when the raster is larger than any object.
    pub(crate) fn object_shape(&self, patch: usize) -> Result<(usize, usize), DetectorError> {
        let side = |points: usize| {
            let travel = points.saturating_sub(1).checked_mul(self.step)?;
            let jitter = self.jitter.checked_mul(2)?;
            // Positions are computed as i64: see `Scan::raster`.
            i32::try_from(travel.checked_add(jitter)?.checked_add(patch)?).ok()?;
            Some(travel + jitter + patch)
        };
        side(self.rows)
            .zip(side(self.columns))
            .ok_or_else(|| DetectorError::Impossible {
                what: "the extent of the raster",
                given: format!("{self:?}"),
                allowed: "below 2^31 pixels",
            })
    }
}

/// The positions of a scan, in the order of the frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    positions: Vec<Position>,
    patch: usize,
}

impl Scan {
    /// Centres `raster` on an object of (rows, columns) pixels, row by row from the top left, for patches of
    /// `patch` × `patch` pixels. If the object is too small for the full jitter, positions are limited to its
    /// edge.
    ///
    /// # Errors
    /// [`DetectorError::Impossible`] for a raster without points or step, or with too many points,
    /// [`DetectorError::ScanTooLarge`] if the points do not fit the object even without jitter.
    pub fn raster(
        raster: Raster,
        object: (usize, usize),
        patch: usize,
    ) -> Result<Self, DetectorError> {
        if raster.rows == 0 || raster.columns == 0 || raster.step == 0 || patch == 0 {
            return Err(DetectorError::Impossible {
                what: "the raster",
                given: format!("{raster:?} with patches of {patch} pixels"),
                allowed: "at least one row, column, pixel of step and pixel of patch",
            });
        }
        let needed = Raster {
            jitter: 0,
            ..raster
        }
        .object_shape(patch)?;
        raster.object_shape(patch)?; // the jitter must be in range as well
        let too_large = DetectorError::ScanTooLarge {
            needed,
            given: object,
        };
        let (Some(spare_rows), Some(spare_columns)) = (
            object.0.checked_sub(needed.0),
            object.1.checked_sub(needed.1),
        ) else {
            return Err(too_large);
        };

        let points = raster.rows.saturating_mul(raster.columns);
        if points > MOST_POINTS {
            return Err(DetectorError::Impossible {
                what: "the number of points in the raster",
                given: points.to_string(),
                allowed: "at most 16777216",
            });
        }

        let jitter = raster.jitter as i64;
        let shift = Uniform::new_inclusive(-jitter, jitter).map_err(|_| too_large)?;
        let mut random: ChaCha8Rng = stream(raster.seed, JITTER_STREAM);
        // The coordinate of point i on an axis, always in 0..=last.
        let mut place = |i: usize, spare: usize, side: usize| {
            let point = (spare / 2 + i * raster.step) as i64 + shift.sample(&mut random);
            point.clamp(0, (side - patch) as i64) as usize
        };
        let mut positions = Vec::with_capacity(points);
        for row in 0..raster.rows {
            for column in 0..raster.columns {
                let x = place(column, spare_columns, object.1);
                let y = place(row, spare_rows, object.0);
                positions.push(Position { x, y });
            }
        }
        Ok(Self { positions, patch })
    }

    /// A scan with given positions, for instance those recorded at a beamline.
    #[cfg(test)]
    pub(crate) fn from_positions(positions: Vec<Position>, patch: usize) -> Self {
        Self { positions, patch }
    }

    /// One position per frame, in order.
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Side of each patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    const RASTER: Raster = Raster {
        rows: 7,
        columns: 9,
        step: 5,
        jitter: 3,
        seed: 11,
    };

    #[test]
    fn every_patch_lies_inside_the_object_however_tight() -> TestResult {
        for object in [(94, 104), (96, 107), (100, 110), (300, 200)] {
            let scan = Scan::raster(RASTER, object, 64)?;
            assert_eq!(scan.positions().len(), 63);
            for position in scan.positions() {
                assert!(position.y + 64 <= object.0 && position.x + 64 <= object.1);
            }
        }
        Ok(())
    }

    #[test]
    fn jitter_moves_points_by_at_most_its_size_and_does_move_them() -> TestResult {
        let object = RASTER.object_shape(64)?;
        assert_eq!(object, (6 * 5 + 6 + 64, 8 * 5 + 6 + 64));
        let jittered = Scan::raster(RASTER, object, 64)?;
        let regular = Scan::raster(
            Raster {
                jitter: 0,
                ..RASTER
            },
            object,
            64,
        )?;
        let shifts: Vec<(usize, usize)> = jittered
            .positions()
            .iter()
            .zip(regular.positions())
            .map(|(a, b)| (a.x.abs_diff(b.x), a.y.abs_diff(b.y)))
            .collect();
        assert!(shifts.iter().all(|&(x, y)| x <= 3 && y <= 3));
        assert!(shifts.iter().any(|&(x, _)| x == 3));
        assert!(shifts.iter().any(|&(_, y)| y == 3));
        Ok(())
    }

    #[test]
    fn the_seed_alone_decides_the_positions() -> TestResult {
        let scan = |seed| Scan::raster(Raster { seed, ..RASTER }, (120, 120), 64);
        assert_eq!(scan(1)?, scan(1)?);
        assert_ne!(scan(1)?, scan(2)?);
        Ok(())
    }

    #[test]
    fn a_scan_that_does_not_fit_says_what_it_needs() {
        let scan = Scan::raster(RASTER, (93, 104), 64);
        let needed = (94, 104);
        assert_eq!(
            scan,
            Err(DetectorError::ScanTooLarge {
                needed,
                given: (93, 104)
            })
        );
        let empty = Scan::raster(Raster { rows: 0, ..RASTER }, (200, 200), 64);
        assert!(matches!(empty, Err(DetectorError::Impossible { .. })));
        let million = 1 << 20;
        let many = Raster {
            rows: million,
            columns: million,
            ..RASTER
        };
        let scan = Scan::raster(many, (million * 8, million * 8), 64);
        assert!(matches!(scan, Err(DetectorError::Impossible { .. })));
        let endless = Raster {
            step: usize::MAX,
            ..RASTER
        };
        let scan = Scan::raster(endless, (200, 200), 64);
        assert!(matches!(scan, Err(DetectorError::Impossible { .. })));
    }
}
