//! The sums of all patches, on a rectangle of pixels that grows.
//!
//! Σ w·v and Σ w per pixel, of phase and of amplitude; their quotient is the picture. The phase is there twice: as it is shown,
//! and as it is built anew. Pixels have signed coordinates, so that a
//! scan may begin anywhere and go in any direction. A side that grows doubles, with room on both ends, so that the cost per patch
//! is bounded on average. A side never exceeds the limit.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Zip, s};
use std::ops::Range;

/// A pixel of the mosaic's grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Corner {
    /// Column.
    pub x: i64,
    /// Row.
    pub y: i64,
}

/// A rectangle of the mosaic's grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// Its top-left pixel.
    pub corner: Corner,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

/// Coordinates beyond this cannot be on one canvas with others, and sums of smaller ones cannot overflow.
const FAR: i64 = 1 << 40;

impl Area {
    /// The smallest rectangle with both; `None` if a coordinate is too large.
    pub(super) fn with(self, other: Self) -> Option<Self> {
        let (y, rows) = join(self.vertical()?, other.vertical()?);
        let (x, columns) = join(self.horizontal()?, other.horizontal()?);
        Some(Self {
            corner: Corner { x, y },
            rows,
            columns,
        })
    }

    fn vertical(self) -> Option<Range<i64>> {
        range(self.corner.y, self.rows)
    }

    fn horizontal(self) -> Option<Range<i64>> {
        range(self.corner.x, self.columns)
    }

    fn contains(self, other: Self) -> bool {
        self.with(other) == Some(self)
    }

    /// Where `inner`, a part of this rectangle, is in an array of it: rows and columns.
    fn window(self, inner: Self) -> (Range<usize>, Range<usize>) {
        let start = |inner: i64, outer: i64| usize::try_from(inner - outer).unwrap_or(0);
        let top = start(inner.corner.y, self.corner.y);
        let left = start(inner.corner.x, self.corner.x);
        (top..top + inner.rows, left..left + inner.columns)
    }
}

fn range(start: i64, length: usize) -> Option<Range<i64>> {
    let length = i64::try_from(length).ok().filter(|&length| length < FAR)?;
    (start.unsigned_abs() < FAR.unsigned_abs()).then(|| start..start + length)
}

/// Start and length of the smallest range with both.
fn join(a: Range<i64>, b: Range<i64>) -> (i64, usize) {
    let (start, end) = (a.start.min(b.start), a.end.max(b.end));
    (start, usize::try_from(end - start).unwrap_or(usize::MAX))
}

/// Σ w·v and Σ w.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) sum: Array2<f32>,
    pub(super) weight: Array2<f32>,
}

impl Sums {
    fn moved(&self, from: Area, to: Area) -> Self {
        let (rows, columns) = to.window(from);
        let moved = |array: &Array2<f32>| {
            let mut larger = Array2::zeros((to.rows, to.columns));
            larger
                .slice_mut(s![rows.clone(), columns.clone()])
                .assign(array);
            larger
        };
        Self {
            sum: moved(&self.sum),
            weight: moved(&self.weight),
        }
    }

    /// The quotient in a window, less `constant`; NaN without weight.
    fn picture(&self, (rows, columns): (Range<usize>, Range<usize>), constant: f64) -> Array2<f32> {
        let window = s![rows, columns];
        let mut picture = self.sum.slice(&window).to_owned();
        Zip::from(&mut picture)
            .and(self.weight.slice(&window))
            .for_each(|value, &w| {
                *value = if w > 0.0 {
                    (f64::from(*value / w) - constant) as f32
                } else {
                    f32::NAN
                }
            });
        picture
    }
}

/// See the module's essay.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    /// What has memory.
    area: Area,
    /// What has patches, a part of `area`.
    used: Option<Area>,
    /// What patches may use, if it is known; else as much as `side` allows.
    fixed: Option<Area>,
    /// Rows and columns, at most.
    side: usize,
    phase: Sums,
    amplitude: Sums,
    rebuilt: Sums,
}

/// One of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Phase,
    Amplitude,
    /// The phase that will take the place of the other.
    Rebuilt,
}

