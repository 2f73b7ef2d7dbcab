//! Readers of numbers, times and answers.

use crate::frame::{BadPixelRule, BadValue};
use crate::inference::model::OrAuto;
use crate::inference::policy::{OnFailure, OnInvalid, OnNonfinite};
use std::net::SocketAddr;
use std::time::Duration;

/// A time, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeOrOff(pub(crate) Option<Duration>);

/// A whole number from `MIN` to `MAX`.
///
/// # Errors
/// [`BadValue`] for every other text.
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
/// [`BadValue`] for every other text.
pub(crate) fn whole_number_or_auto<const MIN: usize, const MAX: usize>(
    text: &str,
) -> Result<OrAuto, BadValue> {
    if text == "auto" {
        return Ok(OrAuto::Auto);
    }
    whole_number::<MIN, MAX>(text)
        .map(OrAuto::Exactly)
        .map_err(|wrong| wrong.or("auto"))
}

/// A time greater than zero, such as `30s` or `100ms`.
///
/// # Errors
/// [`BadValue`] for every other text.
pub(crate) fn time(text: &str) -> Result<Duration, BadValue> {
    humantime::parse_duration(text)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| BadValue::new(text, "a time above 0 with its unit, such as 30s or 100ms"))
}

/// A time greater than zero, or `off`.
///
/// # Errors
/// [`BadValue`] for every other text.
pub(crate) fn time_or_off(text: &str) -> Result<TimeOrOff, BadValue> {
    if text == "off" {
        return Ok(TimeOrOff(None));
    }
    time(text)
        .map(|time| TimeOrOff(Some(time)))
        .map_err(|wrong| wrong.or("off"))
}

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressOrOff(pub(crate) Option<SocketAddr>);

pub(super) fn address_or_off(text: &str) -> Result<AddressOrOff, BadValue> {
    if text == "off" {
        return Ok(AddressOrOff(None));
    }
    text.parse()
        .map(|address| AddressOrOff(Some(address)))
        .map_err(|_| {
            BadValue::new(
                text,
                "off or an address with its port, such as 0.0.0.0:9100",
            )
        })
}

pub(super) fn on_invalid(text: &str) -> Result<OnInvalid, BadValue> {
    match text.split_once(':') {
        None if text == "drop" => Ok(OnInvalid::Drop),
        Some(("tag", name)) if !name.is_empty() => Ok(OnInvalid::Tag(name.to_owned())),
        _ => Err(BadValue::new(
            text,
            "drop or tag:NAME, such as tag:rejected",
        )),
    }
}

pub(super) fn on_nonfinite(text: &str) -> Result<OnNonfinite, BadValue> {
    match text.split_once(':') {
        None if text == "send" => Ok(OnNonfinite::Send),
        None if text == "drop" => Ok(OnNonfinite::Drop),
        Some(("tag", name)) if !name.is_empty() => Ok(OnNonfinite::Tag(name.to_owned())),
        _ => Err(BadValue::new(
            text,
            "send, drop or tag:NAME, such as tag:odd",
        )),
    }
}

/// A rule for bad pixels, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RuleOrOff(pub(crate) Option<BadPixelRule>);

pub(super) fn bad_pixels(text: &str) -> Result<RuleOrOff, BadValue> {
    if text == "off" {
        return Ok(RuleOrOff(None));
    }
    text.parse().map(|rule| RuleOrOff(Some(rule)))
}

pub(super) fn on_failure(text: &str) -> Result<OnFailure, BadValue> {
    match text {
        "nack" => Ok(OnFailure::Nack),
        "fail" => Ok(OnFailure::Fail),
        "drop" => Ok(OnFailure::Drop),
        "abort" => Ok(OnFailure::Abort),
        _ => Err(BadValue::new(text, "nack, fail, drop or abort")),
    }
}

/// A rate in frames per second.
///
/// # Errors
/// [`BadValue`] for every other text.
pub(crate) fn rate(text: &str) -> Result<f64, BadValue> {
    text.parse()
        .ok()
        .filter(|rate: &f64| (0.001..=1e6).contains(rate))
        .ok_or_else(|| BadValue::new(text, "frames per second from 0.001 to 1000000"))
}
