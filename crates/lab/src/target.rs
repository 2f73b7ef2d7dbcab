//! The demo's object: a test target that shows the quality of a reconstruction at a glance.
//!
//! It has four kinds of features: the *Siemens star* (the finest visible detail in every direction), *cells*
//! with soft walls and nuclei (correct grey levels), *bars* of three widths in both directions (resolution in
//! numbers), and a *smooth gradient* under all of it (steps between patches). The network has seen none of
//! these shapes in training.
//!
//! Positions are measured from the grid's middle, in units of nine tenths of its shorter side. Nothing is
//! random. Edges are soft over about a pixel and a half, because a band-limited detector cannot resolve sharper
//! ones.
//!
//! Invariants: max φ − min φ = `PHASE_SPAN`, φ is centred on 0, and 0.6 ≤ A ≤ 1.

use std::f64::consts::TAU;

use ndarray::{Array2, Zip};

/// Phase from the darkest to the brightest pixel of the target, in radians.
const PHASE_SPAN: f64 = 2.8;
/// Smallest and largest amplitude of the target.
const AMPLITUDE: (f64, f64) = (0.6, 1.0);

/// Side of the drawing as a fraction of the grid's shorter side. The rest is a rim that a scan lights dimly or
/// not at all.
const DRAWING: f64 = 0.9;

const STAR: Disc = Disc {
    x: -0.145,
    y: -0.145,
    r: 0.185,
};
const STAR_HUB: f64 = 0.035;
const STAR_SPOKES: f64 = 12.0;

/// Cells as (place, height of the wall, place of the nucleus within).
const CELLS: [(Disc, f64); 6] = [
    (
        Disc {
            x: 0.155,
            y: 0.165,
            r: 0.120,
        },
        1.0,
    ),
    (
        Disc {
            x: 0.315,
            y: 0.060,
            r: 0.070,
        },
        0.75,
    ),
    (
        Disc {
            x: 0.330,
            y: 0.270,
            r: 0.080,
        },
        0.85,
    ),
    (
        Disc {
            x: 0.130,
            y: 0.345,
            r: 0.062,
        },
        0.7,
    ),
    (
        Disc {
            x: 0.225,
            y: 0.000,
            r: 0.045,
        },
        0.6,
    ),
    (
        Disc {
            x: -0.010,
            y: 0.270,
            r: 0.050,
        },
        0.65,
    ),
];

/// Bars as (left, top, width of a bar, length of a bar, number of bars, upright).
const BARS: [(f64, f64, f64, f64, u32, bool); 6] = [
    (0.100, -0.335, 0.036, 0.110, 3, true),
    (0.295, -0.335, 0.024, 0.110, 2, true),
    (0.100, -0.190, 0.018, 0.110, 3, false),
    (0.255, -0.190, 0.018, 0.090, 4, true),
    (-0.330, 0.115, 0.036, 0.190, 3, false),
    (-0.330, 0.325, 0.024, 0.190, 2, false),
];

#[derive(Clone, Copy)]
struct Disc {
    x: f64,
    y: f64,
    r: f64,
}

/// Amplitude and phase of the target, each of shape (rows, columns).
pub(super) fn draw(rows: usize, columns: usize) -> (Array2<f64>, Array2<f64>) {
    let side = DRAWING * rows.min(columns) as f64;
    let place = |index: usize, length: usize| (index as f64 + 0.5 - length as f64 / 2.0) / side;
    let layers = Array2::from_shape_fn((rows, columns), |(row, column)| {
        Layers::at(place(column, columns), place(row, rows), 0.75 / side)
    });

    // Heights first, then one scale for the whole span: a feature can be moved and the span stays exact.
    let mut phase = layers
        .mapv(|l| l.ground + 0.95 * l.star + 0.85 * l.cells + 0.35 * l.nuclei - 0.80 * l.bars);
    let (low, high) = extent(&phase);
    phase.mapv_inplace(|p| (p - 0.5 * (low + high)) * PHASE_SPAN / (high - low));

    // Thick parts both absorb and delay, but in different ratios: the star is a metal film, a cell is nearly
    // transparent and its nucleus is not; the bars absorb although they advance the phase.
    let mut amplitude = Array2::zeros((rows, columns));
    Zip::from(&mut amplitude).and(&layers).for_each(|a, l| {
        let absorbed =
            0.34 * l.star + 0.14 * l.cells + 0.16 * l.nuclei + 0.20 * l.bars + 0.05 * l.haze;
        *a = (AMPLITUDE.1 - absorbed).clamp(AMPLITUDE.0, AMPLITUDE.1);
    });
    (amplitude, phase)
}

