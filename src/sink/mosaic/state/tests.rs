//! Tests of the mosaic of the running series.

use super::super::pairs::Limits;
use super::super::patch::Part;
use super::super::settings::WeightsFile;
use super::*;
use crate::mosaic::online::{KeptLimits, Settings as Canvas};
use crate::sink::positions::{Grid, Metres, Orientation};
use ndarray::Array2;
use proptest::prelude::*;

const SIDE: usize = 16;
const PIXEL: f64 = 8e-9;

fn settings() -> Settings {
    Settings::new(Grid::new(PIXEL, Orientation::default()).unwrap())
}

/// One half of frame `number`, of a phase that rises by 0.01 a pixel across the scan and has a constant of its own.
fn patch(series: u64, number: u64, part: Part) -> Patch {
    let (row, column) = (number / 8, number % 8);
    let value = |index: usize| match part {
        Part::Amplitude => 1.0,
        Part::Phase => {
            let across = column as f32 * 4.0 + (index % SIDE) as f32;
            0.01 * across + (number as f32).sin()
        }
    };
    Patch {
        frame: FrameKey {
            pv: "pva:image".into(),
            number: number + 100,
            time: Some(1_790_000_000_000_000_000 + number as i64),
        },
        series,
        series_start: Some(series as i64 * 1000),
        part,
        position: Some(Metres {
            x: column as f64 * 4.0 * PIXEL,
            y: row as f64 * 4.0 * PIXEL,
        }),
        rows: SIDE,
        columns: SIDE,
        values: (0..SIDE * SIDE).map(value).collect(),
    }
}

fn both(state: &mut State, series: u64, number: u64) -> Option<Job> {
    let job = state.take(patch(series, number, Part::Phase));
    assert!(state.take(patch(series, number, Part::Amplitude)).is_none());
    job
}

/// Pictures until nothing changes; the last one.
fn settled(state: &mut State) -> Arc<Picture> {
    std::iter::from_fn(|| state.picture()).last().unwrap()
}

/// Whether the phase rises by 0.01 a pixel everywhere.
fn is_right(picture: &Picture) -> bool {
    let steps = picture.phase.rows().into_iter().flat_map(|row| {
        let steps = row.windows(2).into_iter().map(|pair| pair[1] - pair[0]);
        steps.collect::<Vec<_>>()
    });
    let mut finite = steps.filter(|step| step.is_finite()).peekable();
    finite.peek().is_some() && finite.all(|step| (step - 0.01).abs() < 1e-4)
}

#[test]
fn halves_are_paired_by_their_frame_whatever_comes_first() {
    let mut state = State::new(settings());
    for number in 0..40 {
        state.take(patch(1, number, Part::Phase));
    }
    assert_eq!(state.tally().placed, 0);
    assert!(state.picture().is_none(), "nothing was placed");
    for number in (0..40).rev() {
        state.take(patch(1, number, Part::Amplitude));
    }
    let tally = state.tally();
    assert_eq!((tally.placed, tally.unlevelled, tally.patches), (40, 0, 80));
    let picture = settled(&mut state);
    assert!(is_right(&picture));
    assert_eq!(
        (picture.placed, picture.missing, picture.series_start),
        (40, 0, Some(1000))
    );
    assert!(
        picture
            .amplitude
            .iter()
            .all(|a| a.is_nan() || (a - 1.0).abs() < 1e-5)
    );
    assert!(!picture.is_final && picture.largest_rounding < 1e-6);
    assert!(state.picture().is_none(), "nothing has changed since");
}

#[test]
fn a_patch_lies_where_its_position_says() {
    let orientations = [("+y+x", (28, 16)), ("-y+x", (28, 16)), ("+x-y", (16, 28))];
    for (text, (columns, rows)) in orientations {
        let grid = Grid::new(PIXEL, text.parse().unwrap()).unwrap();
        let mut state = State::new(Settings {
            amplitude: false,
            ..Settings::new(grid)
        });
        for number in 0..4 {
            state.take(patch(1, number, Part::Phase));
        }
        let picture = settled(&mut state);
        // Pixels at the corners of a patch have no weight.
        let (r, c) = picture.phase.dim();
        assert!(
            r <= rows && c <= columns && r + 2 >= rows && c + 2 >= columns,
            "{text} {r} {c}"
        );
        assert_eq!(picture.pixel_size, PIXEL);
    }
    let mut state = State::new(Settings {
        amplitude: false,
        ..settings()
    });
    state.take(patch(1, 0, Part::Phase));
    let (x, y) = settled(&mut state).origin;
    // The position is the middle of the patch.
    assert!(
        (x / PIXEL + 8.0).abs() < 1e-6 && (y / PIXEL + 8.0).abs() < 1e-6,
        "{x} {y}"
    );
}