impl Canvas {
    /// An empty canvas of at most `side` rows and columns, or of the part of `fixed` that is as large.
    pub(super) fn new(side: usize, fixed: Option<Area>) -> Self {
        let fixed = fixed.map(|area| Area {
            rows: area.rows.min(side),
            columns: area.columns.min(side),
            ..area
        });
        Self {
            area: Area::default(),
            used: None,
            fixed,
            side,
            phase: Sums::default(),
            amplitude: Sums::default(),
            rebuilt: Sums::default(),
        }
    }

    /// Makes room for `area`. `false` if it would be too large.
    pub(super) fn include(&mut self, area: Area) -> bool {
        let used = match self.used {
            Some(used) => used.with(area),
            None => area.with(area),
        };
        let allowed = |used: &Area| {
            let inside = self.fixed.is_none_or(|fixed| fixed.contains(*used));
            inside && used.rows <= self.side && used.columns <= self.side
        };
        let Some(used) = used.filter(allowed) else {
            return false;
        };
        if self.used.is_none() {
            self.allocate(used, used);
        } else if !self.area.contains(used) {
            let (y, rows) = self.grown(self.area.vertical(), used.vertical());
            let (x, columns) = self.grown(self.area.horizontal(), used.horizontal());
            let larger = Area {
                corner: Corner { x, y },
                rows,
                columns,
            };
            self.allocate(larger, used);
        }
        self.used = Some(used);
        true
    }

    /// One axis: `area` if it holds `used`; else `used` with room for half as much again on either side, within the limit.
    fn grown(&self, area: Option<Range<i64>>, used: Option<Range<i64>>) -> (i64, usize) {
        let (Some(area), Some(used)) = (area, used) else {
            return (0, 0);
        };
        if area.start <= used.start && used.end <= area.end {
            return join(area.clone(), area);
        }
        let side = i64::try_from(self.side).unwrap_or(FAR);
        let length = used.end - used.start;
        let spare = length.min(side - length).max(0);
        let start = used.start - spare / 2;
        join(start..start + length + spare, used)
    }

    /// Moves what is used so far to new memory for `area`.
    fn allocate(&mut self, area: Area, used: Area) {
        debug_assert!(area.contains(used));
        let cut = |sums: &Sums, (rows, columns): (Range<usize>, Range<usize>)| Sums {
            sum: sums.sum.slice(s![rows.clone(), columns.clone()]).to_owned(),
            weight: sums.weight.slice(s![rows, columns]).to_owned(),
        };
        for sums in [&mut self.phase, &mut self.amplitude, &mut self.rebuilt] {
            *sums = match self.used {
                Some(before) => cut(sums, self.area.window(before)).moved(before, area),
                None => Sums {
                    sum: Array2::zeros((area.rows, area.columns)),
                    weight: Array2::zeros((area.rows, area.columns)),
                },
            };
        }
        self.area = area;
    }

    /// The sums under `area`, which has been included: Σ w·v and Σ w.
    pub(super) fn window(
        &mut self,
        layer: Layer,
        area: Area,
    ) -> (ArrayViewMut2<'_, f32>, ArrayViewMut2<'_, f32>) {
        let (rows, columns) = self.area.window(area);
        let sums = match layer {
            Layer::Phase => &mut self.phase,
            Layer::Amplitude => &mut self.amplitude,
            Layer::Rebuilt => &mut self.rebuilt,
        };
        let sum = sums.sum.slice_mut(s![rows.clone(), columns.clone()]);
        (sum, sums.weight.slice_mut(s![rows, columns]))
    }

    /// What has patches.
    pub(super) fn used(&self) -> Option<Area> {
        self.used
    }

    /// Mean of the phase, weighted; 0 without any.
    fn mean_phase(&self) -> f64 {
        let total = |array: &Array2<f32>| array.iter().map(|&v| f64::from(v)).sum::<f64>();
        let weight = total(&self.phase.weight);
        if weight > 0.0 {
            total(&self.phase.sum) / weight
        } else {
            0.0
        }
    }

    /// Phase less its weighted mean, and amplitude, of what is used.
    pub(super) fn pictures(&self) -> [Array2<f32>; 2] {
        let window = self.area.window(self.used.unwrap_or_default());
        [
            self.phase.picture(window.clone(), self.mean_phase()),
            self.amplitude.picture(window, 0.0),
        ]
    }

