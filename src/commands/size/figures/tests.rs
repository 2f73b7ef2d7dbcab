use super::*;
use crate::config::Config;
use crate::frame::{OutputDtype, OutputFormat, OutputSize};

fn given(side: usize, size: OutputSize, format: OutputFormat) -> Given {
    Given {
        shape: FrameShape {
            height: side,
            width: side,
        },
        dtype: Dtype::I16,
        batch_size: 8,
        batch_time: Duration::from_millis(4),
        read_timeout: Duration::from_secs(1),
        collection_time: None,
        read_batch: None,
        outputs: 2,
        envelope: Envelope::new(&[1, side, side], size, OutputDtype::Float32, format).unwrap(),
        precision: Precision::Fp32,
        devices_per_replica: 1,
        utilization: 0.8,
        max_payload_bytes: 1 << 20,
    }
}

const SMALL: OutputSize = OutputSize::Size {
    width: 64,
    height: 64,
};

/// Equal but for the last digits.
fn assert_near(is: f64, wanted: f64) {
    assert!(
        (is - wanted).abs() <= wanted.abs() * 1e-12,
        "{is} is not {wanted}"
    );
}

#[test]
fn a_thousand_frames_of_512_squared_with_one_device_by_hand() {
    let given = given(512, SMALL, OutputFormat::Npy);
    let messages = given.messages();
    assert_eq!(messages.frame_bytes, 524_288);
    assert_eq!(messages.result_bytes, 128 + 64 * 64 * 4);
    let sizing = given.at(1000.0);
    assert_near(sizing.bytes_in_per_second, 524_288_000.0);
    assert_near(sizing.bytes_out_per_second, 33_024_000.0);
    assert_near(sizing.batches_per_second, 125.0);
    assert_near(sizing.arrival_seconds, 0.008);
    // 4 ms of work every 8 ms.
    assert_near(sizing.device_load, 0.5);
    assert_eq!((sizing.devices, sizing.replicas), (1, 1));
    assert_near(sizing.utilization, 0.5);
    // 0.5 × 1.25 is less than 1.
    assert_eq!(sizing.pipeline_depth, 1);
    assert_eq!(sizing.read_batch_size, 16);
    // 2 × 16; twice the frames of these, and the results of 16.
    assert_eq!(sizing.concurrency, 32);
    assert_eq!(sizing.numa_bytes, 2 * 32 * 524_288 + 16 * 2 * 16_512);
    // 2 slots × 8 frames × 3 tensors × 512² × 4 bytes.
    assert_eq!(sizing.slots_bytes, 50_331_648);
    assert_eq!(sizing.answer_bytes, 16 * 2 * 16_512);
    // Slots, answers, 16 frames twice, and 32 MiB.
    let frames = 16 * 2 * 524_288;
    assert_eq!(
        sizing.memory_bytes,
        50_331_648 + 528_384 + frames + 33_554_432
    );
    assert_near(sizing.frames_backlog_bytes_per_minute, 31_457_280_000.0);
    assert_near(sizing.results_backlog_bytes_per_minute, 1_981_440_000.0);
    // 16 frames at 1000/s, then 2 batches of 4 ms.
    assert_near(sizing.gather_seconds, 0.016);
    assert_near(sizing.compute_seconds, 0.008);
    assert_near(sizing.latency_seconds, 0.024);
}

#[test]
fn a_given_read_batch_decides_the_memory() {
    let given = Given {
        read_batch: Some(128),
        ..given(512, SMALL, OutputFormat::Npy)
    };
    let sizing = given.at(1000.0);
    assert_eq!((sizing.read_batch_size, sizing.read_batch), (16, 128));
    assert_eq!(sizing.answer_bytes, 128 * 2 * 16_512);
    let in_hand = sizing.answer_bytes + 128 * 2 * 524_288;
    let program = 33_554_432;
    assert_eq!(sizing.memory_bytes, program + sizing.slots_bytes + in_hand);
    assert_eq!(sizing.frames_in_read_batch, 128);
}

#[test]
fn what_one_device_cannot_do_is_spread_over_replicas() {
    let given = given(128, SMALL, OutputFormat::Npy);
    // 5000/s ÷ 8 × 4 ms = 2.5 devices; ÷ 0.8 = 3.125.
    let sizing = given.at(5000.0);
    assert_near(sizing.device_load, 2.5);
    assert_eq!((sizing.devices, sizing.replicas), (4, 4));
    assert_near(sizing.utilization, 0.625);
    assert_near(sizing.inference_to_collection, 0.625);
    assert_eq!(sizing.pipeline_depth, 1);
    // A replica gets 1250/s: 16 frames in 12.8 ms.
    assert_near(sizing.gather_seconds, 0.0128);
}

