//! PVs that this program serves, read-only: images as NTNDArray, numbers as NTScalar.
//!
//! Posting never waits. Each client has a queue in the server; when it is full, the newest update replaces the last
//! one in it, and a client that takes no bytes for 5 s is disconnected. A client that connects later gets the last
//! value at once.
//!
//! Each post of a PV has a later `timeStamp` than the one before, also where the clock stands still or is set back:
//! viewers skip an update that has the time of the one before. [`ImagePv::repeat`] is the exception.

/// Settings of a server, and the server.
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use epics_pva_rs::nt::nd_array::nt_nd_array_desc;
use epics_pva_rs::nt::scalar::NTScalar;
use epics_pva_rs::pvdata::encode::default_value_for;
use epics_pva_rs::pvdata::{PvField, ScalarType, ScalarValue};
use epics_pva_rs::server_native::SharedPV;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::ntndarray::{NewImage, Unwritable, empty, value};
pub use server::{Server, ServerError, ServerOptions};

/// Why an update cannot be posted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// The image is none.
    #[error(transparent)]
    Image(#[from] Unwritable),
    /// The server refuses it.
    #[error("the update cannot be posted: {0}")]
    Refused(String),
}

/// A PV of images. Clones are the same PV.
#[derive(Clone)]
pub struct ImagePv {
    pv: Arc<SharedPV>,
    clock: Arc<Clock>,
    /// The monitors that clients have started.
    started: watch::Receiver<usize>,
}

impl ImagePv {
    /// The PV, open: clients connect, and find it idle until the first image.
    fn new() -> Result<Self, PostError> {
        let pv = opened(nt_nd_array_desc(), empty())?;
        let (count, started) = watch::channel(0_usize);
        pv.set_on_start(Arc::new(move |_, starts| {
            count.send_modify(|monitors| {
                *monitors = if starts {
                    monitors.saturating_add(1)
                } else {
                    monitors.saturating_sub(1)
                };
            });
        }));
        Ok(Self {
            pv,
            clock: Arc::default(),
            started,
        })
    }

    /// Posts `image`. Its pixels are borrowed and not copied if they are bytes or compressed.
    ///
    /// # Errors
    /// Pixels that do not fill its shape, and a dimension above `i32::MAX`.
    pub fn post(&self, image: &NewImage) -> Result<(), PostError> {
        // Under one lock, so that times and posts are in one order.
        self.clock.at_next(|time| {
            let value = value(image, time)?;
            posted(&self.pv, value)
        })
    }

    /// Posts what the PV holds once more, with its number and both of its times, as an IOC does whose plugin repeats
    /// an array. Returns the number of clients that get it.
    ///
    /// # Errors
    /// No case is known; the server could refuse the value.
    pub fn repeat(&self) -> Result<usize, PostError> {
        // As above: no post comes between the two.
        self.clock.at_next(|_| match self.pv.current() {
            Some(value) => sent(&self.pv, value),
            None => Ok(0),
        })
    }

    /// Waits until a client monitors the PV. It gets all that is posted from then on, as far as its queue allows.
    /// Every client gets what the PV holds once more.
    ///
    /// # Errors
    /// Those of [`repeat`](Self::repeat).
    pub async fn monitored(&self) -> Result<(), PostError> {
        /// A client's monitor is started before it is entered in the list of those that get posts.
        const ENTERED: Duration = Duration::from_millis(1);
        let mut started = self.started.clone();
        loop {
            // The sender lives as long as the PV.
            let _ = started.wait_for(|monitors| *monitors > 0).await;
            if self.repeat()? > 0 {
                return Ok(());
            }
            tokio::time::sleep(ENTERED).await;
        }
    }
}

/// A PV of one number, a `double`. Clones are the same PV.
#[derive(Clone)]
pub struct NumberPv {
    pv: Arc<SharedPV>,
    clock: Arc<Clock>,
}

impl NumberPv {
    fn new(first: f64) -> Result<Self, PostError> {
        let clock = Arc::<Clock>::default();
        let value = clock.at_next(|time| number(first, time));
        let pv = opened(NTScalar::new(ScalarType::Double).build(), value)?;
        Ok(Self { pv, clock })
    }

    /// Posts `number`.
    ///
    /// # Errors
    /// No case is known; the server could refuse the value.
    pub fn post(&self, value: f64) -> Result<(), PostError> {
        self.clock
            .at_next(|time| posted(&self.pv, number(value, time)))
    }
}

impl fmt::Debug for ImagePv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImagePv").finish_non_exhaustive()
    }
}

impl fmt::Debug for NumberPv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NumberPv").finish_non_exhaustive()
    }
}

fn number(value: f64, time: i64) -> PvField {
    let mut scalar = default_value_for(&NTScalar::new(ScalarType::Double).build());
    if let PvField::Structure(structure) = &mut scalar {
        structure.set("value", PvField::Scalar(ScalarValue::Double(value)));
        let time = crate::ntndarray::time(time);
        if let Some(PvField::Structure(stamp)) = structure.get_field_mut("timeStamp") {
            let seconds = ScalarValue::Long(time.seconds_past_epoch);
            stamp.set("secondsPastEpoch", PvField::Scalar(seconds));
            let nanoseconds = ScalarValue::Int(time.nanoseconds);
            stamp.set("nanoseconds", PvField::Scalar(nanoseconds));
        }
    }
    scalar
}

fn opened(structure: epics_pva_rs::FieldDesc, value: PvField) -> Result<Arc<SharedPV>, PostError> {
    let pv = SharedPV::build_readonly();
    let refused = |error: epics_pva_rs::PvaError| PostError::Refused(error.to_string());
    pv.open(structure, value).map_err(refused)?;
    Ok(Arc::new(pv))
}

fn posted(pv: &SharedPV, value: PvField) -> Result<(), PostError> {
    sent(pv, value).map(drop)
}

/// Posts `value`; returns the number of clients that get it.
fn sent(pv: &SharedPV, value: PvField) -> Result<usize, PostError> {
    let refused = |error: epics_pva_rs::PvaError| PostError::Refused(error.to_string());
    pv.try_post_checked(value).map_err(refused)
}

/// Times that only increase.
#[derive(Debug, Default)]
struct Clock {
    last: Mutex<i64>,
}

impl Clock {
    /// Calls `post` with the time in ns since 1970, or with the first time after that of the last call.
    fn at_next<T>(&self, post: impl FnOnce(i64) -> T) -> T {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| {
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        });
        let mut last = self.last.lock();
        *last = now.max(last.saturating_add(1));
        post(*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_increase_where_the_clock_is_behind() {
        let clock = Clock::default();
        let day = 86_400_000_000_000;
        *clock.last.lock() = clock.at_next(|now| now) + day;
        let [first, second] = [(); 2].map(|()| clock.at_next(|now| now));
        assert_eq!(second, first + 1);
    }
}
