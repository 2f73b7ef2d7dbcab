//! Phase and amplitude of a frame, brought together by the frame's identity.
//!
//! A half waits until the other comes, or until `Limits::frames` frames after it have begun to wait, or their bytes exceed the
//! limit; then it goes on alone. So memory is bounded whatever never comes.

use super::patch::{FrameKey, Part, Patch};
use crate::sink::positions::Metres;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Frames of which one half has come, at most.
    pub(crate) frames: usize,
    /// Bytes of these halves, at most.
    pub(crate) bytes: usize,
}

/// Halves of 1,024 frames of 64 × 64 pixels are 16 MiB.
impl Default for Limits {
    fn default() -> Self {
        Self {
            frames: 1024,
            bytes: 64 << 20,
        }
    }
}

/// What has come of a frame: at least one of both.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) frame: FrameKey,
    pub(super) phase: Option<Arc<[f32]>>,
    pub(super) amplitude: Option<Arc<[f32]>>,
    pub(super) shape: (usize, usize),
    pub(super) position: Option<Metres>,
}

impl Parts {
    fn of(patch: Patch) -> Self {
        let (phase, amplitude) = match patch.part {
            Part::Phase => (Some(patch.values), None),
            Part::Amplitude => (None, Some(patch.values)),
        };
        Self {
            frame: patch.frame,
            phase,
            amplitude,
            shape: (patch.rows, patch.columns),
            position: patch.position,
        }
    }

    fn bytes(&self) -> usize {
        let parts = [&self.phase, &self.amplitude].into_iter().flatten();
        parts.map(|values| size_of_val(&**values)).sum()
    }
}

/// The outcome of a half.
#[derive(Debug)]
pub(super) enum Offered {
    /// The frame is complete.
    Complete(Parts),
    /// It waits.
    Waiting,
    /// This half of the frame waits already.
    Repeated,
    /// The other half, which goes on waiting, has another shape.
    Mismatched,
}

/// See the module's essay.
#[derive(Debug)]
pub(super) struct Pairs {
    limits: Limits,
    waiting: HashMap<FrameKey, Parts>,
    /// Frames that have begun to wait, the oldest first; some of them are complete by now.
    order: VecDeque<FrameKey>,
    bytes: usize,
}

impl Pairs {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    /// A half for which there is no other.
    pub(super) fn alone(patch: Patch) -> Offered {
        Offered::Complete(Parts::of(patch))
    }

    /// Takes a half.
    pub(super) fn offer(&mut self, patch: Patch) -> Offered {
        let Some(mut other) = self.waiting.remove(&patch.frame) else {
            let half = Parts::of(patch);
            self.bytes += half.bytes();
            self.order.push_back(half.frame.clone());
            self.waiting.insert(half.frame.clone(), half);
            return Offered::Waiting;
        };
        let half = match patch.part {
            Part::Phase => &mut other.phase,
            Part::Amplitude => &mut other.amplitude,
        };
        let refused = if half.is_some() {
            Some(Offered::Repeated)
        } else {
            let same = other.shape == (patch.rows, patch.columns);
            (!same).then_some(Offered::Mismatched)
        };
        if let Some(refused) = refused {
            self.waiting.insert(other.frame.clone(), other);
            return refused;
        }
        self.bytes -= other.bytes();
        match patch.part {
            Part::Phase => other.phase = Some(patch.values),
            Part::Amplitude => other.amplitude = Some(patch.values),
        }
        other.position = other.position.or(patch.position);
        Offered::Complete(other)
    }

    /// The oldest half that has waited long enough.
    pub(super) fn overdue(&mut self) -> Option<Parts> {
        while self.order.len() > self.limits.frames || self.bytes > self.limits.bytes {
            if let Some(half) = self.oldest() {
                return Some(half);
            }
        }
        None
    }

    /// Any half that waits: at the end of a series.
    pub(super) fn left(&mut self) -> Option<Parts> {
        while !self.order.is_empty() {
            if let Some(half) = self.oldest() {
                return Some(half);
            }
        }
        None
    }

    /// The next in order, unless it is complete by now.
    fn oldest(&mut self) -> Option<Parts> {
        let half = self.waiting.remove(&self.order.pop_front()?)?;
        self.bytes -= half.bytes();
        Some(half)
    }

    /// Halves that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
