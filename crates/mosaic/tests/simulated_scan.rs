//! The mosaic while a scan runs, on the simulated scan of `beamflow demo` and what the project's own network makes of it.
//!
//! `cargo test -p beamflow-mosaic --test simulated_scan -- --nocapture` prints the figures.

// Tests and their helpers may panic; clippy.toml allows it only in the tests themselves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use beamflow_engine::{Batch, Engine, EngineOptions, OutputRows, Place, load};
use beamflow_lab::{Raster, SimulatedScan, experiment};
use beamflow_mosaic::online::{
    Corner, Mosaic, OnlinePatch, Placement, Settings, Snapshot, Weights,
};
use beamflow_mosaic::{Patch, PhaseError, Stitcher};
use ndarray::{Array2, ArrayView2, s};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/ptychonn_64.onnx");
const SHAPE: (usize, usize) = (64, 64);

type Values = Arc<[f32]>;

struct Results {
    scan: SimulatedScan,
    /// Amplitude and phase of each frame.
    patches: Vec<[Values; 2]>,
}

static RESULTS: LazyLock<Results> = LazyLock::new(|| {
    let scan = experiment::scan(Raster {
        ..experiment::RASTER
    })
    .unwrap();
    let engine = load(MODEL, &EngineOptions::default()).unwrap();
    let patches = infer(engine.as_ref(), &scan);
    Results { scan, patches }
});

fn infer(engine: &dyn Engine, scan: &SimulatedScan) -> Vec<[Values; 2]> {
    const ROWS: usize = 10;
    let place = Place {
        lane: 0,
        device: 0,
        rows: ROWS,
        cuda_graphs: true,
    };
    let model = engine.model().clone();
    let index = |name: &str| model.outputs.iter().position(|o| o.name == name).unwrap();
    let (amplitude, phase) = (index("amplitude"), index("phase"));
    let mut session = engine.open_session(place).unwrap();
    let pixels = SHAPE.0 * SHAPE.1;
    let mut patches = Vec::new();
    for first in (0..scan.len()).step_by(ROWS) {
        let mut input = Vec::<f32>::new();
        for k in first..first + ROWS {
            input.extend(scan.frame(k).unwrap().counts.iter().map(|&c| f32::from(c)));
        }
        let mut outputs = vec![vec![0.0_f32; ROWS * pixels]; model.outputs.len()];
        let batch = Batch {
            rows: ROWS,
            input: beamflow_frame::values::Values::F32(&input),
            outputs: outputs
                .iter_mut()
                .map(|o| OutputRows::whole(beamflow_frame::values::ValuesMut::F32(o), pixels))
                .collect(),
        };
        session.run(batch).unwrap();
        for row in 0..ROWS {
            let of = |output: usize| outputs[output][row * pixels..][..pixels].into();
            patches.push([of(amplitude), of(phase)]);
        }
    }
    patches
}

/// A mosaic of the frames `order`, with `constant(k)` added to each phase.
fn mosaic(weights: Weights, order: &[usize], constant: impl Fn(usize) -> f32) -> Mosaic<usize> {
    let mut mosaic = Mosaic::new(weights, Settings::default());
    for &k in order {
        let [amplitude, phase] = &RESULTS.patches[k];
        let position = RESULTS.scan.positions()[k];
        let constant = constant(k);
        let placement = mosaic.place(
            &k,
            OnlinePatch {
                corner: Corner {
                    x: position.x as i64,
                    y: position.y as i64,
                },
                phase: phase.iter().map(|p| p + constant).collect(),
                amplitude: Some(Arc::clone(amplitude)),
            },
        );
        assert!(matches!(placement, Placement::Placed | Placement::Repeated));
    }
    mosaic
}

fn error(snapshot: &Snapshot) -> f64 {
    let (rows, columns) = snapshot.phase.dim();
    let (top, left) = (snapshot.origin.y as usize, snapshot.origin.x as usize);
    let truth = RESULTS.scan.object().phase();
    let truth = truth.slice(s![top..top + rows, left..left + columns]);
    let double = |array: &Array2<f32>| array.mapv(f64::from);
    PhaseError::compare(
        double(&snapshot.phase).view(),
        double(&snapshot.coverage).view(),
        truth,
    )
    .unwrap()
    .median
}

/// What the demo does.
fn offline() -> f64 {
    let Results { scan, patches } = &*RESULTS;
    let stitcher = Stitcher::new(scan.object().shape(), &scan.probe().intensity()).unwrap();
    let view = |values| ArrayView2::from_shape(SHAPE, values).unwrap();
    let patches: Vec<_> = scan
        .positions()
        .iter()
        .zip(patches)
        .map(|(&position, [amplitude, phase])| Patch {
            position,
            amplitude: view(amplitude),
            phase: view(phase),
        })
        .collect();
    let levelled = stitcher.level(&patches).unwrap();
    let positions = patches.iter().map(|patch| patch.position);
    let stitched = stitcher
        .stitch(positions.zip(levelled.iter().map(|phase| phase.view())))
        .unwrap();
    PhaseError::measure(&stitched, scan.object().phase().view())
        .unwrap()
        .median
}

