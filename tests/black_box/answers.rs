//! Every datum of a call gets exactly one response, with its own result.
//!
//! The driver is strict: it reports a missing, repeated or empty response as an error of the call.

use crate::black_box::common::{
    Host, MODES, SIDE, SIM, assert_result, bad, call, good, pixels, result, values,
};
use beamflow::vertex::client::Datum;
use futures::{StreamExt, stream};
use std::time::Duration;

#[tokio::test]
async fn short_last_batch_is_answered_in_every_mode() {
    for mode in MODES {
        let host = Host::start(&["--mode", mode, "--model-path", SIM]).await;
        let mut driver = host.driver().await;
        // 8 is a full batch; the other sizes leave a short one.
        for frames in [1, 7, 8, 9, 8 * 4 + 3] {
            let answer = call(&mut driver, frames).await;
            assert_eq!(answer.len(), frames, "{mode}");
            (0..frames).for_each(|k| assert_result(&answer, k));
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn padding_of_short_batches_is_never_answered() {
    for mode in MODES {
        let model = format!("{SIM},batch=8");
        let host = Host::start(&["--mode", mode, "--model-path", &model]).await;
        let mut driver = host.driver().await;
        call(&mut driver, 16).await;
        let answer = call(&mut driver, 11).await;
        assert_eq!(answer.len(), 11, "{mode}");
        (0..11).for_each(|k| assert_result(&answer, k));
        let totals = host.counts.totals();
        assert_eq!(totals.frames, 27, "{mode}");
        assert_eq!(totals.padding, 8 * totals.batches - 27, "{mode}");
        // In a stream, batches may be short.
        assert!(totals.batches == 4 || mode == "streaming", "{mode}");
        host.stop().await;
    }
}

#[tokio::test]
async fn a_read_batch_of_no_datums_is_answered_in_every_mode() {
    for mode in MODES {
        let host = Host::start(&["--mode", mode, "--model-path", SIM]).await;
        let mut driver = host.driver().await;
        assert!(call(&mut driver, 0).await.is_empty(), "{mode}");
        assert_eq!(call(&mut driver, 1).await.len(), 1, "{mode}");
        host.stop().await;
    }
}

#[tokio::test]
async fn five_thousand_datums_are_answered_in_every_mode() {
    for mode in MODES {
        let host = Host::start(&["--mode", mode, "--model-path", SIM]).await;
        let mut driver = host.driver().await;
        let answer = call(&mut driver, 5_000).await;
        assert_eq!(answer.len(), 5_000, "{mode}");
        (0..5_000).for_each(|k| assert_result(&answer, k));
        host.stop().await;
    }
}

#[tokio::test]
async fn bad_frames_do_not_affect_their_neighbours() {
    for mode in MODES {
        let host = Host::start(&["--mode", mode, "--model-path", SIM]).await;
        let mut driver = host.driver().await;
        let is_bad = |k: usize| k.is_multiple_of(3);
        let datums = (0..50).map(|k| if is_bad(k) { bad(k) } else { good(k) });
        let answer = driver.call(stream::iter(datums)).await.unwrap();
        assert_eq!(answer.len(), 50, "{mode}");
        for k in 0..50 {
            if is_bad(k) {
                assert!(answer.is_dropped(&k.to_string()), "{mode}: frame {k}");
            } else {
                assert_result(&answer, k);
            }
        }
        let totals = host.counts.totals();
        assert_eq!(
            (totals.frames, totals.done, totals.rejected),
            (50, 33, 17),
            "{mode}"
        );
        assert_eq!(totals.rejections.values().sum::<u64>(), 17, "{mode}");
        host.stop().await;
    }
}

#[tokio::test]
async fn a_read_batch_of_bad_frames_alone_is_answered_in_every_mode() {
    for mode in MODES {
        let host = Host::start(&["--mode", mode, "--model-path", SIM]).await;
        let mut driver = host.driver().await;
        let answer = driver.call(stream::iter((0..20).map(bad))).await.unwrap();
        assert!((0..20).all(|k| answer.is_dropped(&k.to_string())), "{mode}");
        assert_eq!(host.counts.totals().batches, 0, "{mode}");
        host.stop().await;
    }
}

#[tokio::test]
async fn two_calls_in_a_row_are_independent() {
    for mode in MODES {
        let host = Host::start(&["--mode", mode, "--model-path", SIM]).await;
        let mut driver = host.driver().await;
        for _ in 0..2 {
            let answer = call(&mut driver, 13).await;
            assert_eq!(answer.len(), 13, "{mode}");
            (0..13).for_each(|k| assert_result(&answer, k));
        }
        let read_batches = if mode == "streaming" { 0 } else { 2 };
        assert_eq!(host.counts.totals().calls, read_batches, "{mode}");
        host.stop().await;
    }
}

#[tokio::test]
async fn datums_with_one_id_each_get_a_response() {
    let host = Host::start(&["--model-path", SIM]).await;
    let mut driver = host.driver().await;
    let same = || {
        let mut datum = good(5);
        datum.id = "same".into();
        datum
    };
    let answer = driver
        .call(stream::iter([same(), same(), same()]))
        .await
        .unwrap();
    assert_eq!(answer.len(), 3);
    host.stop().await;
}

#[tokio::test]
async fn several_outputs_are_several_messages_tagged_with_their_names() {
    let model = format!("{SIM},outputs=2");
    let host = Host::start(&["--model-path", &model]).await;
    let mut driver = host.driver().await;
    let answer = call(&mut driver, 3).await;
    for k in 0..3 {
        let messages = answer.get(&k.to_string()).unwrap();
        assert_eq!(messages.len(), 2);
        for (output, message) in messages.iter().enumerate() {
            assert_eq!(message.tags, [format!("output_{output}")]);
            assert_eq!(message.keys, [format!("key-{k}")]);
            assert_eq!(values(&message.value), result(output, k));
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn a_selected_output_is_sent_alone_and_untagged() {
    let model = format!("{SIM},outputs=2");
    let host = Host::start(&["--model-path", &model, "--output", "output_1"]).await;
    let mut driver = host.driver().await;
    let answer = call(&mut driver, 1).await;
    let messages = answer.get("0").unwrap();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].tags.is_empty());
    assert_eq!(values(&messages[0].value), result(1, 0));
    host.stop().await;
}

#[tokio::test]
async fn the_dead_letter_carries_the_original_payload_keys_and_tag() {
    let host = Host::start(&["--model-path", SIM, "--on-invalid", "tag:rejected"]).await;
    let mut driver = host.driver().await;
    let mut wrong = bad(0);
    wrong.keys = vec!["shelf".into()];
    let answer = driver.call(stream::iter([wrong, good(1)])).await.unwrap();
    let messages = answer.get("0").unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].value, b"no frame");
    assert_eq!(messages[0].tags, ["rejected"]);
    assert_eq!(messages[0].keys, ["shelf"]);
    assert_result(&answer, 1);
    host.stop().await;
}

#[tokio::test]
async fn results_are_cut_from_the_centre_and_int16_truncates() {
    let flags = [
        "--model-path",
        SIM,
        "--output-size",
        "2x2",
        "--output-dtype",
        "int16",
        "--output-format",
        "raw",
    ];
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    let answer = call(&mut driver, 1).await;
    let whole = result(0, 0);
    let centre = [5, 6, 9, 10].map(|position: usize| whole[position].trunc() as i16);
    let expected: Vec<u8> = centre.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(answer.get("0").unwrap()[0].value, expected);
    host.stop().await;
}

#[tokio::test]
async fn headers_and_npy_set_the_type_of_a_frame() {
    let host = Host::start(&["--model-path", SIM]).await;
    let mut driver = host.driver().await;
    let floats: Vec<u8> = pixels(3)
        .iter()
        .flat_map(|p| f32::from(*p).to_le_bytes())
        .collect();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4), }";
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend(&floats);
    let datums = [
        Datum::new("header", floats.clone()).with_header("x-frame-dtype", "float32"),
        Datum::new("npy", npy),
        Datum::new("neither", floats),
        good(3).with_header("x-frame-shape", "8x2"),
    ];
    let answer = driver.call(stream::iter(datums)).await.unwrap();
    for id in ["header", "npy"] {
        assert_eq!(
            values(&answer.get(id).unwrap()[0].value),
            result(0, 3),
            "{id}"
        );
    }
    assert!(answer.is_dropped("neither"));
    assert!(answer.is_dropped("3"));
    host.stop().await;
}

/// A frame that is rejected for its pixels has a slot already. The batch timeout must not end the call with an empty batch.
#[tokio::test]
async fn a_pause_after_a_rejected_first_frame_ends_no_call() {
    for mode in MODES {
        let flags = [
            "--mode",
            mode,
            "--model-path",
            SIM,
            "--batch-timeout",
            "1ms",
            "--bad-pixels",
            "above=32000",
            "--max-bad-pixels",
            "0",
        ];
        let host = Host::start(&flags).await;
        let mut driver = host.driver().await;
        let mut bright = good(0);
        bright.value = [i16::MAX; SIDE * SIDE].map(i16::to_le_bytes).concat();
        let datums =
            stream::iter([bright, good(1), good(2)])
                .enumerate()
                .then(async |(k, datum)| {
                    // Longer than the timeout.
                    if k == 1 {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    datum
                });
        let answer = driver.call(datums).await.unwrap();
        assert!(answer.is_dropped("0"), "{mode}");
        (1..3).for_each(|k| assert_result(&answer, k));
        host.stop().await;
    }
}
