//! The mosaic while a scan runs: one patch after another, in any order.
//!
//! A patch is placed by its own position. Its free constant is fitted to what lies under it, and, if it has an amplitude, its
//! tilt is levelled against the picture so far: the steps of the solver (`crate::Stitcher`), for one patch. Each placement also
//! places a few of the earlier patches anew (`rebuild`), because those had less to be compared with. At the end of the scan
//! `Mosaic::solve` is the solver on all that was kept.
//!
//! What always holds:
//!
//! 1. The cost of a patch is proportional to its pixels, except where the canvas grows, which doubles it.
//! 2. Memory is bounded: six arrays of at most `side`² numbers, the kept patches (`KeptLimits`), and the keys of the last
//!    `KEYS` patches.
//! 3. The same patch again, with the same key, changes nothing.
//! 4. Pixels that are not finite carry no weight; pixels without weight are NaN in the picture.
//! 5. No position and no value makes it fail: what cannot be placed is counted. Nor do the first few positions decide where the
//!    picture is: if more patches in a row are outside of the canvas than lie on it, it begins anew with them.
//!
//! ```
//! use beamflow_mosaic::online::{Corner, Mosaic, OnlinePatch, Settings, Weights};
//!
//! let weights = Weights::hann((8, 8), 0)?;
//! let mut mosaic = Mosaic::new(weights, Settings::default());
//! for k in 0..4 {
//!     let phase = vec![0.1 * k as f32; 64].into(); // each with a constant of its own
//!     mosaic.place(&k, OnlinePatch { corner: Corner { x: 4 * k, y: 0 }, phase, amplitude: None });
//! }
//! let picture = mosaic.snapshot();
//! assert_eq!(picture.phase.dim(), (8, 20));
//! assert!(picture.phase.iter().all(|phase| phase.abs() < 0.01));
//! # Ok::<(), beamflow_mosaic::StitchError>(())
//! ```

/// The sums of all patches.
mod canvas;
/// The patches that are kept.
mod kept;
/// One patch onto the canvas.
mod patch;
/// The phase placed anew.
mod rebuild;
/// The final picture.
mod solve;
/// Sums over the pixels of a row.
mod sums;
/// How much each pixel of a patch counts.
mod weights;

pub use canvas::{Area, Corner};
pub use kept::KeptLimits;
pub use patch::OnlinePatch;
pub use solve::Solve;
pub use weights::Weights;

use canvas::{Canvas, Layer};
use kept::Kept;
use ndarray::Array2;
use rebuild::Rebuild;
use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// Patches that are known by their keys: a repetition after more than these is placed again.
pub const KEYS: usize = 1 << 16;

/// Patches that are placed anew for each one that comes: a rebuild that begins with n patches ends before there are 4⁄3 n.
const PLACED_ANEW: usize = 4;

/// A canvas with so many patches does not begin anew: that would lose more than a stage that was not there yet.
const SETTLED: u64 = 64;

/// Settings of a mosaic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Rows and columns of the canvas, at most.
    pub side: usize,
    /// What patches may cover, if it is known; else the canvas grows.
    pub area: Option<Area>,
    /// How many patches are kept.
    pub kept: KeptLimits,
}

/// 4096 × 4096 pixels: 64 MiB for each of the six arrays.
impl Default for Settings {
    fn default() -> Self {
        Self {
            side: 4096,
            area: None,
            kept: KeptLimits::default(),
        }
    }
}

/// Patches by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Placed.
    pub placed: u64,
    /// Of these: without amplitude, so not levelled.
    pub unlevelled: u64,
    /// Not placed, or taken out when the canvas began anew: outside of the canvas.
    pub outside: u64,
    /// Not placed: placed before.
    pub repeated: u64,
    /// Not placed: not as many pixels as the weights are for, or no finite one.
    pub unusable: u64,
    /// One of so many patches is kept for the final picture.
    pub kept_every: u64,
    /// Patches that are kept.
    pub kept: u64,
}

/// The outcome of one patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It is in the picture.
    Placed,
    /// It was placed before.
    Repeated,
    /// It is outside of the canvas, or the canvas would become too large.
    Outside,
    /// It has not as many pixels as the weights are for, or no finite one.
    Unusable,
}

/// The pictures at one time, all of one shape (rows, columns): the rectangle that has patches.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Radians, weighted mean 0; NaN where nothing lies.
    pub phase: Array2<f32>,
    /// 1 for empty space; NaN where nothing lies.
    pub amplitude: Array2<f32>,
    /// Σ of the weights of the phase, relative to the brightest pixel of one patch.
    pub coverage: Array2<f32>,
    /// The pixel [0, 0] on the grid of [`Corner`]s.
    pub origin: Corner,
    /// The patches so far, by outcome.
    pub tally: Tally,
}