#[test]
fn devices_of_one_replica_share_its_batches_and_ask_for_depth() {
    let given = Given {
        devices_per_replica: 4,
        ..given(128, SMALL, OutputFormat::Npy)
    };
    let sizing = given.at(5000.0);
    assert_eq!((sizing.devices, sizing.replicas), (4, 1));
    // 2.5 × 1.25 = 3.125, rounded up.
    assert_eq!(sizing.pipeline_depth, 4);
    assert_eq!(sizing.read_batch_size, 40);
    // 5 batches on 4 devices: two rounds.
    assert_near(sizing.compute_seconds, 0.008);
    let more = given.at(6500.0);
    // 3.25 ÷ 0.8 = 4.06: a fifth device, so a second replica of four.
    assert_eq!((more.devices, more.replicas), (5, 2));
    assert_near(more.utilization, 3.25 / 8.0);
}

#[test]
fn a_collection_time_that_is_known_decides_the_depth() {
    let given = Given {
        collection_time: Some(Duration::from_millis(2)),
        ..given(64, SMALL, OutputFormat::Npy)
    };
    let sizing = given.at(1000.0);
    // 4 ms ÷ 2 ms × 1.25 = 2.5, rounded up.
    assert_eq!(sizing.pipeline_depth, 3);
    assert_eq!(sizing.read_batch_size, 32);
    assert_eq!(sizing.devices, 1, "the devices are the detector's affair");
    // 32 frames at 1000/s, 2 ms for the first batch, four batches of 4 ms.
    assert_near(sizing.latency_seconds, 0.032 + 0.002 + 0.016);
}

#[test]
fn slow_collection_needs_replicas() {
    let given = Given {
        collection_time: Some(Duration::from_millis(11)),
        ..given(512, SMALL, OutputFormat::Npy)
    };
    // 11 ms for what arrives in 8 ms; ÷ 0.8 is 1.72.
    let sizing = given.at(1000.0);
    assert_eq!((sizing.devices, sizing.replicas), (1, 2));
    assert_near(sizing.utilization, 0.25);
    assert_eq!(given.at(500.0).replicas, 1);
}

#[test]
fn head_room_is_kept_exactly() {
    let given = given(64, SMALL, OutputFormat::Npy);
    // 1600/s ÷ 8 × 4 ms = 0.8: just enough for one device.
    assert_eq!(given.at(1600.0).devices, 1);
    assert_eq!(given.at(1601.0).devices, 2);
    let full = Given {
        utilization: 1.0,
        ..given
    };
    assert_eq!(full.at(2000.0).devices, 1);
    assert_eq!(full.at(2001.0).devices, 2);
}

#[test]
fn a_slow_detector_gives_what_arrives_within_the_read_timeout() {
    let sizing = given(64, SMALL, OutputFormat::Npy).at(10.0);
    assert_eq!(sizing.read_batch_size, 16);
    assert_eq!(sizing.frames_in_read_batch, 10);
    assert_near(sizing.gather_seconds, 1.0);
    let slower = given(64, SMALL, OutputFormat::Npy).at(0.1);
    assert_eq!(slower.frames_in_read_batch, 1);
    assert_near(slower.gather_seconds, 1.0);
    let hasty = Given {
        read_timeout: Duration::from_millis(200),
        ..given(64, SMALL, OutputFormat::Npy)
    };
    assert_eq!(hasty.at(10.0).frames_in_read_batch, 2);
    assert_near(hasty.at(10.0).gather_seconds, 0.2);
}

#[test]
fn a_message_must_leave_room_for_its_headers() {
    let fits = |side, dtype| {
        let given = Given {
            dtype,
            ..given(side, SMALL, OutputFormat::Npy)
        };
        given.messages().frame_fits
    };
    assert!(fits(512, Dtype::I16));
    // Exactly 1 MiB, and the headers.
    assert!(!fits(512, Dtype::F32));
    assert!(!fits(1024, Dtype::I16));
    let whole = given(512, OutputSize::Full, OutputFormat::Npy).messages();
    assert!(whole.frame_fits && !whole.result_fits);
}

#[test]
fn half_precision_halves_the_input_of_a_slot() {
    let given = Given {
        precision: Precision::Fp16,
        ..given(64, SMALL, OutputFormat::Raw)
    };
    assert_eq!(given.messages().result_bytes, 64 * 64 * 4);
    // 2 slots × 8 frames × (2 + 4 + 4 bytes) × 64².
    assert_eq!(given.at(100.0).slots_bytes, 655_360);
}

#[test]
fn slots_and_read_batch_are_those_of_a_sidecar_with_these_flags() {
    for fps in [1000.0, 5000.0, 12_000.0] {
        let given = Given {
            devices_per_replica: 8,
            ..given(64, SMALL, OutputFormat::Npy)
        };
        let sizing = given.at(fps);
        let depth = sizing.pipeline_depth.to_string();
        let flags = ["--mode", "pipelined", "--pipeline-depth", &depth];
        let reading = crate::cli::read(flags.iter().map(Into::into), |_| None).unwrap();
        let config = Config::try_from(reading.cli.serve).unwrap();
        assert_eq!(config.useful_read_batch(8), sizing.read_batch_size);
        let slot = given.model().batch_bytes(8);
        assert_eq!(config.slots() * slot, sizing.slots_bytes);
    }
}
