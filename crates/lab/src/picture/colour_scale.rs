//! Colour scales: from radians to a colour, and round numbers for the colour bar.
//!
//! Phase uses a sequential map whose brightness rises evenly (viridis), so that equal steps look equal in grey
//! and to colour-blind people. The difference uses a diverging map (red-blue, white at zero). Always: `low <
//! high`, both finite; a value outside gets the colour of the nearer end; NaN gets `UNLIT`.

use super::canvas::Rgb;

/// Colour of pixels without a finite value.
pub(crate) const UNLIT: Rgb = [206, 210, 216];

/// A range in radians with its colour map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ColourScale {
    low: f64,
    high: f64,
    diverging: bool,
}

impl ColourScale {
    /// Sequential scale over the range of the finite values; `None` when there is none.
    pub(crate) fn sequential(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = values.filter(|v| v.is_finite()).fold(None, |range, v| {
            let (low, high): (f64, f64) = range.unwrap_or((v, v));
            Some((low.min(v), high.max(v)))
        })?;
        // A constant phase still needs a range.
        let spare = if high > low { 0.0 } else { 0.5 };
        Some(Self {
            low: low - spare,
            high: high + spare,
            diverging: false,
        })
    }

    /// Diverging scale, symmetric around zero, to the 99th percentile of |value| but at least to
    /// `floor`; `None` when there is no finite value.
    pub(crate) fn difference(values: impl Iterator<Item = f64>, floor: f64) -> Option<Self> {
        let sizes = sorted(values.map(f64::abs));
        let size = sizes.get(sizes.len().saturating_sub(1) * 99 / 100)?;
        let high = size.max(floor).max(f64::MIN_POSITIVE);
        Some(Self {
            low: -high,
            high,
            diverging: true,
        })
    }

    /// Upper minus lower end, in radians.
    pub(crate) fn span(&self) -> f64 {
        self.high - self.low
    }

    /// The lower and the upper end.
    pub(crate) fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Where a value is on the scale: 0 is its lower end, 1 its upper; values beyond are at the nearer end.
    pub(crate) fn fraction(&self, value: f64) -> f64 {
        ((value - self.low) / self.span()).clamp(0.0, 1.0)
    }

    /// The colour of a value.
    pub(crate) fn colour(&self, value: f64) -> Rgb {
        if !value.is_finite() {
            return UNLIT;
        }
        self.colour_at((value - self.low) / self.span())
    }

    /// The colour at a fraction of the scale: 0 is its lower end, 1 its upper.
    pub(crate) fn colour_at(&self, fraction: f64) -> Rgb {
        // A range that overflows has no valid fractions; the map accepts 0 to 1 only.
        let fraction = if fraction.is_nan() {
            0.0
        } else {
            fraction.clamp(0.0, 1.0)
        };
        let colour = if self.diverging {
            colorous::RED_BLUE.eval_continuous(1.0 - fraction) // red is positive, blue negative
        } else {
            colorous::VIRIDIS.eval_continuous(fraction)
        };
        colour.as_array()
    }

    /// Positions of round numbers on the scale: four to eight of (fraction, label), in rising order.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        let ticks = round_ticks(self.low, self.high, 4.0);
        let fraction = |value: f64| (value - self.low) / self.span();
        ticks
            .into_iter()
            .map(|(value, label)| (fraction(value), label))
            .collect()
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut finite: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    finite.sort_unstable_by(f64::total_cmp);
    finite
}

/// Multiples of 1, 2 or 5 times a power of ten in `low..=high`, at least about `wanted` of them, each with a
/// label that has as many decimals as the step needs.
pub(crate) fn round_ticks(low: f64, high: f64, wanted: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / wanted;
    let decade = 10f64.powf(rough.log10().floor());
    let factor = [5.0, 2.0]
        .into_iter()
        .find(|f| f * decade <= rough)
        .unwrap_or(1.0);
    let step = factor * decade;
    let usable = step.is_normal() && (low / step).abs().max((high / step).abs()) < 1e9;
    if !usable {
        return Vec::new(); // no round number fits between the two
    }
    let decimals = (-decade.log10().round()).max(0.0) as usize;
    let (first, last) = (
        (low / step - 1e-9).ceil() as i64,
        (high / step + 1e-9).floor() as i64,
    );
    (first..=last)
        .map(|k| {
            let value = k as f64 * step;
            (value, format!("{value:.decimals$}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        round_ticks(low, high, 4.0)
            .into_iter()
            .map(|(_, label)| label)
            .collect()
    }

    #[test]
    fn ticks_are_round_numbers_inside_the_range() {
        assert_eq!(labels(-1.2, 1.2), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(labels(0.0, 100.0), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(
            labels(0.0, 0.004),
            ["0.000", "0.001", "0.002", "0.003", "0.004"]
        );
        for (low, high) in [(-0.33, 0.33), (17.0, 190.0), (-3.0, 2.1), (1e-7, 3e-7)] {
            let ticks = round_ticks(low, high, 4.0);
            assert!((4..=9).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            assert!(
                ticks
                    .iter()
                    .all(|&(v, _)| v >= low - 1e-12 && v <= high + 1e-12)
            );
        }
        for (low, high) in [
            (1.0, 1.0),
            (0.0, f64::INFINITY),
            (1e300, 1.1e300),
            (f64::NAN, 1.0),
        ] {
            let ticks = round_ticks(low, high, 4.0);
            assert!(ticks.len() < 10, "{ticks:?}");
        }
    }

    #[test]
    fn a_scale_covers_the_finite_values_and_greys_the_others() -> Result<(), &'static str> {
        let values = [f64::NAN, -1.0, 0.5, 3.0, f64::INFINITY];
        let scale = ColourScale::sequential(values.into_iter()).ok_or("no scale")?;
        assert_eq!((scale.low, scale.high), (-1.0, 3.0));
        assert_eq!(scale.colour(f64::NAN), UNLIT);
        assert_eq!(scale.colour(f64::NEG_INFINITY), UNLIT);
        assert_eq!(scale.colour(99.0), scale.colour(3.0));
        assert_ne!(scale.colour(-1.0), scale.colour(3.0));
        let huge = ColourScale::sequential([f64::MIN, f64::MAX].into_iter()).ok_or("no scale")?;
        assert_eq!(huge.colour(f64::MAX), huge.colour(f64::MIN)); // of no use, but does not panic
        assert!(ColourScale::sequential([f64::NAN].into_iter()).is_none());
        let flat = ColourScale::sequential([2.0].into_iter()).ok_or("no scale")?;
        assert!(flat.span() > 0.0);
        Ok(())
    }

    #[test]
    fn the_difference_scale_is_symmetric_and_forgives_one_outlier() -> Result<(), &'static str> {
        let mut values = vec![0.1; 500];
        values.push(-40.0);
        values.push(f64::NAN);
        let scale = ColourScale::difference(values.into_iter(), 0.02).ok_or("no scale")?;
        assert_eq!((scale.low, scale.high), (-0.1, 0.1));
        let [red, _, blue] = scale.colour(0.1);
        assert!(red > blue, "too much is red");
        let white = scale.colour(0.0);
        assert!(white.iter().all(|&c| c > 235), "{white:?}");
        let calm = ColourScale::difference([0.0].into_iter(), 0.6).ok_or("no scale")?;
        assert_eq!(calm.high, 0.6);
        assert!(ColourScale::difference(std::iter::empty(), 1.0).is_none());
        Ok(())
    }
}
