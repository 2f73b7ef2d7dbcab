//! Results are correct in every mode, and only the necessary bytes are copied.

use crate::frames::{
    VALUES, assert_results, frame_of, given, middle, middle_of, plan, usual, whole, whole_of,
};
use crate::sidecar::{Bench, MODES};

/// Rows of a full batch.
const BATCH: usize = 8;

#[tokio::test]
async fn results_are_right_for_each_mode_input_type_and_batch() {
    for (mode, lanes) in MODES {
        for (input, bytes) in [("f32", 4), ("f16", 2)] {
            // Rows that are copied for the two calls below: a fixed batch is padded on the host. Of a batch within a
            // range its rows are copied, or the minimum, and the rest is padded on the device.
            for (batch, least, rows) in [("8", 8, 56), ("1 4 8", 1, 48), ("4 4 8", 4, 49)] {
                let case = format!("{mode}, {input}, {batch}");
                let bench = Bench::new(&plan(input, batch, ""));
                let mut sidecar = bench.serve(&["--mode", mode]).await;
                assert_results(&sidecar.call(45).await, 45);
                assert_results(&sidecar.call(3).await, 3);
                if let Some(report) = sidecar.stop().await {
                    assert_eq!(report.bytes_in, rows * VALUES * bytes, "{case}");
                    // First the engine is examined twice with its smallest batch, and each lane runs a full
                    // one. The two calls are seven batches.
                    let computed = 2 * least + lanes * BATCH + 7 * BATCH;
                    assert_eq!(report.rows, computed, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_empty_rows_of_a_short_batch_hold_zeros_and_no_earlier_frames() {
    for flags in [&[][..], &["--no-cuda-graphs"]] {
        // The engine adds the first values of all rows of a batch to every result.
        let bench = Bench::new(&plan("f32", "1 8 8", "mixes 1"));
        let flags = [&["--mode", "sequential"], flags].concat();
        let mut sidecar = bench.serve(&flags).await;
        for frames in [BATCH, 3, BATCH, 1] {
            let answer = sidecar.call(frames).await;
            let first_values: f32 = (0..frames).map(|k| whole(0, k)[0]).sum();
            for k in 0..frames {
                let added = |output| whole(output, k).iter().map(|v| v + first_values).collect();
                let wanted: [Vec<f32>; 2] = [added(0), added(1)];
                assert_eq!(
                    given(&answer, k),
                    wanted,
                    "{flags:?}, frame {k} of {frames}"
                );
            }
        }
        sidecar.stop().await;
    }
}

#[tokio::test]
async fn a_slow_device_is_waited_for() {
    for (mode, _) in MODES {
        for flags in [&[][..], &["--no-cuda-graphs"], &["--spin"]] {
            let bench = Bench::new(&usual())
                .with("STAND_IN_COMPUTE_US", 3000)
                .with("STAND_IN_COPY_US", 1000);
            let flags = [&["--mode", mode], flags].concat();
            let mut sidecar = bench.serve(&flags).await;
            assert_results(&sidecar.call(45).await, 45);
            sidecar.stop().await;
        }
    }
}

#[tokio::test]
async fn an_output_in_half_precision_is_answered_alike() {
    let text = usual().replace("output amplitude f32", "output amplitude f16");
    let mut sidecar = Bench::new(&text).serve(&[]).await;
    assert_results(&sidecar.call(45).await, 45);
    sidecar.stop().await;
}

#[tokio::test]
async fn only_the_wanted_part_of_a_cropped_output_is_copied() {
    for (mode, _) in MODES {
        for flags in [&[][..], &["--no-cuda-graphs"]] {
            let size = ["--mode", mode, "--output-size", "2x2"];
            let bench = Bench::new(&plan("f32", "8", ""));
            let mut sidecar = bench.serve(&[&size[..], flags].concat()).await;
            let answer = sidecar.call(20).await;
            for k in 0..20 {
                let wanted = [middle(0, k), middle(1, k)];
                assert_eq!(given(&answer, k), wanted, "{mode}, frame {k}");
            }
            if let Some(report) = sidecar.stop().await {
                // From the middle's first pixel, the sixth of the frame, to its last, the eleventh.
                let batches = 3 * BATCH * 6;
                assert_eq!(report.bytes_out, 2 * 4 * batches, "{mode}");
            }
        }
    }
}

#[tokio::test]
async fn an_unselected_output_is_not_copied() {
    for (mode, _) in MODES {
        let flags = ["--mode", mode, "--output", "phase"];
        let mut sidecar = Bench::new(&plan("f32", "8", "")).serve(&flags).await;
        let answer = sidecar.call(20).await;
        for k in 0..20 {
            assert_eq!(given(&answer, k), [whole(1, k)], "{mode}, frame {k}");
        }
        if let Some(report) = sidecar.stop().await {
            let batches = 3 * BATCH * VALUES;
            assert_eq!(report.bytes_out, 4 * batches, "{mode}");
        }
    }
}

#[tokio::test]
async fn frames_of_a_real_size_are_right_whole_and_cropped() {
    const SIDE: usize = 128;
    const FRAMES: usize = 19;
    for input in ["f32", "f16"] {
        for (mode, _) in MODES {
            for (size, part) in [("full", SIDE), ("64x64", 64)] {
                let plan = plan(input, "1 8 8", "").replace(" 4 4", " 128 128");
                let flags = ["--mode", mode, "--output-size", size];
                let mut sidecar = Bench::new(&plan).serve(&flags).await;
                let frames = (0..FRAMES).map(|k| frame_of(k, SIDE * SIDE));
                let answer = sidecar.call_with(frames).await;
                for k in 0..FRAMES {
                    let wanted = |output| middle_of(&whole_of(output, k, SIDE * SIDE), SIDE, part);
                    let right = given(&answer, k) == [wanted(0), wanted(1)];
                    assert!(right, "{input}, {mode}, {size}, frame {k}");
                }
                sidecar.stop().await;
            }
        }
    }
}
