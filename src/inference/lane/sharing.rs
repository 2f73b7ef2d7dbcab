//! Lanes on devices that other models use as well.

use super::{LaneId, Lanes, Member, Work};
use std::future::{Future, pending};
use std::time::Duration;

impl<W: Work> Lanes<W> {
    /// Whether a lane has a batch and waits for its device, which other models use.
    pub(crate) fn wait_for_others(&self) -> bool {
        self.gates().any(Member::waits)
    }

    /// Whether there is a device that computes nothing for other models.
    pub(crate) fn has_idle_device(&self) -> bool {
        let gates = &self.shared.gates;
        gates.is_empty()
            || gates
                .iter()
                .any(|gate| gate.as_ref().is_none_or(Member::is_idle))
    }

    /// Resolves when a device has computed a batch, of any model, that was not done when this was called. Never where no
    /// other model is on the devices.
    pub(crate) fn device_freed(&self) -> impl Future<Output = ()> + Send + '_ {
        let freed = self.gates().map(|gate| {
            let mut freed = Box::pin(gate.freed());
            freed.as_mut().enable();
            freed
        });
        let freed: Vec<_> = freed.collect();
        async move {
            if freed.is_empty() {
                pending::<()>().await;
            }
            futures::future::select_all(freed).await;
        }
    }

    fn gates(&self) -> impl Iterator<Item = &Member> {
        self.shared.gates.iter().flatten()
    }

    /// Whether other models are on the same devices.
    pub(crate) fn has_gates(&self) -> bool {
        self.gates().next().is_some()
    }

    /// A run has taken so long that it may hang: batches of other models no longer wait for its place on the device.
    pub(crate) fn give_way(&self, lane: LaneId, taken: Duration) {
        self.shared.leave(lane, Some(taken));
    }
}
