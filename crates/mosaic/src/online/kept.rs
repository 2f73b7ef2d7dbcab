//! The patches that are kept, to be placed anew and for the final picture.
//!
//! Bounded in number and bytes: if there are more, every second one goes, and of those that come later every second, fourth,
//! eighth … is kept. What went stays in the picture as it was placed.

use super::patch::OnlinePatch;

/// How many patches are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptLimits {
    /// Patches, at most.
    pub patches: usize,
    /// Bytes of their pixels, at most.
    pub bytes: usize,
}

/// 10,000 patches of 64 × 64 pixels, phase and amplitude, fit.
impl Default for KeptLimits {
    fn default() -> Self {
        Self {
            patches: 10_000,
            bytes: 384 << 20,
        }
    }
}

/// See the module's essay.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    limits: KeptLimits,
    patches: Vec<OnlinePatch>,
    bytes: usize,
    /// One of so many is kept.
    every: usize,
    /// Patches until the next one is kept.
    skipping: usize,
}

impl Kept {
    pub(super) fn new(limits: KeptLimits) -> Self {
        Self {
            limits,
            patches: Vec::new(),
            bytes: 0,
            every: 1,
            skipping: 0,
        }
    }

    /// Keeps the patch if its turn has come.
    pub(super) fn offer(&mut self, patch: OnlinePatch) {
        if self.skipping > 0 {
            self.skipping -= 1;
            return;
        }
        self.bytes += patch.bytes();
        self.patches.push(patch);
        while self.patches.len() > self.limits.patches || self.bytes > self.limits.bytes {
            if self.patches.len() < 2 {
                self.patches.clear();
                self.bytes = 0;
                break;
            }
            let mut index = 0;
            self.patches.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.bytes = self.patches.iter().map(OnlinePatch::bytes).sum();
            self.every = self.every.saturating_mul(2);
        }
        self.skipping = self.every - 1;
    }

    pub(super) fn patches(&self) -> &[OnlinePatch] {
        &self.patches
    }

    /// One of so many is kept.
    pub(super) fn every(&self) -> usize {
        self.every
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::Corner;
    use super::*;

    fn offered(limits: KeptLimits, patches: i64) -> Kept {
        let mut kept = Kept::new(limits);
        for x in 0..patches {
            kept.offer(OnlinePatch {
                corner: Corner { x, y: 0 },
                phase: vec![0.0; 4].into(),
                amplitude: Some(vec![0.0; 4].into()),
            });
            assert!(kept.patches.len() <= limits.patches && kept.bytes <= limits.bytes);
        }
        kept
    }

    #[test]
    fn patches_beyond_the_limit_are_thinned_evenly() {
        let limits = KeptLimits {
            patches: 8,
            bytes: 1 << 20,
        };
        let keys = |kept: &Kept| kept.patches.iter().map(|p| p.corner.x).collect::<Vec<_>>();
        assert_eq!(keys(&offered(limits, 8)), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(keys(&offered(limits, 9)), [0, 2, 4, 6, 8]);
        let kept = offered(limits, 30);
        assert_eq!(keys(&kept), [0, 4, 8, 12, 16, 20, 24, 28]);
        assert_eq!(kept.every(), 4);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let limits = KeptLimits {
            patches: 1000,
            bytes: 5 * 32,
        };
        let kept = offered(limits, 100);
        assert!(kept.bytes() > 0 && kept.bytes() == 32 * kept.patches.len());
        let nothing = KeptLimits {
            patches: 0,
            bytes: 0,
        };
        assert!(offered(nothing, 10).patches.is_empty());
    }
}
