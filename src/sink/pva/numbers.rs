//! The PVs of one number, for screens without Prometheus. They are posted when they change, once a second at most.

use super::settings::Settings;
use crate::pva::{NumberPv, PostError, Server, ServerError};

/// Their names behind the prefix, in the order of [`Values`].
pub(crate) const NAMES: [&str; 4] = ["frames", "rate", "latency", "gaps"];

/// The values of all of them.
///
/// - `frames`: frames of which a result has come;
/// - `rate`: such frames in the last second;
/// - `latency`: of the newest result, from its frame to its post, in ms;
/// - `gaps`: frames that are missing among those that came.
pub(crate) type Values = [f64; 4];

/// The PVs.
#[derive(Debug)]
pub(crate) struct Numbers {
    pvs: [NumberPv; 4],
    posted: Values,
}

impl Numbers {
    /// Serves them.
    ///
    /// # Errors
    /// A name that is taken.
    pub(crate) fn new(server: &Server, settings: &Settings) -> Result<Self, ServerError> {
        let [frames, rate, latency, gaps] =
            NAMES.map(|name| server.number(&settings.number(name), 0.0));
        Ok(Self {
            pvs: [frames?, rate?, latency?, gaps?],
            posted: Values::default(),
        })
    }

    /// Posts those that have changed.
    ///
    /// # Errors
    /// No case is known; the server could refuse the value.
    pub(crate) fn post(&mut self, values: Values) -> Result<(), PostError> {
        for ((pv, posted), value) in self.pvs.iter().zip(&mut self.posted).zip(values) {
            if *posted != value {
                pv.post(value)?;
                *posted = value;
            }
        }
        Ok(())
    }
}
