//! The live mosaic as two PVs and for the status page: patches in, pictures out.
//!
//! Pictures are posted at a rate, and only if something has changed. When no patch has come for a while, or the next series
//! begins, the final picture is made and posted in place of the one made while the scan ran. A picture for the page is drawn
//! only if a page was open since the last one.
//!
//! The mosaic is that of one detector: the PV whose patch came first. Patches of other PVs are counted. So are those that another
//! model gave of the same frame: what came first is placed.

use super::image;
use super::settings::{MosaicSettings, Settings};
use crate::mosaic::online::Corner;
use crate::pva::{ImagePv, Server, ServerError};
use crate::sink::mosaic::{Draft, Drawn, Live, Part, Patch, Picture, Tally};
use crate::sink::positions::Metres;
use crate::sink::result::Received;
use crate::sink::series::Place;
use crate::telemetry::rate::RateLimit;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Scan points that the page shows, at most: the newest.
const POINTS: usize = 20_000;

/// The PVs, and what is behind them; clones share it.
#[derive(Clone)]
pub(crate) struct MosaicPvs(Arc<Shared>);

struct Shared {
    settings: MosaicSettings,
    keep_nan: bool,
    live: Live,
    /// With their names. Without an amplitude there is one.
    pvs: Vec<(Part, String, ImagePv)>,
    state: Mutex<State>,
}

struct State {
    /// The detector whose mosaic it is.
    pv: Option<Arc<str>>,
    other_pvs: u64,
    other_models: u64,
    series: u64,
    /// The smallest number of the series so far.
    first: u64,
    /// When the last patch came; `None` after the final picture was begun.
    last: Option<Instant>,
    newest: Option<u64>,
    /// Where the frames of the series were taken.
    points: VecDeque<Corner>,
    pictures: u64,
    /// The series whose final picture was posted last.
    posted_final: Option<u64>,
    /// For the page, and its number.
    picture: Option<Arc<Picture>>,
    sequence: u64,
    /// A page was open since the last drawing.
    wanted: bool,
    drawn: Option<Arc<Drawn>>,
    /// The one before: a page may still be about to request it.
    before: Option<Arc<Drawn>>,
    lines: RateLimit,
    output_lines: RateLimit,
}

/// What there is to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) pvs: Vec<String>,
    pub(crate) tally: Tally,
    /// Patches of other detectors.
    pub(crate) other_pvs: u64,
    /// Patches of which another model's had come.
    pub(crate) other_models: u64,
    pub(crate) pictures: u64,
    /// Of the canvas, and of the kept patches.
    pub(crate) bytes: (usize, usize),
    /// The number of the frame whose patch came last.
    pub(crate) newest: Option<u64>,
    pub(crate) drawn: Option<Arc<Drawn>>,
}

impl MosaicPvs {
    /// Serves the two PVs; they are idle until the first picture.
    ///
    /// # Errors
    /// A name that is taken.
    pub(crate) fn new(
        server: &Server,
        settings: &Settings,
        mosaic: MosaicSettings,
    ) -> Result<Self, ServerError> {
        let parts = [
            (Part::Phase, Some("mosaic_phase")),
            (
                Part::Amplitude,
                mosaic.recipe.amplitude.as_ref().map(|_| "mosaic_amplitude"),
            ),
        ];
        let pv = |(part, output): (Part, Option<&str>)| {
            let name = settings.pv(output?);
            Some(server.image(&name).map(|pv| (part, name, pv)))
        };
        let pvs: Vec<_> = parts.into_iter().filter_map(pv).collect::<Result<_, _>>()?;
        let ten_seconds = Duration::from_secs(10);
        Ok(Self(Arc::new(Shared {
            keep_nan: settings.keep_nan,
            live: Live::new(mosaic.recipe.canvas.clone()),
            pvs,
            settings: mosaic,
            state: Mutex::new(State {
                pv: None,
                other_pvs: 0,
                other_models: 0,
                series: 0,
                first: 0,
                last: None,
                newest: None,
                points: VecDeque::new(),
                pictures: 0,
                posted_final: None,
                picture: None,
                sequence: 0,
                wanted: false,
                drawn: None,
                before: None,
                lines: RateLimit::new(1, ten_seconds),
                output_lines: RateLimit::new(1, ten_seconds),
            }),
        })))
    }

