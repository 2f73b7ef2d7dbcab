//! The newest frame beside its results, for the status page.
//!
//! Always: nothing is copied unless somebody has looked since the last time, and then one frame; drawing is done
//! once a frame, for whoever asks first. Turned off, nothing is copied or drawn at all.

use crate::picture::{Brightness, PictureError, Plain};
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// An image of a frame, or of a result.
#[derive(Debug)]
pub struct Image {
    /// The name of the model's input or output.
    pub name: String,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height` × `width` values, row by row.
    pub values: Vec<f32>,
    png: OnceLock<Option<Vec<u8>>>,
}

impl Image {
    /// An image that nobody has drawn yet.
    #[must_use]
    pub fn new(name: String, (height, width, values): (usize, usize, Vec<f32>)) -> Self {
        Self {
            name,
            height,
            width,
            values,
            png: OnceLock::new(),
        }
    }

    fn plain(&self, brightness: Brightness) -> Plain<'_> {
        Plain {
            height: self.height,
            width: self.width,
            values: &self.values,
            brightness,
        }
    }
}

/// A frame with its results.
#[derive(Debug)]
pub struct NewestFrame {
    /// Its number, if it has one.
    pub number: Option<u64>,
    /// The frame, then its results.
    pub images: Vec<Image>,
    sequence: u64,
    at: Instant,
}

/// What is told of the newest frame.
#[derive(Debug, Serialize)]
pub struct Caption {
    /// Differs from frame to frame: the path of the pictures is `/newest/SEQUENCE/INDEX.png`.
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
    kept: Mutex<Option<Arc<NewestFrame>>>,
}

impl Newest {
    /// Keeps frames when somebody looks, unless it is `off`.
    #[must_use]
    pub fn new(off: bool) -> Self {
        Self {
            off,
            ..Self::default()
        }
    }

    /// Keeps a frame if somebody waits for one; `images` makes copies.
    pub fn offer(&self, number: Option<u64>, images: impl FnOnce() -> Vec<Image>) {
        if !self.wanted.swap(false, Ordering::Relaxed) {
            return;
        }
        let images = images();
        let mut kept = self.kept.lock();
        let sequence = kept.as_ref().map_or(1, |frame| frame.sequence + 1);
        *kept = Some(Arc::new(NewestFrame {
            number,
            images,
            sequence,
            at: Instant::now(),
        }));
    }

    /// What there is to see; from now on a newer frame is wanted. None if there is nothing yet, or if it is off.
    #[must_use]
    pub fn look(&self) -> Option<Caption> {
        if self.off {
            return None;
        }
        self.wanted.store(true, Ordering::Relaxed);
        let frame = self.kept.lock().clone()?;
        let caption = |image: &Image| ImageCaption {
            name: image.name.clone(),
            height: image.height,
            width: image.width,
            range: image.plain(Brightness::Linear).range(),
        };
        Some(Caption {
            sequence: frame.sequence,
            number: frame.number,
            age_seconds: frame.at.elapsed().as_secs_f64(),
            images: frame.images.iter().map(caption).collect(),
        })
    }

    /// The frame of that sequence number, if it is still the newest.
    #[must_use]
    pub fn get(&self, sequence: u64) -> Option<Arc<NewestFrame>> {
        let kept = self.kept.lock();
        kept.clone().filter(|frame| frame.sequence == sequence)
    }
}

impl NewestFrame {
    /// An image as PNG: the frame (index 0) by the logarithm of its counts, results evenly. None where there is no such image,
    /// or nothing in it to draw. Takes milliseconds the first time.
    #[must_use]
    pub fn png(&self, index: usize) -> Option<&[u8]> {
        let image = self.images.get(index)?;
        let brightness = if index == 0 {
            Brightness::Logarithmic
        } else {
            Brightness::Linear
        };
        let draw = || match image.plain(brightness).png() {
            Ok(png) => Some(png),
            Err(PictureError::Nothing(_)) => None,
            Err(error) => {
                tracing::warn!(image = image.name, %error, "A picture could not be drawn.");
                None
            }
        };
        image.png.get_or_init(draw).as_deref()
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
        newest.offer(Some(4), images);
        assert!(newest.get(1).is_none(), "it is not the newest any more");
        let frame = newest.get(2).unwrap();
        assert!(frame.png(0).unwrap().starts_with(b"\x89PNG"));
        assert!(frame.png(1).is_none());
    }

    #[test]
    fn turned_off_nothing_is_copied_whoever_looks() {
        let newest = Newest::new(true);
        assert!(newest.look().is_none());
        newest.offer(None, || unreachable!("it is off"));
        assert!(newest.get(1).is_none());
    }
}
