//! The newest frame, and its results in a map vertex, for the status page.
//!
//! A frame is copied only if the page was requested since the last copy, at most twice a second. Its pictures are drawn once,
//! at the first request. The previous frame is kept too, because a page that shows it may still request its pictures. If
//! pictures are turned off, nothing is copied or drawn.

use parking_lot::Mutex;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// A frame younger than this is not replaced.
const NEW_ENOUGH: Duration = Duration::from_millis(500);

/// An image of a frame, or of a result.
#[derive(Debug)]
pub struct Image {
    /// The name of the model's input or output.
    pub(crate) name: String,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// `height` × `width` values, row by row.
    pub(crate) values: Vec<f32>,
    range: OnceLock<Option<(f32, f32)>>,
    drawn: OnceLock<Option<Vec<u8>>>,
}

impl Image {
    /// An image that is not drawn yet.
    #[must_use]
    pub fn new(name: String, (height, width, values): (usize, usize, Vec<f32>)) -> Self {
        Self {
            name,
            height,
            width,
            values,
            range: OnceLock::new(),
            drawn: OnceLock::new(),
        }
    }

    /// The smallest and the largest finite value, computed once.
    fn range(&self) -> Option<(f32, f32)> {
        *self.range.get_or_init(|| {
            let finite = self.values.iter().copied().filter(|v| v.is_finite());
            finite.fold(None, |range, value| {
                let (low, high): (f32, f32) = range.unwrap_or((value, value));
                Some((low.min(value), high.max(value)))
            })
        })
    }

    /// The image as `draw` makes it. It is drawn once; `None` if it cannot be drawn.
    pub(crate) fn drawn(&self, draw: impl FnOnce(&Self) -> Option<Vec<u8>>) -> Option<&[u8]> {
        self.drawn.get_or_init(|| draw(self)).as_deref()
    }
}

/// A frame with its results.
#[derive(Debug)]
pub(crate) struct NewestFrame {
    /// Its number, if it has one.
    pub(crate) number: Option<u64>,
    /// The frame, then its results if there are any.
    pub(crate) images: Vec<Image>,
    sequence: u64,
    at: Instant,
}

/// The description of the newest frame in `/stats`.
#[derive(Debug, Serialize)]
pub(crate) struct Caption {
    /// Unique for each frame. The path of the pictures is `/newest/SEQUENCE/INDEX.png`.
    sequence: u64,
    number: Option<u64>,
    age_seconds: f64,
    images: Vec<ImageCaption>,
}

#[derive(Debug, Serialize)]
struct ImageCaption {
    name: String,
    height: usize,
    width: usize,
    /// The smallest and the largest finite value.
    range: Option<(f32, f32)>,
}

/// Keeps the newest frame. See the module's essay.
#[derive(Debug, Default)]
pub struct Newest {
    off: bool,
    wanted: AtomicBool,
    kept: Mutex<Kept>,
}

/// The newest frame and the one before.
#[derive(Debug, Default)]
struct Kept {
    newest: Option<Arc<NewestFrame>>,
    before: Option<Arc<NewestFrame>>,
}

impl Newest {
    /// Keeps frames on request, unless it is `off`.
    #[must_use]
    pub fn new(off: bool) -> Self {
        Self {
            off,
            ..Self::default()
        }
    }

    /// Keeps a frame if one was requested. `images` makes the copies.
    pub fn offer(&self, number: Option<u64>, images: impl FnOnce() -> Vec<Image>) {
        if !self.wanted.swap(false, Ordering::Relaxed) {
            return;
        }
        let images = images();
        let mut kept = self.kept.lock();
        let before = kept.newest.take();
        let sequence = before.as_ref().map_or(1, |frame| frame.sequence + 1);
        kept.before = before;
        kept.newest = Some(Arc::new(NewestFrame {
            number,
            images,
            sequence,
            at: Instant::now(),
        }));
    }

    /// Describes the newest frame and requests a newer one. `None` if there is no frame yet, or if it is off.
    #[must_use]
    pub(crate) fn look(&self) -> Option<Caption> {
        if self.off {
            return None;
        }
        let newest = self.kept.lock().newest.clone();
        if newest
            .as_ref()
            .is_none_or(|frame| frame.at.elapsed() >= NEW_ENOUGH)
        {
            self.wanted.store(true, Ordering::Relaxed);
        }
        let frame = newest?;
        let caption = |image: &Image| ImageCaption {
            name: image.name.clone(),
            height: image.height,
            width: image.width,
            range: image.range(),
        };
        Some(Caption {
            sequence: frame.sequence,
            number: frame.number,
            age_seconds: frame.at.elapsed().as_secs_f64(),
            images: frame.images.iter().map(caption).collect(),
        })
    }

    /// The frame of that sequence number, if it is the newest or the one before.
    #[must_use]
    pub(crate) fn get(&self, sequence: u64) -> Option<Arc<NewestFrame>> {
        let kept = self.kept.lock();
        let both = [&kept.newest, &kept.before].into_iter().flatten();
        both.into_iter()
            .find(|frame| frame.sequence == sequence)
            .map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<Image> {
        vec![Image::new("frame".to_owned(), (1, 2, vec![0.0, 9.0]))]
    }

    #[test]
    fn nothing_is_copied_unless_somebody_looked_and_then_one_frame() {
        let newest = Newest::new(false);
        newest.offer(Some(1), || unreachable!("nobody looked"));
        assert!(newest.look().is_none());
        newest.offer(Some(2), images);
        newest.offer(Some(3), || unreachable!("one is enough"));
        let caption = newest.look().unwrap();
        assert_eq!((caption.number, caption.sequence), (Some(2), 1));
        assert_eq!(caption.images[0].range, Some((0.0, 9.0)));
        // It is too new for another to be wanted.
        newest.offer(Some(4), || unreachable!("there is a new one"));
        let frame = newest.get(1).unwrap();
        let drawn = frame.images[0].drawn(|_| Some(vec![1]));
        assert_eq!(drawn, Some(&[1][..]));
        assert_eq!(frame.images[0].drawn(|_| unreachable!("once")), drawn);
    }

    #[test]
    fn a_frame_is_still_shown_after_a_newer_one_came() {
        let newest = Newest::new(false);
        for number in 1..=3 {
            newest.wanted.store(true, Ordering::Relaxed);
            newest.offer(Some(number), images);
        }
        let number = |sequence| newest.get(sequence).and_then(|frame| frame.number);
        assert_eq!([1, 2, 3].map(number), [None, Some(2), Some(3)]);
    }

    #[test]
    fn turned_off_nothing_is_copied() {
        let newest = Newest::new(true);
        assert!(newest.look().is_none());
        newest.offer(None, || unreachable!("it is off"));
        assert!(newest.get(1).is_none());
    }
}
