//! Tests of stitching, on patches cut from a known object.

use super::*;
use beamflow_lab::{Object, Probe, ProbeShape, Raster, Scan};

type TestResult = Result<(), Box<dyn std::error::Error>>;
type Patches = Vec<(Position, Array2<f32>)>;

const OBJECT: (usize, usize) = (108, 116);

struct Experiment {
    object: Object,
    weights: Array2<f64>,
    patches: Patches,
}

/// True patches of `crop` × `crop` pixels, each minus its mean plus `offset(k)`.
fn experiment(
    crop: usize,
    offset: impl Fn(usize) -> f64,
) -> Result<Experiment, Box<dyn std::error::Error>> {
    let object = Object::test_target(OBJECT.0, OBJECT.1)?;
    let weights = Probe::new(ProbeShape::default())?.intensity();
    let raster = Raster {
        rows: 6,
        columns: 7,
        step: 8,
        jitter: 2,
        seed: 3,
    };
    let scan = Scan::raster(raster, OBJECT, 64)?;
    let cut = 32 - crop / 2;
    let mut patches = Vec::new();
    for (k, &position) in scan.positions().iter().enumerate() {
        let corner = Position {
            x: position.x + cut,
            y: position.y + cut,
        };
        let phase = object.phase_patch(corner, (crop, crop))?;
        let constant = offset(k) - phase.mean().ok_or("empty")?;
        patches.push((position, phase.mapv(|p| (p + constant) as f32)));
    }
    Ok(Experiment {
        object,
        weights,
        patches,
    })
}

fn views(patches: &Patches) -> impl Iterator<Item = (Position, ArrayView2<'_, f32>)> {
    patches
        .iter()
        .map(|(position, patch)| (*position, patch.view()))
}

/// An offset without pattern for each patch, several times the object's span.
fn scattered(k: usize) -> f64 {
    5.0 * (12.9898 * (k as f64 + 1.0)).sin()
}

#[test]
fn true_patches_stitch_to_the_truth_whatever_their_constants() -> TestResult {
    for crop in [64, 32, 31] {
        for random in [false, true] {
            let of = |k| if random { scattered(k) } else { 0.0 };
            let Experiment {
                object,
                weights,
                patches,
            } = experiment(crop, of)?;
            let stitched = Stitcher::new(OBJECT, &weights)?.stitch(views(&patches))?;
            let error = PhaseError::measure(&stitched, object.phase().view())?;
            assert!(error.median < 1e-4, "{crop} {random}: {error:?}");
            assert!(
                error.ratio < 1e-3 && error.span > 1.5,
                "{crop} {random}: {error:?}"
            );
            assert!(error.pixels > 1500, "{error:?}");
            assert_eq!(stitched.constants.len(), 42);
            // Consistent patches are placed correctly at once; the sweep only confirms it.
            assert!(
                stitched.last_change <= 1e-5 && stitched.sweeps == 1,
                "{}",
                stitched.sweeps
            );
        }
    }
    Ok(())
}

#[test]
fn noisy_patches_reach_the_least_squares_optimum() -> TestResult {
    // At the optimum no change of a constant lowers the cost, whatever the patches hold.
    let Experiment {
        weights,
        mut patches,
        ..
    } = experiment(64, scattered)?;
    for (k, (_, patch)) in patches.iter_mut().enumerate() {
        let tilt = 0.02 * scattered(k + 100) as f32;
        for ((row, column), value) in patch.indexed_iter_mut() {
            *value += tilt * (row as f32 - column as f32)
                + ((row * 31 + column * 17 + k) % 13) as f32 * 0.05;
        }
    }
    let stitcher = Stitcher::new(OBJECT, &weights)?.tolerance(1e-7);
    let stitched = stitcher.stitch(views(&patches))?;
    assert!(stitched.last_change <= 1e-7, "{}", stitched.sweeps);

    let mut sum = Array2::<f64>::zeros(OBJECT);
    for ((position, patch), constant) in views(&patches).zip(&stitched.constants) {
        let window = s![position.y..position.y + 64, position.x..position.x + 64];
        let image = stitched.phase.slice(window);
        let mut slope = 0.0; // of the cost, in the direction of this constant
        let pixels = Zip::from(sum.slice_mut(window))
            .and(image)
            .and(&stitcher.weights)
            .and(patch);
        pixels.for_each(|sum, &image, &w, &phase| {
            if w > 0.0 {
                let phase = f64::from(phase) + constant;
                slope += w * (phase - image);
                *sum += w * phase;
            }
        });
        assert!(slope.abs() < 1e-4, "{position:?}: {slope}");
    }
    for ((sum, coverage), image) in sum.iter().zip(&stitched.coverage).zip(&stitched.phase) {
        assert!(*coverage == 0.0 || (sum / coverage - image).abs() < 1e-9);
    }
    Ok(())
}

