//! Tests of the mosaic while a scan runs, on patches cut from a known object.

use super::*;
use crate::{PhaseError, StitchError};
use beamflow_lab::{Object, Probe, ProbeShape, Raster, Scan};
use ndarray::s;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

const OBJECT: (usize, usize) = (108, 116);
const SHAPE: (usize, usize) = (64, 64);

/// True patches, 42 of them, each with a constant of its own.
struct Experiment {
    object: Object,
    weights: Weights,
    patches: Vec<OnlinePatch>,
}

static EXPERIMENT: LazyLock<Experiment> = LazyLock::new(|| {
    let object = Object::test_target(OBJECT.0, OBJECT.1).unwrap();
    let probe = Probe::new(ProbeShape::default()).unwrap();
    let raster = Raster {
        rows: 6,
        columns: 7,
        step: 8,
        jitter: 2,
        seed: 3,
    };
    let scan = Scan::raster(raster, OBJECT, 64).unwrap();
    let patch = |(k, position): (usize, &beamflow_frame::Position)| {
        let constant = 5.0 * (12.9898 * (k as f64 + 1.0)).sin();
        let phase = object.phase_patch(*position, SHAPE).unwrap();
        OnlinePatch {
            corner: Corner {
                x: position.x as i64,
                y: position.y as i64,
            },
            phase: phase.iter().map(|p| (p + constant) as f32).collect(),
            amplitude: Some(vec![1.0; 64 * 64].into()),
        }
    };
    let patches = scan.positions().iter().enumerate().map(patch).collect();
    Experiment {
        weights: Weights::given(&probe.intensity(), SHAPE, 0).unwrap(),
        patches,
        object,
    }
});

fn mosaic(settings: Settings) -> Mosaic<usize> {
    Mosaic::new(EXPERIMENT.weights.clone(), settings)
}

fn error(snapshot: &Snapshot) -> PhaseError {
    let (rows, columns) = snapshot.phase.dim();
    let (top, left) = (snapshot.origin.y as usize, snapshot.origin.x as usize);
    let truth = EXPERIMENT.object.phase();
    let truth = truth.slice(s![top..top + rows, left..left + columns]);
    let double = |array: &Array2<f32>| array.mapv(f64::from);
    let (phase, coverage) = (double(&snapshot.phase), double(&snapshot.coverage));
    PhaseError::compare(phase.view(), coverage.view(), truth).unwrap()
}

/// The same values, but for rounding and a constant.
fn close(a: &Array2<f32>, b: &Array2<f32>) -> bool {
    a.dim() == b.dim()
        && a.iter()
            .zip(b)
            .all(|(a, b)| (a - b).abs() < 1e-3 || a.is_nan() && b.is_nan())
}

#[test]
fn no_patch_is_lost_when_the_phase_is_placed_anew() {
    let mut mosaic = mosaic(Settings::default());
    for (key, patch) in EXPERIMENT.patches.iter().enumerate() {
        mosaic.place(&key, patch.clone());
        let picture = mosaic.snapshot();
        let placed: f32 = picture.coverage.sum();
        let expected = EXPERIMENT.weights.values().sum() * (key + 1) as f32;
        assert!(
            (placed / expected - 1.0).abs() < 1e-4,
            "{key}: {placed} {expected}"
        );
    }
}

