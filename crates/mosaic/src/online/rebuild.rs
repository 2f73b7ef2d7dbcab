//! The phase placed anew, patch by patch, while the old one is shown.
//!
//! The first patches of a scan are levelled against few others, and a tilt that is wrong bends everything that is placed on it.
//! So all kept patches are placed again, levelled against the amplitude as it is by then, into sums of their own; when all are
//! in, the new phase takes the place of the old one, and the next rebuild begins if more patches have come. A step is one
//! patch: its cost is that of a placement.
//!
//! The order is one of places: from the middle outwards, so that each patch lies on others when its turn comes, and the result
//! does not depend on the order in which patches came. A patch that lies on too little is postponed until all others are placed.

use super::canvas::{Canvas, Corner, Layer};
use super::patch::OnlinePatch;
use super::weights::Weights;
use std::collections::{HashMap, VecDeque};

/// A patch is postponed if what lies under it has less than this fraction of its weight.
const ENOUGH: f64 = 0.02;

/// See the module's essay.
#[derive(Debug, Default)]
pub(super) struct Rebuild {
    /// Patches to be placed.
    waiting: VecDeque<OnlinePatch>,
    /// Patches to be placed after them, whatever lies under them.
    postponed: VecDeque<OnlinePatch>,
    /// Whether one has been placed.
    placed: bool,
    /// How many of the kept patches have been taken so far.
    taken: usize,
    /// How many were kept when it began.
    began: usize,
    /// How many were kept when the one before began.
    before: usize,
}

impl Rebuild {
    /// One step; `false` if there is nothing to do.
    pub(super) fn step(
        &mut self,
        kept: &[OnlinePatch],
        canvas: &mut Canvas,
        weights: &Weights,
    ) -> bool {
        if self.taken == 0 {
            if self.before == kept.len() {
                return false;
            }
            self.began = kept.len();
            self.placed = false;
            canvas.clear_rebuilt();
        }
        if self.waiting.is_empty() {
            let new = kept.get(self.taken..).unwrap_or_default();
            self.waiting = outwards(new, weights).into();
            self.taken = kept.len();
        }
        if let Some(patch) = self.waiting.pop_front() {
            let least = if self.placed { ENOUGH } else { 0.0 };
            self.placed = true;
            if !patch.add_phase(Layer::Rebuilt, least, canvas, weights) {
                self.postponed.push_back(patch);
            }
        } else if let Some(patch) = self.postponed.pop_front() {
            patch.add_phase(Layer::Rebuilt, 0.0, canvas, weights);
        }
        let all = self.taken == kept.len();
        if all && self.waiting.is_empty() && self.postponed.is_empty() {
            canvas.show_rebuilt();
            self.before = self.began;
            self.taken = 0;
        }
        true
    }
}

/// The patches from the middle of all outwards, each, where possible, after others that it overlaps.
pub(super) fn outwards(patches: &[OnlinePatch], weights: &Weights) -> Vec<OnlinePatch> {
    // Patches in one cell, or in neighbouring ones, overlap by a third on each side, at least.
    let (rows, columns) = weights.lit();
    let third = |length: usize| i64::try_from(length / 3).unwrap_or(1).max(1);
    let (height, width) = (third(rows.len()), third(columns.len()));
    let cell = |at: Corner| (at.y.div_euclid(height), at.x.div_euclid(width));

    let mut seeds: Vec<_> = patches.iter().collect();
    let middle = middle(patches);
    seeds.sort_by_key(|patch| (distance(patch.corner, middle), patch.corner));
    let mut cells = HashMap::<_, Vec<&OnlinePatch>>::new();
    for patch in &seeds {
        cells.entry(cell(patch.corner)).or_default().push(patch);
    }
    let mut order = Vec::with_capacity(patches.len());
    let mut front = VecDeque::new();
    for seed in seeds {
        // What is in the seed's cell is taken all at once, the seed with it.
        front.extend(cells.remove(&cell(seed.corner)).into_iter().flatten());
        while let Some(patch) = front.pop_front() {
            order.push(patch.clone());
            let (y, x) = cell(patch.corner);
            let around = (y - 1..=y + 1).flat_map(|y| (x - 1..=x + 1).map(move |x| (y, x)));
            let mut near: Vec<_> = around
                .filter_map(|at| cells.remove(&at))
                .flatten()
                .collect();
            near.sort_by_key(|other| (distance(other.corner, patch.corner), other.corner));
            front.extend(near);
        }
    }
    order
}

/// The middle of the rectangle of all corners.
fn middle(patches: &[OnlinePatch]) -> Corner {
    let middle = |of: fn(&OnlinePatch) -> i64| {
        let least = patches.iter().map(of).min().unwrap_or(0);
        let most = patches.iter().map(of).max().unwrap_or(0);
        least + (most - least) / 2
    };
    Corner {
        x: middle(|patch| patch.corner.x),
        y: middle(|patch| patch.corner.y),
    }
}

/// The square of a distance; corners on one canvas are near.
fn distance(a: Corner, b: Corner) -> i64 {
    (a.x - b.x).pow(2) + (a.y - b.y).pow(2)
}