#[test]
fn dropped_frames_reduce_only_their_own_coverage() -> TestResult {
    let Experiment {
        object,
        weights,
        mut patches,
    } = experiment(64, scattered)?;
    let stitcher = Stitcher::new(OBJECT, &weights)?;
    let full = stitcher.stitch(views(&patches))?;
    let mut k = 0;
    patches.retain(|_| {
        k += 1;
        k % 5 != 2 // the first dropped frame is early in the first row
    });
    let holed = stitcher.stitch(views(&patches))?;
    assert_eq!(holed.constants.len(), patches.len());
    assert!(holed.coverage.sum() < 0.9 * full.coverage.sum());
    let error = PhaseError::measure(&holed, object.phase().view())?;
    assert!(error.median < 1e-4, "{error:?}");
    Ok(())
}

#[test]
fn pixels_that_no_patch_lit_are_nan_and_all_others_are_not() -> TestResult {
    let Experiment {
        weights, patches, ..
    } = experiment(64, |_| 0.0)?;
    let stitched = Stitcher::new(OBJECT, &weights)?.stitch(views(&patches))?;
    let dark = stitched.coverage.iter().filter(|&&w| w == 0.0).count();
    assert!(dark > 1000);
    for (phase, coverage) in stitched.phase.iter().zip(&stitched.coverage) {
        assert_eq!(phase.is_nan(), *coverage == 0.0);
    }
    Ok(())
}

#[test]
fn islands_and_a_single_patch_are_stitched() -> TestResult {
    let object = (64, 200);
    let weights = Probe::new(ProbeShape::default())?.intensity();
    let patch = Array2::from_elem((64, 64), 1.5f32);
    let left = (Position { x: 0, y: 0 }, patch.view());
    let right = (Position { x: 136, y: 0 }, patch.view());
    let stitcher = Stitcher::new(object, &weights)?;
    for patches in [vec![left], vec![left, right]] {
        let stitched = stitcher.stitch(patches)?;
        assert!(stitched.phase.iter().all(|p| p.is_nan() || p.abs() < 1e-9));
        assert_eq!(stitched.sweeps, 1);
    }
    Ok(())
}

#[test]
fn sweeps_are_bounded_and_a_stop_before_the_end_shows() -> TestResult {
    let Experiment {
        weights, patches, ..
    } = experiment(64, scattered)?;
    let stitcher = Stitcher::new(OBJECT, &weights)?
        .tolerance(0.0)
        .max_sweeps(3);
    let stitched = stitcher.stitch(views(&patches))?;
    assert_eq!(stitched.sweeps, 3);
    assert!(stitched.last_change > 0.0);
    Ok(())
}

#[test]
fn patches_that_cannot_be_placed_are_errors() -> TestResult {
    let weights = Probe::new(ProbeShape::default())?.intensity();
    let stitcher = Stitcher::new(OBJECT, &weights)?;
    let stitch = |x: usize, y: usize, patch: Array2<f32>| {
        stitcher.stitch([(Position { x, y }, patch.view())]).err()
    };
    let zeros = Array2::<f32>::zeros;
    assert_eq!(stitcher.stitch([]).err(), Some(StitchError::NoPatch));
    assert!(matches!(
        stitch(0, 0, zeros((65, 64))),
        Some(StitchError::PatchShape { .. })
    ));
    assert!(matches!(
        stitch(0, 0, zeros((0, 64))),
        Some(StitchError::PatchShape { .. })
    ));
    assert!(matches!(
        stitch(53, 0, zeros((64, 64))),
        Some(StitchError::OutsideObject { .. })
    ));
    let far = stitch(usize::MAX, 0, zeros((64, 64)));
    assert!(matches!(far, Some(StitchError::OutsideObject { .. })));
    let nan = stitch(0, 0, Array2::from_elem((64, 64), f32::NAN));
    assert_eq!(nan, Some(StitchError::NotFinite { x: 0, y: 0 }));
    for wrong in [0.0, -1.0, f64::NAN] {
        let weights = Array2::from_elem((4, 4), wrong);
        assert_eq!(
            Stitcher::new(OBJECT, &weights).err(),
            Some(StitchError::Weights)
        );
    }
    Ok(())
}