#[test]
fn true_patches_give_the_truth_online_and_at_the_end() {
    let mut mosaic = mosaic(Settings::default());
    for (key, patch) in EXPERIMENT.patches.iter().enumerate() {
        assert_eq!(mosaic.place(&key, patch.clone()), Placement::Placed);
    }
    let (online, last) = (mosaic.snapshot(), mosaic.solve().run().unwrap());
    for picture in [&online, &last] {
        let error = error(picture);
        assert!(error.median < 1e-3 && error.pixels > 1500, "{error:?}");
        for (phase, coverage) in picture.phase.iter().zip(&picture.coverage) {
            assert_eq!(phase.is_nan(), *coverage == 0.0);
        }
        assert!(
            picture
                .amplitude
                .iter()
                .all(|a| a.is_nan() || (a - 1.0).abs() < 1e-4)
        );
        assert_eq!(picture.tally.placed, 42);
    }
    assert_eq!(online.origin, last.origin);
    assert!(close(&online.phase, &last.phase));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Order, repetitions and the corner of the grid change nothing; what is missing is missing only where it lies.
    #[test]
    fn the_picture_depends_on_the_patches_alone(
        order in Just((0..42_usize).collect::<Vec<_>>()).prop_shuffle(),
        repeated in prop::collection::vec(0..42_usize, 0..20),
        shift in (-1_000_000i64..1_000_000, -1_000_000i64..1_000_000),
    ) {
        let (mut usual, mut other) = (mosaic(Settings::default()), mosaic(Settings::default()));
        for (key, patch) in EXPERIMENT.patches.iter().enumerate() {
            usual.place(&key, patch.clone());
        }
        for key in order.iter().chain(&repeated) {
            let mut patch = EXPERIMENT.patches[*key].clone();
            patch.corner.x += shift.0;
            patch.corner.y += shift.1;
            other.place(key, patch);
        }
        while usual.rebuild(1) || other.rebuild(1) {}
        let (usual, other) = (usual.snapshot(), other.snapshot());
        prop_assert!(close(&usual.phase, &other.phase));
        prop_assert!(close(&usual.coverage, &other.coverage));
        prop_assert_eq!(other.origin.x, usual.origin.x + shift.0);
        prop_assert_eq!(other.tally.repeated, repeated.len() as u64);
    }

    /// Whatever comes: no panic, and every patch is counted once.
    #[test]
    fn no_patch_makes_it_fail(
        patches in prop::collection::vec(
            (any::<(i64, i64)>(), any::<bool>(), prop::collection::vec(any::<f32>(), 14..18), any::<bool>()),
            0..30,
        ),
    ) {
        let settings = Settings { side: 64, ..Settings::default() };
        let mut mosaic = Mosaic::new(Weights::hann((4, 4), 0).unwrap().levelling(true), settings);
        for (key, ((x, y), near, values, lone)) in patches.iter().enumerate() {
            let corner = if *near { Corner { x: x % 40, y: y % 40 } } else { Corner { x: *x, y: *y } };
            let values: Arc<[f32]> = values.as_slice().into();
            mosaic.place(&key, OnlinePatch {
                corner,
                phase: Arc::clone(&values),
                amplitude: (!lone).then_some(values),
            });
        }
        let tally = mosaic.tally();
        prop_assert_eq!(tally.placed + tally.outside + tally.unusable, patches.len() as u64);
        let picture = mosaic.snapshot();
        prop_assert!(picture.phase.nrows() <= 64 && picture.phase.ncols() <= 64);
        let solved = mosaic.solve().run();
        prop_assert_eq!(solved.is_ok(), tally.placed > 0);
    }
}

/// The values with some that are not finite, others for each `key`.
fn spoilt(key: usize, values: &[f32]) -> Arc<[f32]> {
    let wrong = |(index, value): (usize, &f32)| match (index + key) % 7 {
        0 => f32::NAN,
        1 => f32::INFINITY,
        _ => *value,
    };
    values.iter().enumerate().map(wrong).collect()
}

#[test]
fn pixels_that_are_not_finite_carry_no_weight() {
    let Experiment { patches, .. } = &*EXPERIMENT;
    let mut mosaic = mosaic(Settings::default());
    for (key, patch) in patches.iter().enumerate() {
        let mut patch = patch.clone();
        patch.phase = spoilt(key, &patch.phase);
        patch.amplitude = patch.amplitude.as_ref().map(|values| spoilt(key, values));
        mosaic.place(&key, patch);
    }
    for picture in [mosaic.snapshot(), mosaic.solve().run().unwrap()] {
        let error = error(&picture);
        assert!(error.median < 1e-2, "{error:?}");
        assert!(picture.phase.iter().all(|p| p.is_nan() || p.is_finite()));
    }
    let nothing = OnlinePatch {
        corner: Corner::default(),
        phase: vec![f32::NAN; 64 * 64].into(),
        amplitude: None,
    };
    assert_eq!(mosaic.place(&99, nothing), Placement::Unusable);
}