    /// The patch in a result that came at `now`; `None` if it is of another output or another detector.
    pub(crate) fn patch(&self, received: &Received, place: &Place, now: Instant) -> Option<Patch> {
        let recipe = &self.0.settings.recipe;
        let identity = &received.identity;
        let Some(part) = recipe.part(&identity.output) else {
            self.0.state.lock().note_other(&identity.output, now);
            return None;
        };
        let headers = Metres::of(received.position_x, received.position_y);
        let position = recipe.positions.of(headers, identity.number, place.first);
        let mut state = self.0.state.lock();
        if !state.is_of(&identity.pv, now) {
            return None;
        }
        if place.series > state.series {
            state.series = place.series;
            state.points.clear();
            state.first = place.first;
        }
        if place.series == state.series {
            state.note_first(place.first, recipe.positions.depend_on_first(), now);
            state.last = Some(now);
            state.newest = Some(identity.number);
            if let Some(position) = position.filter(|_| part == Part::Phase) {
                state
                    .points
                    .push_back(recipe.canvas.grid.pixel(position).at);
                if state.points.len() > POINTS {
                    state.points.pop_front();
                }
            }
        }
        Some(Patch::of(received, place.series, part, position))
    }

    /// A result is not placed: that of another model, of the same output and frame, came before. Returns no patch.
    pub(crate) fn leave_out(&self, received: &Received) -> Option<Patch> {
        let has_part = self
            .0
            .settings
            .recipe
            .part(&received.identity.output)
            .is_some();
        self.0.state.lock().other_models += u64::from(has_part);
        None
    }

    /// Places patches.
    pub(crate) async fn take(&self, patches: Vec<Patch>) {
        if !patches.is_empty() {
            self.0.live.take(patches).await;
        }
    }

    /// Posts pictures until the process ends, and then the last one.
    pub(crate) async fn post(&self, ended: CancellationToken) {
        let mut ticks = interval(self.0.settings.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                _ = ticks.tick() => {}
            }
            if let Some(series) = self.0.paused() {
                self.0.live.end(series).await;
            }
            self.step().await;
        }
        self.step().await;
    }

    /// Posts the picture if it has changed, and draws it if a page is open.
    async fn step(&self) {
        // The final picture of the series before may come after the next series has begun.
        let earlier = self.0.live.previous().filter(|one| self.0.is_new(one));
        for picture in earlier.into_iter().chain(self.0.live.picture().await) {
            let shared = Arc::clone(&self.0);
            log_death(spawn_blocking(move || shared.publish(picture)).await);
        }
        if let Some(draft) = self.0.to_draw() {
            let drawn = spawn_blocking(move || draft.draw()).await;
            if let Some(drawn) = log_death(drawn) {
                let state = &mut *self.0.state.lock();
                state.before = state.drawn.replace(Arc::new(drawn));
            }
        }
    }

    /// What there is to see. A newer picture is drawn for the next call.
    pub(crate) fn look(&self) -> View {
        let mut state = self.0.state.lock();
        state.wanted = true;
        View {
            drawn: state.drawn.clone(),
            ..self.0.view(&state)
        }
    }

    /// The same without a picture.
    pub(crate) fn view(&self) -> View {
        self.0.view(&self.0.state.lock())
    }

    /// The picture of that number, if it is the newest or the one before; without a number the newest.
    pub(crate) fn drawn(&self, sequence: Option<u64>) -> Option<Arc<Drawn>> {
        let state = self.0.state.lock();
        let mut both = state.drawn.iter().chain(&state.before);
        both.find(|drawn| sequence.is_none_or(|sequence| drawn.sequence == sequence))
            .map(Arc::clone)
    }
}

impl State {
    /// Says that an output has no part in the mosaic, as long as no other has: the flags may name the wrong ones.
    fn note_other(&mut self, output: &str, now: Instant) {
        if self.pv.is_none()
            && let Some(more) = self.output_lines.pass(now)
        {
            tracing::warn!(
                output,
                more,
                "A result has no part in the mosaic, which is empty: name the outputs of the model with --phase-output and \
                 --amplitude-output."
            );
        }
    }

