//! The object: a complex transmission O = A·exp(iφ) on a pixel grid.
//!
//! A is the amplitude of the transmitted wave (1 is empty space), φ its phase shift in radians: the thin-object
//! (projection) approximation of ptychography (Rodenburg & Maiden 2019).
//!
//! Amplitude and phase have the same shape and hold finite numbers only. A patch must lie on the grid
//! completely.

use ndarray::{Array2, ArrayView2, s};
use rustfft::num_complex::Complex64;

use super::{DetectorError, target};
use beamflow_frame::Position;

/// A known object, shape (rows, columns).
#[derive(Debug, Clone)]
pub struct Object {
    phase: Array2<f64>,
    transmission: Array2<Complex64>,
}

impl Object {
    /// An object with the given amplitude and phase (radians), both of shape (rows, columns).
    ///
    /// # Errors
    /// [`DetectorError::Shape`] when they differ in shape, [`DetectorError::Impossible`] when they are
    /// empty or hold a number that is not finite.
    pub fn new(amplitude: Array2<f64>, phase: Array2<f64>) -> Result<Self, DetectorError> {
        if amplitude.dim() != phase.dim() {
            return Err(DetectorError::Shape {
                what: "the amplitude",
                given: amplitude.dim(),
                expected: phase.dim(),
            });
        }
        if phase.is_empty() || !amplitude.iter().chain(&phase).all(|v| v.is_finite()) {
            return Err(DetectorError::Impossible {
                what: "the object",
                given: format!(
                    "{:?} with values that are missing or not finite",
                    phase.dim()
                ),
                allowed: "finite everywhere",
            });
        }
        let mut transmission = Array2::from_elem(phase.dim(), Complex64::new(0.0, 0.0));
        ndarray::Zip::from(&mut transmission)
            .and(&amplitude)
            .and(&phase)
            .for_each(|o, &a, &phi| *o = Complex64::from_polar(a, phi));
        Ok(Self {
            phase,
            transmission,
        })
    }

    /// The demo's test target on a grid of `rows` × `columns` pixels: a Siemens star, cells with
    /// nuclei and resolution bars on a smooth gradient. Phase spans 2.8 rad around 0,
    /// amplitude is 0.6 to 1. All features scale with the grid's shorter side.
    ///
    /// # Errors
    /// [`DetectorError::Impossible`] for a grid with a side below 16 pixels.
    pub fn test_target(rows: usize, columns: usize) -> Result<Self, DetectorError> {
        if rows.min(columns) < 16 {
            return Err(DetectorError::Impossible {
                what: "the test target's grid",
                given: format!("{rows}x{columns}"),
                allowed: "16x16 or more",
            });
        }
        let (amplitude, phase) = target::draw(rows, columns);
        Self::new(amplitude, phase)
    }

    /// Shape of the grid, (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        self.phase.dim()
    }

    /// Phase φ in radians, shape (rows, columns).
    pub fn phase(&self) -> &Array2<f64> {
        &self.phase
    }

    /// Transmission O of the patch of `shape` (height, width) whose top-left corner is at `position`.
    ///
    /// # Errors
    /// [`DetectorError::OutsideObject`].
    pub fn patch(
        &self,
        position: Position,
        shape: (usize, usize),
    ) -> Result<ArrayView2<'_, Complex64>, DetectorError> {
        self.window(&self.transmission, position, shape)
    }

    /// Phase in radians of the same patch: the answer of a perfect network, up to a constant.
    ///
    /// # Errors
    /// [`DetectorError::OutsideObject`].
    pub fn phase_patch(
        &self,
        position: Position,
        shape: (usize, usize),
    ) -> Result<ArrayView2<'_, f64>, DetectorError> {
        self.window(&self.phase, position, shape)
    }

    fn window<'a, T>(
        &self,
        array: &'a Array2<T>,
        Position { x, y }: Position,
        (height, width): (usize, usize),
    ) -> Result<ArrayView2<'a, T>, DetectorError> {
        let (rows, columns) = self.shape();
        match (y.checked_add(height), x.checked_add(width)) {
            (Some(bottom), Some(right)) if bottom <= rows && right <= columns => {
                Ok(array.slice(s![y..bottom, x..right]))
            }
            _ => Err(DetectorError::OutsideObject {
                x,
                y,
                height,
                width,
                rows,
                columns,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn a_patch_is_the_complex_transmission_at_its_position() -> TestResult {
        let amplitude = Array2::from_shape_fn((5, 7), |(y, x)| 0.5 + 0.01 * (10 * y + x) as f64);
        let phase = Array2::from_shape_fn((5, 7), |(y, x)| 0.02 * (10 * y + x) as f64);
        let object = Object::new(amplitude, phase)?;
        let patch = object.patch(Position { x: 3, y: 1 }, (2, 4))?;
        let corner = patch.get((1, 0)).ok_or("empty")?; // row 2, column 3
        assert!((corner - Complex64::from_polar(0.73, 0.46)).norm() < 1e-12);
        let phase = object.phase_patch(Position { x: 3, y: 1 }, (2, 4))?;
        assert_eq!(phase.get((1, 0)), Some(&0.46));
        Ok(())
    }

    #[test]
    fn a_patch_that_leaves_the_object_is_an_error() -> TestResult {
        let object = Object::test_target(20, 30)?;
        assert!(object.patch(Position { x: 14, y: 4 }, (16, 16)).is_ok());
        for (x, y) in [(15, 4), (14, 5), (usize::MAX, 0), (0, usize::MAX)] {
            let result = object.patch(Position { x, y }, (16, 16));
            assert!(
                matches!(result, Err(DetectorError::OutsideObject { .. })),
                "{x} {y}"
            );
        }
        Ok(())
    }

    #[test]
    fn an_object_of_unequal_or_unusable_arrays_is_an_error() {
        let result = Object::new(Array2::zeros((3, 4)), Array2::zeros((4, 3)));
        assert!(matches!(result, Err(DetectorError::Shape { .. })));
        let result = Object::new(Array2::ones((2, 2)), Array2::from_elem((2, 2), f64::NAN));
        assert!(matches!(result, Err(DetectorError::Impossible { .. })));
        assert!(matches!(
            Object::test_target(15, 99),
            Err(DetectorError::Impossible { .. })
        ));
    }
}