/// The share of each feature in one pixel: 0 to 1, the ground around 0.
#[derive(Clone, Copy)]
struct Layers {
    ground: f64,
    haze: f64,
    star: f64,
    cells: f64,
    nuclei: f64,
    bars: f64,
}

impl Layers {
    /// `soft` is the half-width of an edge.
    fn at(x: f64, y: f64, soft: f64) -> Self {
        let step = |inside: f64| 0.5 * (1.0 + (inside / soft).tanh());
        let (cells, nuclei) = cells(x, y, &step);
        Self {
            ground: 1.1 * (0.7 * x - 0.7 * y) + 0.35 * (TAU * (1.1 * x + 0.6 * y)).sin(),
            haze: 0.5 * (1.0 + (TAU * (1.1 * x - 0.8 * y)).cos()),
            star: star(x, y, &step),
            cells,
            nuclei,
            bars: bars(x, y, &step),
        }
    }
}

fn star(x: f64, y: f64, step: &impl Fn(f64) -> f64) -> f64 {
    let (x, y) = (x - STAR.x, y - STAR.y);
    let r = x.hypot(y);
    // Distance to the nearest edge of a spoke, along the arc.
    let spoke = r * (STAR_SPOKES * y.atan2(x)).sin() / STAR_SPOKES;
    step(spoke) * step(STAR.r - r) * step(r - STAR_HUB)
}

fn cells(x: f64, y: f64, step: &impl Fn(f64) -> f64) -> (f64, f64) {
    let mut wall: f64 = 0.0;
    let mut nucleus: f64 = 0.0;
    for (cell, height) in CELLS {
        let r = (x - cell.x).hypot(y - cell.y);
        // A dome on a flat base, like a cell on a surface; where two overlap, the thicker one is drawn.
        let dome = 0.55 + 0.45 * (1.0 - (r / cell.r).powi(2)).max(0.0);
        wall = wall.max(height * dome * step(cell.r - r));
        let off = 0.28 * cell.r;
        let r = (x - cell.x - off).hypot(y - cell.y + off);
        nucleus = nucleus.max(height * step(0.34 * cell.r - r));
    }
    (wall, nucleus)
}

fn bars(x: f64, y: f64, step: &impl Fn(f64) -> f64) -> f64 {
    let mut total: f64 = 0.0;
    for (left, top, width, length, count, upright) in BARS {
        // `across` counts bars and gaps, `along` is the coordinate along the bar.
        let (across, along) = if upright {
            (x - left, y - top)
        } else {
            (y - top, x - left)
        };
        let along = along.min(length - along);
        for bar in 0..count {
            let start = 2.0 * f64::from(bar) * width;
            let inside = (across - start).min(start + width - across);
            total = total.max(step(inside) * step(along));
        }
    }
    total
}

fn extent(values: &Array2<f64>) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| {
            (low.min(v), high.max(v))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phase_and_amplitude_keep_their_ranges_on_any_grid() {
        for (rows, columns) in [(16, 16), (64, 200), (190, 190), (301, 150)] {
            let (amplitude, phase) = draw(rows, columns);
            assert_eq!(phase.dim(), (rows, columns));
            let (low, high) = extent(&phase);
            assert!((high - low - PHASE_SPAN).abs() < 1e-12 && (high + low).abs() < 1e-12);
            let (low, high) = extent(&amplitude);
            assert!(
                low >= AMPLITUDE.0 && high <= AMPLITUDE.1 && high - low > 0.25,
                "{low} {high}"
            );
        }
    }

    #[test]
    fn one_lit_patch_stays_within_a_range_that_a_network_can_learn() {
        let (_, phase) = draw(190, 190);
        let mut beyond = 0;
        let mut pixels = 0;
        for window in phase.windows((32, 32)).into_iter().step_by(37) {
            let mean = window.mean().unwrap_or(f64::NAN);
            beyond += window.iter().filter(|&&p| (p - mean).abs() >= 1.5).count();
            pixels += window.len();
        }
        assert!(
            beyond * 100 < pixels,
            "{beyond} of {pixels} pixels beyond 1.5 rad of their patch"
        );
    }

    #[test]
    fn amplitude_follows_phase_in_part_only() {
        let (amplitude, phase) = draw(190, 190);
        let centred = |a: &Array2<f64>| a - a.mean().unwrap_or(f64::NAN);
        let (a, p) = (centred(&amplitude), centred(&phase));
        let correlation = (&a * &p).sum() / ((&a * &a).sum() * (&p * &p).sum()).sqrt();
        assert!((0.2..0.9).contains(&correlation.abs()), "{correlation}");
    }
}
