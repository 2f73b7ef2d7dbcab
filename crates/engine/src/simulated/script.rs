//! What a simulated device is told to be: the text after `sim:`, parsed.
//!
//! A `Script` is a list of `key=value` pairs with commas between them, each key at most once, every key
//! optional; the table of keys is in the essay of `crate::simulated`. A script that parses is one the device can
//! follow: nothing is checked again later. `Display` writes a script that parses to an equal one.

use super::value::{batch, duration, fraction, name, number, ordinals, size};
use crate::BatchDimension;
use beamflow_frame::BadValue;
use beamflow_frame::values::Element;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Every key, in the order in which `Display` writes them.
pub(crate) const KEYS: [&str; 22] = [
    "size",
    "input",
    "outputs",
    "batch",
    "devices",
    "on",
    "memory",
    "h2d",
    "compute",
    "d2h",
    "jitter",
    "seed",
    "clock",
    "error",
    "error-every",
    "panic",
    "hang",
    "hang-time",
    "lost",
    "device-lost",
    "hang-session",
    "refuse-sessions-after",
];

/// The clock that a simulated device lives by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Stages take as long as they say.
    #[default]
    Real,
    /// Stages take no time; the device only adds up how long they would have taken.
    Virtual,
}

/// Which batches go wrong, by the device's own ordinal: the first batch is 1, and retries count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Batches that fail with [`Run`](crate::EngineError::Run).
    pub error: BTreeSet<u64>,
    /// Every how many-th batch fails so, too.
    pub(crate) error_every: Option<u64>,
    /// Batches in which the session panics.
    pub panic: BTreeSet<u64>,
    /// Batches that block their lane for `hang_time` before they are computed.
    pub hang: BTreeSet<u64>,
    /// How long a hang lasts.
    pub(crate) hang_time: Duration,
    /// Batches that fail with [`SessionLost`](crate::EngineError::SessionLost).
    pub lost: BTreeSet<u64>,
    /// Batches that fail with [`DeviceLost`](crate::EngineError::DeviceLost) and take their device with them.
    pub device_lost: BTreeSet<u64>,
    /// Sessions, numbered from 1 as they are opened, that block their lane for `hang_time` before they open.
    pub(crate) hang_session: BTreeSet<u64>,
    /// How many sessions open before the device refuses more.
    pub(crate) refuse_sessions_after: Option<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            error: BTreeSet::new(),
            error_every: None,
            panic: BTreeSet::new(),
            hang: BTreeSet::new(),
            hang_time: Duration::from_secs(3600),
            lost: BTreeSet::new(),
            device_lost: BTreeSet::new(),
            hang_session: BTreeSet::new(),
            refuse_sessions_after: None,
        }
    }
}

/// What a simulated device is told to be. See the module's essay.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Height and width of a frame, and of each output, in pixels.
    pub size: (usize, usize),
    /// The type of the input's values; outputs are f32.
    pub input: Element,
    /// Number of outputs, 1 to [`MAX_OUTPUTS`](super::MAX_OUTPUTS).
    pub outputs: usize,
    /// The batch dimension.
    pub batch: BatchDimension,
    /// Number of devices.
    pub devices: usize,
    /// The name of the devices, which all simulated models with it share; `None`: this model has devices of its own.
    pub on: Option<String>,
    /// Memory of each device, in MiB; `None`: it is not told.
    pub memory: Option<usize>,
    /// Host to device, per batch, whatever its rows.
    pub h2d: Duration,
    /// The model itself, per batch, whatever its rows.
    pub compute: Duration,
    /// Device to host, per batch, whatever its rows.
    pub d2h: Duration,
    /// Each stage takes its time × (1 ± up to this), 0 to 1.
    pub jitter: f64,
    /// Where the jitter's random numbers start.
    pub seed: u64,
    /// The clock.
    pub clock: Clock,
    /// What goes wrong, and when.
    pub faults: Faults,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            size: (64, 64),
            input: Element::F32,
            outputs: 1,
            batch: BatchDimension::Dynamic,
            devices: 1,
            on: None,
            memory: None,
            h2d: Duration::ZERO,
            compute: Duration::ZERO,
            d2h: Duration::ZERO,
            jitter: 0.0,
            seed: 0,
            clock: Clock::Real,
            faults: Faults::default(),
        }
    }
}

/// What is wrong with the text after `sim:`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A part is not `key=value`.
    #[error("sim: {part:?} is not key=value")]
    NotAPair {
        /// The part as given.
        part: String,
    },
    /// There is no such key.
    #[error("sim: there is no key {key:?}; the keys are {}", KEYS.join(", "))]
    UnknownKey {
        /// The key as given.
        key: String,
    },
    /// A key stands twice.
    #[error("sim: {key} is given twice")]
    Duplicate { key: String },
    /// A value is not one the key allows.
    #[error("sim: {key}: {source}")]
    Value {
        key: String,
        /// The value as given, and what is expected.
        source: BadValue,
    },
}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        let mut seen = BTreeSet::new();
        let parts = text.split(',').filter(|_| !text.trim().is_empty());
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| ScriptError::NotAPair {
                part: part.to_owned(),
            })?;
            let (key, value) = (key.trim(), value.trim());
            script.set(key, value)?;
            if !seen.insert(key) {
                return Err(ScriptError::Duplicate {
                    key: key.to_owned(),
                });
            }
        }
        Ok(script)
    }
}

