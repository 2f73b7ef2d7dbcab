//! Readers of numbers, times and answers. Those that the models file needs too are in `crate::config::parse`.

pub(crate) use crate::config::parse::{
    RuleOrOff, TimeOrOff, bad_pixels, batch_size, decoders, time, time_or_off, whole_number,
    whole_number_or_auto,
};
use crate::frame::BadValue;
use crate::inference::policy::{OnFailure, OnInvalid, OnNonfinite};
use crate::lab::encoder::Encoder;
use std::net::SocketAddr;

/// A whole number, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberOrOff(pub(crate) Option<u32>);

/// A whole number from 1 to 1,000, or `off`.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(super) fn deliveries(text: &str) -> Result<NumberOrOff, BadValue> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(NumberOrOff(None));
    }
    let number = whole_number::<1, 1000>(text).map_err(|wrong| wrong.or("off"))?;
    Ok(NumberOrOff(u32::try_from(number).ok()))
}

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressOrOff(pub(crate) Option<SocketAddr>);

pub(super) fn address_or_off(text: &str) -> Result<AddressOrOff, BadValue> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(AddressOrOff(None));
    }
    text.parse()
        .map(|address| AddressOrOff(Some(address)))
        .map_err(|_| {
            BadValue::new(
                text,
                "off or an address with its port, such as [::]:9100 or 127.0.0.1:9100",
            )
        })
}

pub(super) fn on_invalid(text: &str) -> Result<OnInvalid, BadValue> {
    if text.eq_ignore_ascii_case("drop") {
        return Ok(OnInvalid::Drop);
    }
    tag(text)
        .map(OnInvalid::Tag)
        .ok_or_else(|| BadValue::new(text, "drop or tag:NAME, such as tag:rejected"))
}

pub(super) fn on_nonfinite(text: &str) -> Result<OnNonfinite, BadValue> {
    match text.to_ascii_lowercase().as_str() {
        "send" => Ok(OnNonfinite::Send),
        "drop" => Ok(OnNonfinite::Drop),
        _ => tag(text)
            .map(OnNonfinite::Tag)
            .ok_or_else(|| BadValue::new(text, "send, drop or tag:NAME, such as tag:odd")),
    }
}

/// The name in `tag:NAME`. None of Numaflow's own tags: such a message would be dropped or nacked.
fn tag(text: &str) -> Option<String> {
    let (word, name) = text.split_once(':')?;
    let name = name.trim();
    let is_tag = word.trim().eq_ignore_ascii_case("tag");
    (is_tag && !name.is_empty() && !name.starts_with("U+005C__")).then(|| name.to_owned())
}

pub(super) fn on_failure(text: &str) -> Result<OnFailure, BadValue> {
    match text.to_ascii_lowercase().as_str() {
        "nack" => Ok(OnFailure::Nack),
        "fail" => Ok(OnFailure::Fail),
        "drop" => Ok(OnFailure::Drop),
        "abort" => Ok(OnFailure::Abort),
        _ => Err(BadValue::new(text, "nack, fail, drop or abort")),
    }
}

/// How frames are compressed, if they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncoderOrNone(pub(crate) Option<Encoder>);

pub(super) fn codec(text: &str) -> Result<EncoderOrNone, BadValue> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(EncoderOrNone(None));
    }
    text.parse()
        .map(|encoder| EncoderOrNone(Some(encoder)))
        .map_err(|wrong: BadValue| wrong.or("none"))
}

/// A number of bytes, KiB, MiB or GiB.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(super) fn bytes(text: &str) -> Result<usize, BadValue> {
    let lower = text.to_ascii_lowercase();
    let units = [("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30)];
    let with = |(unit, size)| Some((lower.strip_suffix(unit)?, size));
    let (number, unit) = units.into_iter().find_map(with).unwrap_or((&lower, 1));
    let number: Option<usize> = number.trim().parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| {
            BadValue::new(
                text,
                "a number of bytes, such as 1048576, 1024KiB, 1MiB or 1GiB",
            )
        })
}

/// A rate in frames per second.
///
/// # Errors
/// [`BadValue`] for any other text.
pub(crate) fn rate(text: &str) -> Result<f64, BadValue> {
    text.parse()
        .ok()
        .filter(|rate: &f64| (0.001..=1e6).contains(rate))
        .ok_or_else(|| BadValue::new(text, "frames per second from 0.001 to 1000000"))
}

/// A rate in updates per second, or `off`.
#[cfg(feature = "pva")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RateOrOff(pub(crate) Option<f64>);

#[cfg(feature = "pva")]
pub(super) fn rate_or_off(text: &str) -> Result<RateOrOff, BadValue> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(RateOrOff(None));
    }
    rate(text)
        .map(|rate| RateOrOff(Some(rate)))
        .map_err(|_| BadValue::new(text, "off or updates per second from 0.001 to 1000000"))
}

/// An IP address.
#[cfg(feature = "pva")]
pub(super) fn address(text: &str) -> Result<std::net::IpAddr, BadValue> {
    text.parse()
        .map_err(|_| BadValue::new(text, "an IP address, such as 0.0.0.0 or 127.0.0.1"))
}

/// A port to listen on.
#[cfg(feature = "pva")]
pub(super) fn port(text: &str) -> Result<u16, BadValue> {
    text.parse()
        .map_err(|_| BadValue::new(text, "a port from 1 to 65535, or 0 for any free one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_and_without_a_unit() {
        for text in ["1048576", "1024KiB", "1MiB", "1 MiB"] {
            assert_eq!(bytes(text), Ok(1 << 20), "{text}");
        }
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        for text in ["", "0", "1GB", "-1", "1.5MiB", "99999999999999999999"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tag_of_numaflows_own_is_no_dead_letter() {
        for text in [
            "tag:U+005C__DROP__",
            "tag:",
            "tag: ",
            "tagged:x",
            "rejected",
        ] {
            assert!(on_invalid(text).is_err(), "{text}");
        }
    }
}
