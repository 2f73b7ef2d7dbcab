//! What the tests of every engine on a GPU share.

use crate::common::{Host, NEVER, values};
use beamflow::lab::Raster;
use beamflow::lab::experiment;
use beamflow::lab::stack::FrameStack;
use beamflow::vertex::client::{Datum, Driver};

/// The project's own model.
///
/// Relative to the repository's root, where cargo runs tests: the test program may have been built elsewhere.
pub const MODEL: &str = "models/ptychonn_64.onnx";

/// Frames of the simulated experiment.
pub fn frames(count: usize) -> Vec<Datum> {
    let scan = experiment::scan(Raster {
        rows: 8,
        columns: 8,
        ..experiment::RASTER
    })
    .unwrap();
    let stack = FrameStack::simulate(&scan, || ()).unwrap();
    let datum = |k: usize| Datum {
        id: k.to_string(),
        ..beamflow::commands::drive::datum(&stack, k % stack.frames())
    };
    (0..count).map(datum).collect()
}

/// The results of every frame, amplitude and phase, as they were sent.
pub async fn run(flags: &[&str], datums: &[Datum]) -> Vec<Vec<Vec<u8>>> {
    let host = Host::start(flags).await;
    let mut driver = host.driver().await;
    let call = driver.call(futures::stream::iter(datums.to_vec()));
    let answer = tokio::time::timeout(NEVER, call).await.unwrap().unwrap();
    host.stop().await;
    let of = |datum: &Datum| {
        let messages = answer.get(&datum.id).unwrap();
        messages.iter().map(|m| m.value.clone()).collect()
    };
    datums.iter().map(of).collect()
}

/// For each output, the largest difference divided by the largest value of the reference.
pub fn relative_errors(got: &[Vec<Vec<u8>>], reference: &[Vec<Vec<u8>>]) -> Vec<f32> {
    let all = |results: &[Vec<Vec<u8>>], output: usize| -> Vec<f32> {
        results.iter().flat_map(|r| values(&r[output])).collect()
    };
    let error = |output| {
        let (got, reference) = (all(got, output), all(reference, output));
        assert_eq!(got.len(), reference.len());
        let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0_f32, f32::max);
        let scale = largest(&mut reference.iter().map(|v| v.abs()));
        assert!(scale > 0.0, "the reference is all zeros");
        largest(&mut got.iter().zip(&reference).map(|(a, b)| (a - b).abs())) / scale
    };
    (0..reference[0].len()).map(error).collect()
}

/// Resident memory of this process.
pub fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Sends `calls` read batches of these frames.
pub async fn answered(driver: &mut Driver, calls: usize, datums: &[Datum]) {
    for _ in 0..calls {
        let call = driver.call(futures::stream::iter(datums.to_vec()));
        let answer = tokio::time::timeout(NEVER, call).await.unwrap().unwrap();
        assert_eq!(answer.len(), datums.len());
    }
}
