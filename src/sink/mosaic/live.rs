//! The mosaic for async code: placing, pictures and the solver take too long for a thread of the runtime.
//!
//! There is no queue: who gives patches waits until they are placed. A final picture is made while the next patches are placed.

use super::patch::Patch;
use super::picture::Picture;
use super::settings::Settings;
use super::state::{Job, State, Tally};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// See the module's essay; clones share their state.
#[derive(Clone, Debug)]
pub(crate) struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Locked on blocking threads only: for as long as a picture takes.
    state: Mutex<State>,
    /// A copy for readers, which do not wait for the lock of `state`.
    seen: Mutex<Seen>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    tally: Tally,
    bytes: (usize, usize),
    previous: Option<Arc<Picture>>,
}

impl Live {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State::new(settings)),
            seen: Mutex::default(),
        }))
    }

    /// Places patches, in the order in which they came.
    pub(crate) async fn take(&self, patches: Vec<Patch>) {
        let take = move |state: &mut State| {
            let jobs = patches.into_iter().filter_map(|patch| state.take(patch));
            jobs.collect::<Vec<_>>()
        };
        for job in self.with(take).await.unwrap_or_default() {
            self.solve(job);
        }
    }

    /// The series is over, or nothing has come for a while: its final picture is made.
    pub(crate) async fn end(&self, series: u64) {
        let job = self.with(move |state| state.end(series)).await;
        if let Some(job) = job.flatten() {
            self.solve(job);
        }
    }

    /// The picture of the running series, if it has changed since the last call: to be called at the rate of pictures.
    pub(crate) async fn picture(&self) -> Option<Arc<Picture>> {
        self.with(State::picture).await.flatten()
    }

    /// The final picture of a series that ended when the next one had begun already.
    pub(crate) fn previous(&self) -> Option<Arc<Picture>> {
        self.0.seen.lock().previous.clone()
    }

    /// The counts.
    pub(crate) fn tally(&self) -> Tally {
        self.0.seen.lock().tally
    }

    /// Bytes of the canvas and of the kept patches.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        self.0.seen.lock().bytes
    }

    /// Makes a final picture on a thread of its own.
    fn solve(&self, job: Job) {
        let live = self.clone();
        tokio::spawn(async move {
            let solved = spawn_blocking(move || job.run()).await;
            let solved = solved.inspect_err(|error| {
                tracing::error!(%error, "The solver of the final picture died.");
            });
            live.with(move |state| state.solved(solved.ok())).await;
        });
    }

    /// Runs `task` on a blocking thread; `None` if it died, which is logged.
    async fn with<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Option<T> {
        let shared = Arc::clone(&self.0);
        let result = spawn_blocking(move || {
            let mut state = shared.state.lock();
            let result = task(&mut state);
            *shared.seen.lock() = Seen {
                tally: state.tally(),
                bytes: state.bytes(),
                previous: state.previous().cloned(),
            };
            result
        })
        .await;
        result
            .inspect_err(|error| tracing::error!(%error, "A step of the mosaic died."))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::patch::{FrameKey, Part};
    use super::*;
    use crate::sink::positions::{Grid, Metres, Orientation};

    fn live() -> Live {
        Live::new(Settings::new(
            Grid::new(1e-8, Orientation::default()).unwrap(),
        ))
    }

    fn patches(series: u64, numbers: std::ops::Range<u64>) -> Vec<Patch> {
        let parts = |number: u64| [(number, Part::Phase), (number, Part::Amplitude)];
        let patch = |(number, part): (u64, Part)| Patch {
            frame: FrameKey {
                pv: "pva:image".into(),
                number,
                time: None,
            },
            series,
            series_start: None,
            part,
            position: Metres::of(Some(4e-8 * number as f64), Some(0.0)),
            rows: 8,
            columns: 8,
            values: vec![1.0; 64].into(),
        };
        numbers.flat_map(parts).map(patch).collect()
    }

    /// The next picture; waits for it.
    async fn next(live: &Live) -> Arc<Picture> {
        loop {
            if let Some(picture) = live.picture().await {
                return picture;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_final_picture_comes_while_nothing_waits_for_it() {
        let live = live();
        live.take(patches(1, 0..10)).await;
        let online = next(&live).await;
        assert!(!online.is_final && online.placed == 10);
        live.end(1).await;
        while !next(&live).await.is_final {}
        assert_eq!(live.tally().solved, 1);
    }

    #[tokio::test]
    async fn a_series_is_finished_when_the_next_one_begins() {
        let live = live();
        live.take(patches(1, 0..10)).await;
        live.take(patches(2, 0..3)).await;
        while live.previous().is_none() {
            tokio::task::yield_now().await;
        }
        let (previous, running) = (live.previous().unwrap(), next(&live).await);
        assert_eq!(
            (previous.series, previous.placed, previous.is_final),
            (1, 10, true)
        );
        assert_eq!((running.series, running.placed), (2, 3));
    }

    #[tokio::test]
    async fn many_tasks_may_give_patches_at_once() {
        let live = live();
        let tasks = (0..8).map(|task| {
            let live = live.clone();
            tokio::spawn(async move { live.take(patches(1, 10 * task..10 * task + 10)).await })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(live.tally().placed, 80);
    }
}