#[test]
fn a_phase_without_amplitude_is_placed_and_counted() {
    let mut mosaic = mosaic(Settings::default());
    for (key, patch) in EXPERIMENT.patches.iter().enumerate() {
        let amplitude = patch.amplitude.clone().filter(|_| key % 2 == 0);
        mosaic.place(
            &key,
            OnlinePatch {
                amplitude,
                ..patch.clone()
            },
        );
    }
    assert_eq!(mosaic.tally().unlevelled, 21);
    for picture in [mosaic.snapshot(), mosaic.solve().run().unwrap()] {
        assert!(error(&picture).median < 1e-3);
    }
}

/// A stage that is not there yet has positions far away, one or many.
#[test]
fn the_first_positions_do_not_decide_where_the_picture_is() {
    let far = |k: usize| OnlinePatch {
        corner: Corner { x: 1 << 20, y: 0 },
        ..EXPERIMENT.patches[k].clone()
    };
    for strays in [1, 5] {
        let mut mosaic = mosaic(Settings::default());
        for k in 0..strays {
            assert_eq!(mosaic.place(&k, far(k)), Placement::Placed);
        }
        let mut placements = Vec::new();
        for (key, patch) in EXPERIMENT.patches.iter().enumerate() {
            placements.push(mosaic.place(&(100 + key), patch.clone()));
        }
        let lost = placements.iter().filter(|p| **p == Placement::Outside);
        assert_eq!(lost.count(), strays);
        assert!(placements[strays..].iter().all(|p| *p == Placement::Placed));
        let tally = mosaic.tally();
        let all = EXPERIMENT.patches.len() + strays;
        assert_eq!(
            (tally.placed, tally.outside),
            ((all - 2 * strays) as u64, 2 * strays as u64)
        );
        assert_eq!(tally.kept, tally.placed);
        assert!(mosaic.snapshot().phase.dim().0 <= OBJECT.0);
    }
    // A single position far away does nothing, whenever it comes.
    let mut mosaic = mosaic(Settings::default());
    for (key, patch) in EXPERIMENT.patches.iter().enumerate() {
        assert_eq!(mosaic.place(&(2 * key), patch.clone()), Placement::Placed);
        assert_eq!(mosaic.place(&(2 * key + 1), far(key)), Placement::Outside);
    }
}

#[test]
fn patches_outside_of_the_canvas_are_counted() {
    let mut mosaic = mosaic(Settings {
        side: 60,
        ..Settings::default()
    });
    let at = |x: i64| OnlinePatch {
        corner: Corner { x, y: 0 },
        ..EXPERIMENT.patches[0].clone()
    };
    for key in [0, 10] {
        assert_eq!(mosaic.place(&key, at(0)), Placement::Placed);
    }
    assert_eq!(mosaic.place(&1, at(i64::MAX)), Placement::Outside);
    assert_eq!(mosaic.place(&2, at(40)), Placement::Outside);
    assert_eq!(
        mosaic.place(&2, at(2)),
        Placement::Placed,
        "it was not placed before"
    );
    assert_eq!(mosaic.tally().outside, 2);
}

#[test]
fn memory_is_bounded_however_many_patches_come() {
    let kept = KeptLimits {
        patches: 10,
        bytes: 1 << 20,
    };
    let settings = Settings {
        side: 200,
        kept,
        ..Settings::default()
    };
    let mut mosaic = mosaic(settings);
    for key in 0..400 {
        mosaic.place(&key, EXPERIMENT.patches[key % 42].clone());
        let (canvas, patches) = mosaic.bytes();
        assert!(canvas <= 6 * 4 * 200 * 200 && patches <= 1 << 20);
    }
    assert!(mosaic.tally().kept <= 10 && mosaic.tally().kept_every >= 64);
    let picture = mosaic.snapshot();
    assert!(
        error(&picture).median < 1e-2,
        "what is not kept stays in the picture"
    );
}

#[test]
fn an_empty_mosaic_has_an_empty_picture_and_no_final_one() {
    let mosaic = mosaic(Settings::default());
    assert_eq!(mosaic.snapshot().phase.dim(), (0, 0));
    assert_eq!(mosaic.solve().run().err(), Some(StitchError::NoPatch));
}