    /// Says that patches were placed by wrong rows of the file of positions, because the first frame of the scan came after them.
    fn note_first(&mut self, first: u64, matters: bool, now: Instant) {
        let assumed = std::mem::replace(&mut self.first, first);
        if matters
            && first < assumed
            && let Some(more) = self.lines.pass(now)
        {
            tracing::warn!(
                first,
                assumed,
                more,
                "A frame came with a smaller number than those before it: the patches placed so far have the positions of other \
                 frames. Set --position-offset to the number of the scan's first frame."
            );
        }
    }

    /// Whether the mosaic is of this detector.
    fn is_of(&mut self, pv: &Arc<str>, now: Instant) -> bool {
        let own = self.pv.get_or_insert_with(|| Arc::clone(pv));
        if own == pv {
            return true;
        }
        self.other_pvs += 1;
        if let Some(more) = self.lines.pass(now) {
            tracing::warn!(
                pv = &**pv,
                mosaic_of = &**own,
                more,
                "A result is of another detector than the mosaic: it is not placed. Run a pva-sink for each detector."
            );
        }
        false
    }
}

impl Shared {
    fn view(&self, state: &State) -> View {
        View {
            pvs: self.pvs.iter().map(|(_, name, _)| name.clone()).collect(),
            tally: self.live.tally(),
            other_pvs: state.other_pvs,
            other_models: state.other_models,
            pictures: state.pictures,
            bytes: self.live.bytes(),
            newest: state.newest,
            drawn: None,
        }
    }

    /// The series that has paused, once.
    fn paused(&self) -> Option<u64> {
        let mut state = self.state.lock();
        state
            .last
            .take_if(|last| last.elapsed() >= self.settings.idle)?;
        Some(state.series)
    }

    /// The picture to draw next: one that a page has requested and that is not drawn yet.
    fn to_draw(&self) -> Option<Draft> {
        let mut state = self.state.lock();
        let picture = Arc::clone(state.picture.as_ref()?);
        let sequence = state.sequence;
        let is_drawn = |drawn: &Arc<Drawn>| drawn.sequence == sequence;
        if !state.wanted || state.drawn.as_ref().is_some_and(is_drawn) {
            return None;
        }
        state.wanted = false;
        let points = state.points.iter().copied().collect();
        Some(Draft {
            sequence,
            picture,
            points,
        })
    }

    /// Whether the final picture of an earlier series was not posted before.
    fn is_new(&self, earlier: &Picture) -> bool {
        self.state.lock().posted_final < Some(earlier.series)
    }

    fn publish(&self, picture: Arc<Picture>) {
        let sequence = {
            let mut state = self.state.lock();
            state.pictures += 1;
            if picture.is_final {
                state.posted_final = state.posted_final.max(Some(picture.series));
            }
            // The page shows the series that runs.
            if picture.series >= state.picture.as_ref().map_or(0, |shown| shown.series) {
                state.picture = Some(Arc::clone(&picture));
                state.sequence = state.pictures;
            }
            state.pictures
        };
        for (part, name, pv) in &self.pvs {
            let image = image::picture(&picture, *part, sequence, self.keep_nan);
            if let Err(error) = pv.post(&image)
                && let Some(more) = self.state.lock().lines.pass(Instant::now())
            {
                tracing::warn!(pv = name, more, %error, "A picture cannot be posted.");
            }
        }
        if picture.is_final {
            tracing::info!(
                series = picture.series,
                placed = picture.placed,
                missing = picture.missing,
                unpositioned = picture.unpositioned,
                outside = picture.outside,
                rows = picture.phase.nrows(),
                columns = picture.phase.ncols(),
                "The final picture of the series is posted."
            );
        }
    }
}

fn log_death<T>(task: Result<T, tokio::task::JoinError>) -> Option<T> {
    task.inspect_err(|error| tracing::error!(%error, "A step of the mosaic's pictures died."))
        .ok()
}
