//! A simulated ptychography experiment: frames for the demo and the tests without a beamline.
//!
//! A probe P illuminates one patch of the object O after another; the detector far away counts the photons of
//! each diffraction pattern I = |F{P·O}|² (Rodenburg & Maiden, "Ptychography", Springer Handbook of Microscopy
//! 2019). Each part has its own file:
//!
//! - `object`: the complex transmission O = A·exp(iφ), and a test target;
//! - `probe`: P, a soft-edged disc with a curved wavefront;
//! - `scan`: the position of the probe for each frame;
//! - `diffraction`: the far field, noise free;
//! - `noise`: Poisson counts as the detector's int16;
//! - `encoder`: frames compressed as areaDetector does;
//! - `exposures`: when frames are taken;
//! - `simulated`: the first five as one `SimulatedScan` that computes any frame on demand.
//!
//! Invariants:
//!
//! 1. The same arguments give the same frames, bit for bit, in any order and on any number of threads: frame k
//!    depends on the seed and on k, not on other frames.
//! 2. Photons are conserved: a noise-free pattern sums to Σ|P·O|², so with A ≤ 1 no frame holds more photons
//!    than the probe, apart from shot noise.
//! 3. Counts that exceed int16 are clipped and counted (`Exposure::clipped`), never wrapped.
//! 4. The numbers (`probe::PHOTONS`, `probe::DETECTOR_SIZE`, the shape of the probe) are a contract
//!    with `models/`, where the network is trained on a Python twin of this experiment. A reference
//!    pattern from there is checked in `diffraction`'s tests.
//!
//! Arrays are (rows, columns) = (y, x), lengths in detector pixels, phases in radians.
//!
//! ```
//! use beamflow_lab::{Object, Probe, ProbeShape, Raster, Scan, SimulatedScan};
//!
//! let object = Object::test_target(96, 96)?;
//! let probe = Probe::new(ProbeShape::default())?;
//! let raster = Raster { rows: 3, columns: 3, step: 8, jitter: 2, seed: 7 };
//! let scan = Scan::raster(raster, (96, 96), probe.size())?;
//! let experiment = SimulatedScan::new(object, probe, scan, 7)?;
//!
//! let frame = experiment.frame(4)?; // any frame, in any order
//! assert_eq!(frame.counts.len(), 64 * 64);
//! assert_eq!(frame.clipped, 0);
//! # Ok::<(), beamflow_lab::DetectorError>(())
//! ```

#![deny(unreachable_pub)]

/// The far field |F{P·O}|²: planned once, computed per frame.
pub mod diffraction;
/// Compresses frames.
pub mod encoder;
/// The experiment that the commands simulate.
pub mod experiment;
/// The times of exposures.
pub mod exposures;
/// Shot noise and the detector's integer counts.
pub mod noise;
/// The object: amplitude and phase on a grid.
pub mod object;
/// The demo's picture.
pub mod picture;
/// The probe: the wave that illuminates one patch of the object.
pub mod probe;
/// The scan: one patch position per frame.
pub mod scan;
/// The whole experiment: frame k on demand.
pub mod simulated;
/// A stack of frames, simulated or read.
pub mod stack;
/// The demo's object: star, cells and bars.
mod target;

pub(crate) use diffraction::FarField;
pub use diffraction::Workspace;
pub(crate) use noise::{Exposure, ShotNoise};
pub use object::Object;
pub use probe::Probe;
pub use probe::ProbeShape;
pub use scan::Raster;
pub use scan::Scan;
pub use simulated::SimulatedScan;

/// Why a simulated experiment, or a frame of it, cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DetectorError {
    /// A length or a photon count outside the allowed range.
    #[error("{what} is {given}, but must be {allowed}")]
    Impossible {
        /// The quantity, as the field names it.
        what: &'static str,
        /// The given value.
        given: String,
        /// The allowed values.
        allowed: &'static str,
    },
    /// Arrays that belong together differ in shape.
    #[error("{what} has shape {given:?}, but {expected:?} is needed")]
    Shape {
        /// The name of the array.
        what: &'static str,
        /// Its (rows, columns).
        given: (usize, usize),
        /// The (rows, columns) that fit.
        expected: (usize, usize),
    },
    /// A patch extends beyond the object's edge.
    #[error(
        "a patch of {height}x{width} pixels at (x {x}, y {y}) leaves the object of {rows}x{columns}"
    )]
    OutsideObject {
        /// Column of the patch's top-left corner.
        x: usize,
        /// Row of the patch's top-left corner.
        y: usize,
        /// Rows of the patch.
        height: usize,
        /// Columns of the patch.
        width: usize,
        /// Rows of the object.
        rows: usize,
        /// Columns of the object.
        columns: usize,
    },
    /// The scan covers more than the object.
    #[error(
        "the scan needs an object of at least {needed:?} (rows, columns), this one has {given:?}"
    )]
    ScanTooLarge {
        /// Smallest (rows, columns) that would hold the scan.
        needed: (usize, usize),
        /// The object's (rows, columns).
        given: (usize, usize),
    },
    /// A frame that the scan does not have.
    #[error("frame {index} of a scan of {frames}")]
    NoSuchFrame {
        /// The requested frame, counted from 0.
        index: usize,
        /// How many frames the scan has.
        frames: usize,
    },
    /// A buffer for a frame's pixels has the wrong length.
    #[error("a buffer of {given} pixels for a frame of {expected}")]
    BufferLength {
        /// Pixels in the buffer.
        given: usize,
        /// Pixels in a frame.
        expected: usize,
    },
    /// An intensity that is not a valid expected count: negative, infinite or NaN.
    #[error("intensity {0} is no expected photon count")]
    Intensity(f64),
}
