//! Parsers for numbers, times, addresses and policies. Each error is a text that says what to use instead; the message
//! puts the flag and the given value in front.

use crate::inference::model::OrAuto;
use crate::inference::policy::{OnFailure, OnInvalid};
use std::net::SocketAddr;
use std::time::Duration;

/// A time, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeOrOff(pub(crate) Option<Duration>);

/// A whole number from `MIN` to `MAX`.
///
/// # Errors
/// The values to use instead, as text.
pub(crate) fn whole_number<const MIN: usize, const MAX: usize>(
    text: &str,
) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (MIN..=MAX).contains(n))
        .ok_or_else(|| format!("use a whole number from {MIN} to {MAX}"))
}

/// A whole number from `MIN` to `MAX`, or `auto`.
///
/// # Errors
/// The values to use instead, as text.
pub(crate) fn whole_number_or_auto<const MIN: usize, const MAX: usize>(
    text: &str,
) -> Result<OrAuto, String> {
    if text == "auto" {
        return Ok(OrAuto::Auto);
    }
    whole_number::<MIN, MAX>(text)
        .map(OrAuto::Exactly)
        .map_err(|_| format!("use auto or a whole number from {MIN} to {MAX}"))
}

/// A time greater than zero, such as `30s` or `100ms`.
///
/// # Errors
/// The values to use instead, as text.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "use a time above 0 with its unit, such as 30s or 100ms".to_owned())
}

/// A time greater than zero, or `off`.
///
/// # Errors
/// The values to use instead, as text.
pub(crate) fn time_or_off(text: &str) -> Result<TimeOrOff, String> {
    if text == "off" {
        return Ok(TimeOrOff(None));
    }
    time(text)
        .map(|time| TimeOrOff(Some(time)))
        .map_err(|allowed| format!("{allowed}, or off"))
}

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressOrOff(pub(crate) Option<SocketAddr>);

pub(super) fn address_or_off(text: &str) -> Result<AddressOrOff, String> {
    if text == "off" {
        return Ok(AddressOrOff(None));
    }
    text.parse()
        .map(|address| AddressOrOff(Some(address)))
        .map_err(|_| "use an address with its port, such as 0.0.0.0:9100, or off".to_owned())
}

pub(super) fn on_invalid(text: &str) -> Result<OnInvalid, String> {
    match text.split_once(':') {
        None if text == "drop" => Ok(OnInvalid::Drop),
        Some(("tag", name)) if !name.is_empty() => Ok(OnInvalid::Tag(name.to_owned())),
        _ => Err("use drop, or tag:NAME, such as tag:rejected".to_owned()),
    }
}

pub(super) fn on_failure(text: &str) -> Result<OnFailure, String> {
    match text {
        "nack" => Ok(OnFailure::Nack),
        "drop" => Ok(OnFailure::Drop),
        "abort" => Ok(OnFailure::Abort),
        _ => Err("use nack, drop or abort".to_owned()),
    }
}

/// A rate in frames per second.
///
/// # Errors
/// The values to use instead, as text.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| (0.001..=1e6).contains(rate))
        .ok_or_else(|| "use a number of frames per second from 0.001 to 1000000".to_owned())
}
