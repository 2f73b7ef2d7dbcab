//! Readers of the values that both flags and the models file have, so that both allow the same.

use crate::frame::{BadPixelRule, BadValue};
use crate::inference::model::OrAuto;
use crate::telemetry::text::is_unseen;
use clap::ValueEnum;
use std::time::Duration;

/// A value without white space at its ends.
///
/// # Errors
/// [`BadValue`] for a value that cannot be what was meant: it has quotes around it, or characters that cannot be seen.
pub(crate) fn clean(text: &str) -> Result<&str, BadValue> {
    let text = text.trim();
    if text.contains(is_unseen) {
        return Err(BadValue::new(
            text,
            "a value without line breaks, control characters or invisible characters",
        ));
    }
    for quote in ['"', '\''] {
        let inside = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
        if let Some(inside) = inside {
            let instead = format!("{} without quotes", inside.trim());
            return Err(BadValue::new(text, instead));
        }
    }
    Ok(text)
}

/// Yes or no.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn yes_or_no(text: &str) -> Result<bool, BadValue> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(BadValue::new(
            text,
            "yes or no, true or false, on or off, 1 or 0",
        )),
    }
}

/// One of the fixed words of `T`. Upper and lower case are equal.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn word<T: ValueEnum>(text: &str) -> Result<T, BadValue> {
    T::from_str(text, true).map_err(|_| {
        let values = T::value_variants().iter();
        let words: Vec<_> = values
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect();
        BadValue::new(text, either(&words))
    })
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn either<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        other => other.concat(),
    }
}

/// Frames per batch.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn batch_size(text: &str) -> Result<OrAuto, BadValue> {
    whole_number_or_auto::<1, 4096>(text)
}

/// Compressed frames that are decoded at once.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn decoders(text: &str) -> Result<OrAuto, BadValue> {
    whole_number_or_auto::<1, 64>(text)
}

/// Frames that are decoded at once; if nothing is said, one on each core, in moderation on large machines.
pub(crate) fn decoders_in_force(decoders: OrAuto) -> usize {
    decoders.exactly().unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8))
    })
}

/// A time, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeOrOff(pub(crate) Option<Duration>);

/// A whole number from `MIN` to `MAX`.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn whole_number<const MIN: usize, const MAX: usize>(
    text: &str,
) -> Result<usize, BadValue> {
    text.parse()
        .ok()
        .filter(|n| (MIN..=MAX).contains(n))
        .ok_or_else(|| BadValue::new(text, format!("a whole number from {MIN} to {MAX}")))
}

/// A whole number from `MIN` to `MAX`, or `auto`.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn whole_number_or_auto<const MIN: usize, const MAX: usize>(
    text: &str,
) -> Result<OrAuto, BadValue> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(OrAuto::Auto);
    }
    whole_number::<MIN, MAX>(text)
        .map(OrAuto::Exactly)
        .map_err(|wrong| wrong.or("auto"))
}

/// A time greater than zero, such as `30s` or `100ms`. Upper and lower case are equal.
///
/// The unit `m` is refused: it is minutes here and milliseconds in Kubernetes, and `M` would be months.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn time(text: &str) -> Result<Duration, BadValue> {
    let lower = text.to_ascii_lowercase();
    let mut units = lower.split(|c: char| !c.is_alphabetic());
    if units.any(|unit| unit == "m") {
        let remedy = "a time in ms (milliseconds) or min (minutes), such as 100ms or 2min";
        return Err(BadValue::new(text, remedy));
    }
    humantime::parse_duration(&lower)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| BadValue::new(text, "a time above 0 with its unit, such as 30s or 100ms"))
}

/// A time greater than zero, or `off`.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn time_or_off(text: &str) -> Result<TimeOrOff, BadValue> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(TimeOrOff(None));
    }
    time(text)
        .map(|time| TimeOrOff(Some(time)))
        .map_err(|wrong| wrong.or("off"))
}

/// A rule for bad pixels, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RuleOrOff(pub(crate) Option<BadPixelRule>);

/// A rule for bad pixels, or `off`.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn bad_pixels(text: &str) -> Result<RuleOrOff, BadValue> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(RuleOrOff(None));
    }
    text.parse().map(|rule| RuleOrOff(Some(rule)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_m_is_refused_because_it_may_be_two_units() {
        for text in ["100m", "1m", "1M", "1h 30m", "5 m", "1m30s"] {
            let error = time(text).unwrap_err();
            assert!(error.instead().contains("min (minutes)"), "{text}");
        }
        for (text, ms) in [
            ("100ms", 100),
            ("2min", 120_000),
            ("1H 30Min", 5_400_000),
            ("1s", 1000),
            ("3 MS", 3),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["100", "0s", "s", "-1s", "1x"] {
            let error = time(text).unwrap_err();
            assert!(error.instead().contains("with its unit"), "{text}");
        }
    }
}
