//! The result of a frame does not depend on mode, depth, batch size, neighbours or position.

use crate::black_box::common::{Host, MODES, SIM, bad, good, values};
use beamflow::lab::Raster;
use beamflow::lab::experiment;
use beamflow::lab::stack::FrameStack;
use beamflow::vertex::client::{Answer, Datum};
use futures::stream;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Payloads by id; a rejected frame has an empty one.
type Results = BTreeMap<String, Vec<Vec<u8>>>;

fn results(answers: &[Answer]) -> Results {
    answers
        .iter()
        .flat_map(|answer| &answer.responses)
        .map(|(id, messages)| {
            let payloads = messages
                .iter()
                .map(|message| message.value.clone())
                .collect();
            (id.clone(), payloads)
        })
        .collect()
}

/// Runs the read batches through a sidecar with `flags`.
async fn run(flags: &[&str], read_batches: &[Vec<Datum>]) -> Results {
    let host = Host::start(flags).await;
    let mut driver = host.driver().await;
    let mut answers = Vec::new();
    for datums in read_batches {
        answers.push(driver.call(stream::iter(datums.clone())).await.unwrap());
    }
    host.stop().await;
    results(&answers)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn results_are_bit_identical_in_all_modes_and_depths(
        kinds in proptest::collection::vec(proptest::bool::weighted(0.9), 1..120),
        cut in 1_usize..50,
        batch in 1_usize..20,
        depth in 1_usize..6,
        fixed in any::<bool>(),
    ) {
        let datums: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(k, is_good)| if *is_good { good(k) } else { bad(k) })
            .collect();
        let cut_batches: Vec<_> = datums.chunks(cut).map(<[Datum]>::to_vec).collect();
        let (batch, depth) = (batch.to_string(), depth.to_string());
        let model = if fixed { format!("{SIM},batch={batch}") } else { SIM.to_owned() };
        runtime().block_on(async {
            let expected = run(
                &["--mode", "sequential", "--model-path", SIM, "--bsz-size", "1"],
                std::slice::from_ref(&datums),
            )
            .await;
            for mode in MODES {
                let flags = [
                    "--mode", mode, "--model-path", &model, "--bsz-size", &batch,
                    "--pipeline-depth", &depth, "--max-concurrent-batches", &depth,
                ];
                let got = run(&flags, &cut_batches).await;
                assert_eq!(got, expected, "{mode}, batch {batch}, depth {depth}, read batch {cut}");
            }
        });
    }
}

/// Frames of the simulated experiment, for the project's own model.
fn frames(count: usize) -> Vec<Datum> {
    let scan = experiment::scan(Raster {
        rows: 4,
        columns: 8,
        ..experiment::RASTER
    })
    .unwrap();
    let stack = FrameStack::simulate(&scan, || ()).unwrap();
    (0..count)
        .map(|k| beamflow::commands::drive::datum(&stack, k))
        .collect()
}

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ptychonn_64.onnx");

#[tokio::test]
async fn a_real_model_is_bit_identical_in_all_modes() {
    let datums = frames(24);
    let mut seen: Option<Results> = None;
    for mode in MODES {
        let flags = ["--mode", mode, "--model-path", MODEL, "--bsz-size", "8"];
        let got = run(&flags, std::slice::from_ref(&datums)).await;
        assert_eq!(got.len(), 24);
        assert_eq!(seen.get_or_insert(got.clone()), &got, "{mode}");
    }
}

#[tokio::test]
async fn a_real_model_is_bit_identical_among_any_neighbours() {
    let mut datums = frames(16);
    let flags = ["--model-path", MODEL, "--bsz-size", "8"];
    let straight = run(&flags, std::slice::from_ref(&datums)).await;
    datums.reverse();
    datums.rotate_left(5);
    let shuffled = run(&flags, &[datums]).await;
    assert_eq!(straight, shuffled);
}

#[tokio::test]
async fn a_real_model_agrees_with_itself_across_batch_shapes() {
    let datums = frames(8);
    let run_at = async |batch: &str| {
        let flags = ["--model-path", MODEL, "--bsz-size", batch];
        run(&flags, std::slice::from_ref(&datums)).await
    };
    let whole = run_at("8").await;
    for batch in ["1", "3"] {
        for (id, payloads) in run_at(batch).await {
            for (a, b) in payloads.iter().zip(&whole[&id]) {
                let (a, b) = (values(a), values(b));
                let scale = b.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let error = a
                    .iter()
                    .zip(&b)
                    .fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(
                    error <= 1e-5 * scale.max(1.0),
                    "frame {id}, batch {batch}: {error}"
                );
            }
        }
    }
}