#[test]
fn a_half_whose_other_never_comes_is_placed_alone_and_counted() {
    let pairs = Limits {
        frames: 5,
        ..Limits::default()
    };
    let mut state = State::new(Settings {
        pairs,
        ..settings()
    });
    for number in 0..20 {
        state.take(patch(1, number, Part::Phase));
    }
    let tally = state.tally();
    assert_eq!((tally.placed, tally.unlevelled), (15, 15));
    assert!(
        state.end(1).is_some(),
        "the end of the series places the rest"
    );
    assert_eq!((state.tally().placed, state.tally().unlevelled), (20, 20));
    for number in 20..30 {
        state.take(patch(1, number, Part::Amplitude));
    }
    assert_eq!(state.tally().without_phase, 5);

    let bytes = Limits {
        frames: 1000,
        bytes: 4 * SIDE * SIDE * 4,
    };
    let mut state = State::new(Settings {
        pairs: bytes,
        ..settings()
    });
    for number in 0..20 {
        state.take(patch(1, number, Part::Phase));
    }
    assert_eq!(state.tally().placed, 16, "bytes are bounded too");
}

#[test]
fn without_an_amplitude_nothing_waits() {
    let mut state = State::new(Settings {
        amplitude: false,
        ..settings()
    });
    for number in 0..20 {
        state.take(patch(1, number, Part::Phase));
        assert_eq!(state.tally().placed, number + 1);
    }
    assert_eq!(state.tally().unlevelled, 0);
    assert!(is_right(&settled(&mut state)));
}

#[test]
fn what_comes_again_changes_nothing() {
    let mut state = State::new(settings());
    for number in 0..20 {
        both(&mut state, 1, number);
        state.take(patch(1, number, Part::Phase));
        state.take(patch(1, number, Part::Phase));
    }
    let before = settled(&mut state);
    assert!(state.end(1).is_some());
    assert_eq!((state.tally().placed, state.tally().repeated), (20, 40));
    assert_eq!(before.placed, 20);
    assert!(state.picture().is_none(), "the picture has not changed");
}

#[test]
fn frames_that_cannot_be_placed_are_counted_by_reason() {
    let canvas = Canvas {
        side: 32,
        ..Canvas::default()
    };
    let mut state = State::new(Settings {
        canvas,
        amplitude: false,
        ..settings()
    });
    for number in 0..3 {
        state.take(patch(1, number, Part::Phase));
    }
    let mut unpositioned = patch(1, 5, Part::Phase);
    unpositioned.position = None;
    let mut far = patch(1, 6, Part::Phase);
    far.position = Some(Metres { x: 1e300, y: 0.0 });
    let mut small = patch(1, 7, Part::Phase);
    (small.rows, small.values) = (1, vec![0.0; SIDE].into());
    let mut nothing = patch(1, 8, Part::Phase);
    nothing.values = vec![f32::NAN; SIDE * SIDE].into();
    for patch in [unpositioned, far, small, nothing] {
        state.take(patch);
    }
    let tally = state.tally();
    assert_eq!(
        (
            tally.placed,
            tally.unpositioned,
            tally.outside,
            tally.unusable
        ),
        (3, 1, 1, 2)
    );
    let picture = settled(&mut state);
    // Of the numbers 0 to 8, 3 and 4 have not come.
    assert_eq!(
        (picture.missing, picture.unpositioned, picture.outside),
        (2, 1, 1)
    );
}

#[test]
fn a_new_series_begins_a_new_picture_and_the_one_before_is_finished() {
    let mut state = State::new(settings());
    for number in 0..20 {
        both(&mut state, 1, number);
    }
    settled(&mut state);
    let job = both(&mut state, 2, 0).expect("the first series is finished");
    for number in 20..25 {
        assert!(state.take(patch(1, number, Part::Phase)).is_none());
    }
    assert_eq!((state.tally().earlier, state.tally().series), (5, 2));
    let picture = settled(&mut state);
    assert_eq!((picture.series, picture.placed), (2, 1));

    state.solved(Some(job.run()));
    assert!(state.picture().is_none(), "the newer series is still shown");
    let previous = state.previous().unwrap();
    assert!(previous.is_final && is_right(previous));
    assert_eq!((previous.series, previous.placed), (1, 20));
}

