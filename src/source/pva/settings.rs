//! The settings of a PVA source.

use super::backlog::BacklogLimits;
use super::rules::Initial;
use crate::frame::BadValue;
use crate::pva::ServerAddress;
use std::str::FromStr;
use std::time::Duration;

/// See the module's essay.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) pvs: Vec<PvSettings>,
    /// What is the same for all PVs.
    pub(crate) common: Common,
    pub(crate) limits: BacklogLimits,
    pub(crate) linger: Option<Duration>,
}

/// A PV, and where its server is.
#[derive(Clone, Debug)]
pub(crate) struct PvSettings {
    pub(crate) name: String,
    pub(crate) server: Option<ServerAddress>,
}

/// What is the same for all PVs.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// Updates that a server is asked to keep.
    pub(crate) server_queue: u32,
    /// Bytes of the largest frame, uncompressed.
    pub(crate) max_frame_bytes: usize,
    pub(crate) watchdog: Option<Duration>,
    /// Whether compressed frames are decoded here.
    pub(crate) decompress: bool,
    pub(crate) initial: Initial,
    pub(crate) first_frame: Option<u64>,
    pub(crate) scan_attribute: Option<String>,
    /// Attributes that become headers.
    pub(crate) attributes: Vec<String>,
    pub(crate) position_x: Option<PositionAttribute>,
    pub(crate) position_y: Option<PositionAttribute>,
}

impl Common {
    /// The names of all attributes that are read.
    pub(crate) fn wanted(&self) -> Vec<String> {
        let positions = [&self.position_x, &self.position_y].into_iter().flatten();
        let mut names = self.attributes.clone();
        names.extend(positions.map(|position| position.name.clone()));
        names.extend(self.scan_attribute.clone());
        names.sort();
        names.dedup();
        names
    }
}

/// An attribute that has a coordinate, and what it is multiplied with to be in metres.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PositionAttribute {
    pub(crate) name: String,
    pub(crate) scale: f64,
}

/// Reads `NAME` for an attribute in metres, or `NAME*1e-6` for one in micrometres.
///
/// # Errors
/// [`BadValue`] for any other text.
impl FromStr for PositionAttribute {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (name, scale) = match text.split_once('*') {
            None => (text, Some(1.0)),
            Some((name, scale)) => (name, scale.trim().parse().ok()),
        };
        let scale = scale.filter(|scale: &f64| scale.is_finite() && *scale != 0.0);
        match (name.trim(), scale) {
            (name, Some(scale)) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                scale,
            }),
            _ => Err(BadValue::new(
                text,
                "the name of an attribute in metres, or NAME*FACTOR, such as PosX*1e-6 for micrometres",
            )),
        }
    }
}

/// Reads `always`, `never` or a time.
///
/// # Errors
/// [`BadValue`] for any other text.
impl FromStr for Initial {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.to_ascii_lowercase().as_str() {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            other => humantime::parse_duration(other)
                .map(Self::Within)
                .map_err(|_| BadValue::new(text, "always, never, or a time such as 5s")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_attribute_has_a_factor_to_metres() {
        let read = |text: &str| text.parse::<PositionAttribute>();
        let position = |name: &str, scale| PositionAttribute {
            name: name.to_owned(),
            scale,
        };
        assert_eq!(read("PosX"), Ok(position("PosX", 1.0)));
        assert_eq!(read(" PosX * 1e-6 "), Ok(position("PosX", 1e-6)));
        for text in ["", "*1e-6", "PosX*", "PosX*um", "PosX*0", "PosX*inf"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_snapshot_may_be_always_never_or_for_a_time_a_frame() {
        assert_eq!("5s".parse(), Ok(Initial::Within(Duration::from_secs(5))));
        assert_eq!("Always".parse(), Ok(Initial::Always));
        assert_eq!("never".parse(), Ok(Initial::Never));
        assert!("sometimes".parse::<Initial>().is_err());
    }
}