/// See the module's essay. `K` is what tells frames apart.
#[derive(Debug)]
pub struct Mosaic<K> {
    weights: Weights,
    settings: Settings,
    canvas: Canvas,
    kept: Kept,
    rebuild: Rebuild,
    /// Patches outside of the canvas since the last that was placed.
    outside_in_a_row: u64,
    known: HashSet<K>,
    /// The keys of `known`, the oldest first.
    order: VecDeque<K>,
    tally: Tally,
}

impl<K: Clone + Eq + Hash> Mosaic<K> {
    /// An empty mosaic for patches of the weights' shape.
    #[must_use]
    pub fn new(weights: Weights, settings: Settings) -> Self {
        Self {
            weights,
            settings,
            canvas: Canvas::new(settings.side, settings.area),
            kept: Kept::new(settings.kept),
            rebuild: Rebuild::default(),
            outside_in_a_row: 0,
            known: HashSet::new(),
            order: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Places the patch of the frame `key`.
    pub fn place(&mut self, key: &K, patch: OnlinePatch) -> Placement {
        let placement = self.try_place(key, patch);
        match placement {
            Placement::Placed => self.tally.placed += 1,
            Placement::Repeated => self.tally.repeated += 1,
            Placement::Outside => self.tally.outside += 1,
            Placement::Unusable => self.tally.unusable += 1,
        }
        placement
    }

    fn try_place(&mut self, key: &K, patch: OnlinePatch) -> Placement {
        if self.known.contains(key) {
            return Placement::Repeated;
        }
        if !patch.is_usable(&self.weights) {
            return Placement::Unusable;
        }
        let area = patch.area(&self.weights);
        if !self.canvas.include(area) && !self.begins_anew_with(area) {
            return Placement::Outside;
        }
        self.outside_in_a_row = 0;
        self.remember(key);
        self.tally.unlevelled += u64::from(patch.amplitude.is_none());
        patch.add_amplitude(&mut self.canvas, &self.weights);
        patch.add_phase(Layer::Phase, 0.0, &mut self.canvas, &self.weights);
        self.kept.offer(patch);
        self.rebuild(PLACED_ANEW);
        Placement::Placed
    }

    /// Whether a patch that is outside is the first of a new canvas. The patches on the old one are outside then.
    fn begins_anew_with(&mut self, area: Area) -> bool {
        self.outside_in_a_row += 1;
        let placed = self.tally.placed;
        let is_astray = (1..SETTLED).contains(&placed) && self.outside_in_a_row > placed;
        if !is_astray || self.settings.area.is_some() {
            return false;
        }
        let mut canvas = Canvas::new(self.settings.side, None);
        if !canvas.include(area) {
            return false;
        }
        self.canvas = canvas;
        self.kept = Kept::new(self.settings.kept);
        self.rebuild = Rebuild::default();
        self.tally.outside += placed;
        (self.tally.placed, self.tally.unlevelled) = (0, 0);
        true
    }

    fn remember(&mut self, key: &K) {
        if self.order.len() >= KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.known.insert(key.clone());
    }

    /// Places up to so many patches anew: for idle time, or before a picture. Each placement does a few by itself. Returns
    /// whether there is more to do. Nothing is placed anew once patches are thinned: the others would be lost.
    pub fn rebuild(&mut self, patches: usize) -> bool {
        if self.kept.every() > 1 {
            self.rebuild = Rebuild::default();
            return false;
        }
        let kept = self.kept.patches();
        (0..patches).all(|_| self.rebuild.step(kept, &mut self.canvas, &self.weights))
    }

    /// The patches so far, by outcome.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            kept_every: self.kept.every() as u64,
            kept: self.kept.patches().len() as u64,
            ..self.tally
        }
    }

    /// The pictures so far, copied; empty without a patch.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let [phase, amplitude] = self.canvas.pictures();
        Snapshot {
            phase,
            amplitude,
            coverage: self.canvas.coverage().to_owned(),
            origin: self.canvas.used().unwrap_or_default().corner,
            tally: self.tally(),
        }
    }

    /// What the final picture is made of. The mosaic can go on: the pixels of patches are shared.
    #[must_use]
    pub fn solve(&self) -> Solve {
        let [_, amplitude] = self.canvas.pictures();
        Solve {
            weights: self.weights.clone(),
            used: self.canvas.used().unwrap_or_default(),
            patches: self.kept.patches().to_vec(),
            amplitude,
            tally: self.tally(),
        }
    }

    /// Bytes of the canvas and of the kept patches.
    #[must_use]
    pub fn bytes(&self) -> (usize, usize) {
        (self.canvas.bytes(), self.kept.bytes())
    }
}

#[cfg(test)]
mod tests;