    /// An empty phase to build.
    pub(super) fn clear_rebuilt(&mut self) {
        self.rebuilt.sum.fill(0.0);
        self.rebuilt.weight.fill(0.0);
    }

    /// The phase that has been built takes the place of the other.
    pub(super) fn show_rebuilt(&mut self) {
        std::mem::swap(&mut self.phase, &mut self.rebuilt);
    }

    /// Σ w of the phase, of what is used.
    pub(super) fn coverage(&self) -> ArrayView2<'_, f32> {
        let (rows, columns) = self.area.window(self.used.unwrap_or_default());
        self.phase.weight.slice(s![rows, columns])
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        6 * size_of::<f32>() * self.area.rows * self.area.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn area(x: i64, y: i64, rows: usize, columns: usize) -> Area {
        Area {
            corner: Corner { x, y },
            rows,
            columns,
        }
    }

    #[test]
    fn a_canvas_keeps_within_its_limit_and_takes_what_still_fits() {
        let mut canvas = Canvas::new(100, None);
        assert!(canvas.include(area(-10, 5, 10, 10)));
        assert!(canvas.include(area(60, 5, 10, 10)));
        assert!(!canvas.include(area(100, 5, 10, 10)));
        assert!(canvas.include(area(-30, 5, 10, 10)), "to the other side");
        assert_eq!(canvas.used(), Some(area(-30, 5, 10, 100)));
        assert!(!canvas.include(area(-31, 5, 10, 10)));
        for far in [i64::MIN, i64::MAX, FAR] {
            assert!(!canvas.include(area(far, 5, 10, 10)));
            assert!(!Canvas::new(100, None).include(area(5, far, 10, 10)));
        }
        assert!(!Canvas::new(9, None).include(area(0, 0, 10, 10)));
    }

    #[test]
    fn a_fixed_canvas_takes_nothing_outside_of_it() {
        let mut canvas = Canvas::new(100, Some(area(0, 0, 50, 50)));
        assert!(canvas.include(area(40, 40, 10, 10)));
        assert!(!canvas.include(area(41, 40, 10, 10)));
        assert!(canvas.include(area(0, 0, 10, 10)));
        let mut canvas = Canvas::new(20, Some(area(0, 0, 50, 50)));
        assert!(!canvas.include(area(15, 0, 10, 10)), "the limit holds");
    }

    #[test]
    fn growth_is_amortised() {
        let mut canvas = Canvas::new(4096, None);
        let mut moves = 0;
        for k in 0..4000 {
            let before = canvas.area;
            let back_and_forth = if k % 2 == 0 { k / 2 } else { -k / 2 };
            assert!(canvas.include(area(-k, back_and_forth, 64, 64)));
            moves += usize::from(canvas.area != before);
        }
        assert!(moves < 32, "{moves}");
        assert!(canvas.bytes() <= 6 * 4 * 4096 * 4096);
    }

    proptest! {
        /// Against one array that is large enough from the beginning.
        #[test]
        fn sums_stay_where_they_are_when_the_canvas_grows(
            places in prop::collection::vec((-40i64..40, -40i64..40), 1..40),
            side in 6usize..90,
        ) {
            let mut canvas = Canvas::new(side, None);
            let mut all = Array2::<f32>::zeros((90, 90));
            for (k, (x, y)) in places.into_iter().enumerate() {
                let patch = area(x, y, 4, 6);
                if canvas.include(patch) {
                    let (mut sum, mut weight) = canvas.window(Layer::Amplitude, patch);
                    sum += k as f32;
                    weight += 1.0;
                    let (top, left) = ((y + 40) as usize, (x + 40) as usize);
                    let mut window = all.slice_mut(s![top..top + 4, left..left + 6]);
                    window += k as f32;
                }
                prop_assert!(canvas.area.rows <= side && canvas.area.columns <= side);
            }
            if let Some(used) = canvas.used() {
                let (top, left) = ((used.corner.y + 40) as usize, (used.corner.x + 40) as usize);
                let (sum, _) = canvas.window(Layer::Amplitude, used);
                prop_assert_eq!(sum, all.slice(s![top..top + used.rows, left..left + used.columns]));
            }
        }
    }
}