#[test]
fn the_final_picture_replaces_the_other_until_patches_come() {
    let mut state = State::new(settings());
    for number in 0..20 {
        both(&mut state, 1, number);
    }
    let online = settled(&mut state);
    let job = state.end(1).unwrap();
    assert!(state.end(1).is_none(), "it is being made");
    state.solved(Some(job.run()));
    let last = state.picture().unwrap();
    assert!(last.is_final && is_right(&last) && !online.is_final);
    assert_eq!(last.phase.dim(), online.phase.dim());
    assert_eq!((last.placed, last.origin), (online.placed, online.origin));
    assert!(state.picture().is_none());
    assert!(state.end(1).is_none(), "nothing has come since");

    both(&mut state, 1, 20);
    let resumed = settled(&mut state);
    assert!(
        !resumed.is_final && resumed.placed == 21,
        "the series went on"
    );
    let job = state.end(1).unwrap();
    both(&mut state, 1, 21);
    state.solved(Some(job.run()));
    assert!(
        !settled(&mut state).is_final,
        "a patch came while it was made"
    );
    assert_eq!(state.tally().solved, 2);
}

#[test]
fn one_final_picture_is_made_at_a_time() {
    let mut state = State::new(settings());
    both(&mut state, 1, 0);
    let job = both(&mut state, 2, 0).unwrap();
    assert!(both(&mut state, 3, 0).is_none());
    assert_eq!(state.tally().unsolved, 1);
    state.solved(Some(job.run()));
    assert!(both(&mut state, 4, 0).is_some());
    state.solved(None);
    assert_eq!((state.tally().unsolved, state.tally().solved), (2, 1));
    assert!(
        both(&mut state, 5, 0).is_some(),
        "one that died blocks no other"
    );
}

#[test]
fn memory_is_bounded_and_the_final_picture_says_what_it_is_made_of() {
    let kept = KeptLimits {
        patches: 32,
        bytes: 1 << 20,
    };
    let canvas = Canvas {
        kept,
        ..Canvas::default()
    };
    let mut state = State::new(Settings {
        canvas,
        ..settings()
    });
    for number in 0..64 {
        both(&mut state, 1, number);
    }
    let (_, kept) = state.bytes();
    assert!(kept <= 32 * 2 * 4 * SIDE * SIDE);
    let job = state.end(1).unwrap();
    state.solved(Some(job.run()));
    let last = state.picture().unwrap();
    assert_eq!((last.placed, last.kept_every), (64, 2));
    assert!(is_right(&last));
}

#[test]
fn weights_that_fit_no_patch_are_an_error_and_nothing_else_is_lost() {
    let weights = WeightsFile::new(Array2::ones((8, 8))).unwrap();
    let mut state = State::new(Settings {
        weights: Some(weights),
        ..settings()
    });
    both(&mut state, 1, 0);
    both(&mut state, 1, 1);
    assert_eq!(state.tally().unusable, 2);
    assert!(state.picture().is_none() && state.end(1).is_none());
}

proptest! {
    /// Whatever comes in whatever order: every patch and every frame is counted once.
    #[test]
    fn every_patch_is_counted_once(
        patches in prop::collection::vec((1..4_u64, 0..30_u64, any::<bool>(), 0..10_u8), 0..200),
        frames in 1..40_usize,
    ) {
        let pairs = Limits { frames, ..Limits::default() };
        let mut state = State::new(Settings { pairs, ..settings() });
        for (series, number, phase, kind) in &patches {
            let mut patch = patch(*series, *number, if *phase { Part::Phase } else { Part::Amplitude });
            match kind {
                0 => patch.position = None,
                1 => (patch.rows, patch.columns) = (SIDE / 2, 2 * SIDE),
                _ => {}
            }
            if let Some(job) = state.take(patch) {
                state.solved(Some(job.run()));
            }
        }
        for series in 1..4 {
            state.end(series);
        }
        let tally = state.tally();
        let halves = tally.earlier + tally.repeated + tally.mismatched;
        let settled = tally.placed + tally.without_phase + tally.unpositioned + tally.outside + tally.unusable;
        prop_assert_eq!(tally.patches, patches.len() as u64);
        // A frame has one half or two.
        prop_assert!(halves + settled <= tally.patches && tally.patches <= halves + 2 * settled + tally.repeated);
        let lone = tally.unlevelled + tally.without_phase;
        prop_assert!(lone <= settled);
        if let Some(picture) = state.picture() {
            prop_assert!(picture.placed <= tally.placed);
        }
    }
}