fn in_order() -> Vec<usize> {
    (0..RESULTS.scan.len()).collect()
}

/// The frames in an order without pattern.
fn shuffled(seed: u64) -> Vec<usize> {
    let mut order = in_order();
    let hash = |k: usize| {
        let mut x = (k as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ seed.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        x ^= x >> 32;
        x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        x ^ (x >> 29)
    };
    order.sort_by_key(|&k| hash(k));
    order
}

fn scattered(k: usize) -> f32 {
    5.0 * (12.9898 * (k as f32 + 1.0)).sin()
}

/// Online as it is, after the rest of a rebuild, and the final picture; in radians.
#[derive(Clone, Copy, Debug)]
struct Figures {
    online: f64,
    rebuilt: f64,
    last: f64,
}

fn figures(name: &str, mut mosaic: Mosaic<usize>) -> Figures {
    let online = error(&mosaic.snapshot());
    while mosaic.rebuild(1) {}
    let rebuilt = error(&mosaic.snapshot());
    let start = Instant::now();
    let last = error(&mosaic.solve().run().unwrap());
    let took = start.elapsed();
    println!(
        "{name}: online {online:.4} rad, rebuilt {rebuilt:.4} rad, final {last:.4} rad in {took:?}"
    );
    Figures {
        online,
        rebuilt,
        last,
    }
}

fn probe_weights() -> Weights {
    Weights::given(&RESULTS.scan.probe().intensity(), SHAPE, 0).unwrap()
}

#[test]
fn the_mosaic_is_as_good_as_the_demo_whatever_the_order_of_arrival() {
    let offline = offline();
    println!("the demo's solver: {offline:.4} rad");
    let usual = figures("in order", mosaic(probe_weights(), &in_order(), |_| 0.0));
    assert!((usual.last / offline - 1.0).abs() < 0.02, "{usual:?}");
    assert!(usual.online < 1.5 * offline, "{usual:?}");
    assert!(usual.rebuilt < 1.1 * offline, "{usual:?}");

    let missing: Vec<_> = shuffled(2).into_iter().filter(|k| k % 20 != 7).collect();
    let repeated = in_order().into_iter().flat_map(|k| [k, k / 2, k]).collect();
    for (name, order, constant) in [
        ("shuffled, constants of up to 5 rad", shuffled(1), 1.0),
        ("shuffled, 5 % missing", missing, 0.0),
        ("repeated", repeated, 0.0),
    ] {
        let mosaic = mosaic(probe_weights(), &order, |k| constant * scattered(k));
        assert_eq!(
            mosaic.tally().repeated as usize,
            order.len() - mosaic.tally().placed as usize
        );
        let found = figures(name, mosaic);
        for (found, usual) in [
            (found.online, usual.online),
            (found.rebuilt, usual.rebuilt),
            (found.last, usual.last),
        ] {
            assert!((found / usual - 1.0).abs() < 0.1, "{name}: {found} {usual}");
        }
    }
}

/// The network's values outside of the probe are guesses. A window over the whole patch takes them for good; less an edge that
/// leaves what is lit, it is of use.
#[test]
fn a_hann_window_over_what_is_lit_is_better_than_a_constant_phase() {
    let hann = |edge| Weights::hann(SHAPE, edge).unwrap();
    for (name, weights) in [
        ("hann", hann(0)),
        ("hann, edge 16", hann(16)),
        ("hann, edge 16, levelled", hann(16).levelling(true)),
    ] {
        let found = figures(name, mosaic(weights, &in_order(), |_| 0.0));
        let constant = 0.342;
        assert!(name == "hann" || found.online < constant, "{found:?}");
        assert!(name == "hann" || found.last < 0.8 * constant, "{found:?}");
    }
}

#[test]
fn patches_are_placed_much_faster_than_frames_come() {
    for (name, weights) in [
        ("probe", probe_weights()),
        ("hann", Weights::hann(SHAPE, 0).unwrap().levelling(true)),
    ] {
        let order = in_order();
        // The best of several, because the machine has other work.
        let mut took = f64::INFINITY;
        let mut mosaic = mosaic(weights.clone(), &order, |_| 0.0);
        for _ in 0..8 {
            let start = Instant::now();
            mosaic = self::mosaic(weights.clone(), &order, |_| 0.0);
            took = took.min(start.elapsed().as_secs_f64());
        }
        let (canvas, kept) = mosaic.bytes();
        println!(
            "{name}: {:.0} patches of 64 x 64 per second; canvas {canvas} bytes, kept patches {kept} bytes",
            order.len() as f64 / took
        );
        let start = Instant::now();
        let snapshot = mosaic.snapshot();
        println!(
            "a snapshot of {:?} in {:?}",
            snapshot.phase.dim(),
            start.elapsed()
        );
    }
}