impl Script {
    fn set(&mut self, key: &str, value: &str) -> Result<(), ScriptError> {
        let faults = &mut self.faults;
        let result = match key {
            "size" => size(value).map(|v| self.size = v),
            "outputs" => number(value, 1, super::MAX_OUTPUTS).map(|v| self.outputs = v),
            "input" => match value {
                "f32" => Ok(Element::F32),
                "f16" => Ok(Element::F16),
                _ => Err(BadValue::new(value, "f32 or f16")),
            }
            .map(|v| self.input = v),
            "batch" => batch(value).map(|v| self.batch = v),
            "devices" => number(value, 1, 16).map(|v| self.devices = v),
            "on" => name(value).map(|v| self.on = Some(v)),
            "memory" => number(value, 1, 1 << 20).map(|v| self.memory = Some(v)),
            "h2d" => duration(value).map(|v| self.h2d = v),
            "compute" => duration(value).map(|v| self.compute = v),
            "d2h" => duration(value).map(|v| self.d2h = v),
            "jitter" => fraction(value).map(|v| self.jitter = v),
            "seed" => number(value, 0, u64::MAX).map(|v| self.seed = v),
            "clock" => match value {
                "real" => Ok(Clock::Real),
                "virtual" => Ok(Clock::Virtual),
                _ => Err(BadValue::new(value, "real or virtual")),
            }
            .map(|v| self.clock = v),
            "error" => ordinals(value).map(|v| faults.error = v),
            "error-every" => number(value, 1, u64::MAX).map(|v| faults.error_every = Some(v)),
            "panic" => ordinals(value).map(|v| faults.panic = v),
            "hang" => ordinals(value).map(|v| faults.hang = v),
            "hang-time" => duration(value).map(|v| faults.hang_time = v),
            "lost" => ordinals(value).map(|v| faults.lost = v),
            "device-lost" => ordinals(value).map(|v| faults.device_lost = v),
            "hang-session" => ordinals(value).map(|v| faults.hang_session = v),
            "refuse-sessions-after" => {
                number(value, 0, u64::MAX).map(|v| faults.refuse_sessions_after = Some(v))
            }
            _ => {
                return Err(ScriptError::UnknownKey {
                    key: key.to_owned(),
                });
            }
        };
        result.map_err(|source| ScriptError::Value {
            key: key.to_owned(),
            source,
        })
    }

    /// The value of `key` as the text that gives it; `None` where it is the default or there is no such key.
    fn get(&self, key: &str) -> Option<String> {
        let default = Self::default();
        let (faults, no_faults) = (&self.faults, &default.faults);
        let list = |ordinals: &BTreeSet<u64>| {
            let texts: Vec<_> = ordinals.iter().map(u64::to_string).collect();
            (!texts.is_empty()).then(|| texts.join("+"))
        };
        let time =
            |time: Duration, default: Duration| (time != default).then(|| format!("{time:?}"));
        match key {
            "size" => {
                (self.size != default.size).then(|| format!("{}x{}", self.size.0, self.size.1))
            }
            "outputs" => (self.outputs != default.outputs).then(|| self.outputs.to_string()),
            "batch" => match self.batch {
                BatchDimension::Static(rows) => Some(rows.to_string()),
                BatchDimension::Dynamic => None,
                BatchDimension::Within { least, best, most } => {
                    Some(format!("{least}:{best}:{most}"))
                }
            },
            "input" => (self.input != default.input).then(|| self.input.to_string()),
            "devices" => (self.devices != default.devices).then(|| self.devices.to_string()),
            "on" => self.on.clone(),
            "memory" => self.memory.map(|n| n.to_string()),
            "h2d" => time(self.h2d, default.h2d),
            "compute" => time(self.compute, default.compute),
            "d2h" => time(self.d2h, default.d2h),
            "jitter" => (self.jitter > 0.0).then(|| self.jitter.to_string()),
            "seed" => (self.seed != default.seed).then(|| self.seed.to_string()),
            "clock" => (self.clock == Clock::Virtual).then(|| "virtual".to_owned()),
            "error" => list(&faults.error),
            "error-every" => faults.error_every.map(|n| n.to_string()),
            "panic" => list(&faults.panic),
            "hang" => list(&faults.hang),
            "hang-time" => time(faults.hang_time, no_faults.hang_time),
            "lost" => list(&faults.lost),
            "device-lost" => list(&faults.device_lost),
            "hang-session" => list(&faults.hang_session),
            "refuse-sessions-after" => faults.refuse_sessions_after.map(|n| n.to_string()),
            _ => None,
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = KEYS
            .iter()
            .filter_map(|key| self.get(key).map(|value| format!("{key}={value}")));
        write!(f, "{}", pairs.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests;
