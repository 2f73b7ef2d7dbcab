//! Compressed frames give the results of the same frames uncompressed, and damaged ones their reason.

use crate::black_box::common::{Host, values};
use beamflow::frame::{Dtype, FrameShape, headers};
use beamflow::lab::encoder::Encoder;
use beamflow::lab::stack::FrameStack;
use beamflow::vertex::client::Datum;
use futures::stream;

const SHAPE: FrameShape = FrameShape {
    height: 24,
    width: 50,
};
const MODEL: &[&str] = &[
    "--model-path",
    "sim:size=24x50",
    "--bsz-size",
    "4",
    "--output-size",
    "full",
];

/// Frames of uint16, each with pixels of its own.
fn frames() -> FrameStack {
    let pixels = SHAPE.pixels().unwrap();
    let value = |k: usize| ((k * 7 + k / pixels * 311) % 5003) as u16;
    let bytes = (0..40 * pixels).flat_map(|k| value(k).to_le_bytes());
    FrameStack::new(Dtype::U16, SHAPE, bytes.collect()).unwrap()
}

fn datum(stack: &FrameStack, k: usize) -> Datum {
    let mut datum = Datum::new(k.to_string(), stack.frame(k).to_vec());
    datum.headers.extend(stack.describe(k as u64).headers());
    datum
}

#[tokio::test]
async fn compressed_frames_give_the_results_of_raw_ones() {
    let raw = frames();
    let compressed = Encoder::ALL.map(|encoder| raw.compressed(encoder));
    for mode in ["sequential", "concurrent", "pipelined"] {
        for decoders in ["1", "3"] {
            let flags = ["--mode", mode, "--decoders", decoders];
            let host = Host::start(&[MODEL, &flags].concat()).await;
            let mut driver = host.driver().await;
            let mut results = Vec::new();
            for stack in [&raw].into_iter().chain(&compressed) {
                let datums: Vec<_> = (0..40).map(|k| datum(stack, k)).collect();
                let answer = driver.call(stream::iter(datums)).await.unwrap();
                let of = |k: usize| answer.get(&k.to_string()).unwrap()[0].value.clone();
                results.push((0..40).map(of).collect::<Vec<_>>());
            }
            // Raw and compressed ones in one read batch, each kind beside the others.
            let stacks: Vec<_> = [&raw].into_iter().chain(&compressed).collect();
            let mixed = (0..40).map(|k| datum(stacks[k % 4], k)).collect::<Vec<_>>();
            let answer = driver.call(stream::iter(mixed)).await.unwrap();
            let of = |k: usize| answer.get(&k.to_string()).unwrap()[0].value.clone();
            results.push((0..40).map(of).collect());
            for (k, first) in results[0].iter().enumerate() {
                let pixels = raw.frame(k).as_chunks::<2>().0.iter();
                let pixels = pixels.map(|pixel| f32::from(u16::from_le_bytes(*pixel)));
                assert_eq!(values(first), expected(pixels), "{mode}, frame {k}");
                for other in &results {
                    assert_eq!(&other[k], first, "{mode}, --decoders {decoders}, frame {k}");
                }
            }
            host.stop().await;
        }
    }
}

/// What the simulated device makes of pixels.
fn expected(pixels: impl Iterator<Item = f32>) -> Vec<f32> {
    pixels
        .enumerate()
        .map(|(position, pixel)| beamflow::engine::simulated::expected(0, position, pixel))
        .collect()
}

#[tokio::test]
async fn a_damaged_frame_is_a_dead_letter_and_no_other_is_lost() {
    let stack = frames().compressed(Encoder::Bslz4);
    let mut datums: Vec<_> = (0..9).map(|k| datum(&stack, k)).collect();
    datums[1].value.truncate(100);
    datums[3]
        .headers
        .insert(headers::CODEC.into(), "lzma".into());
    datums[5]
        .headers
        .insert(headers::DTYPE.into(), "uint8".into());
    // As it came from the detector, but nobody said that it is compressed.
    datums[7].headers.remove(headers::CODEC);
    let sent: Vec<_> = datums.iter().map(|datum| datum.value.clone()).collect();
    let host = Host::start(&[MODEL, &["--on-invalid", "tag:rejected"]].concat()).await;
    let mut driver = host.driver().await;
    let answer = driver.call(stream::iter(datums)).await.unwrap();
    let reasons = [
        (
            1,
            "no 24x50 uint16 frame compressed with bslz4: it ends in the middle of the frame",
        ),
        (
            3,
            "header x-codec is 'lzma': use one of none, lz4, lz4hdf5, bslz4, blosc, zlib, jpeg",
        ),
        (5, "no 24x50 uint8 frame compressed with bslz4: "),
        (7, "if the frame is compressed, name its codec in x-codec"),
    ];
    for (k, sent) in sent.iter().enumerate() {
        let message = &answer.get(&k.to_string()).unwrap()[0];
        let Some((_, words)) = reasons.iter().find(|(at, _)| *at == k) else {
            assert!(message.tags.is_empty(), "{k}");
            continue;
        };
        assert_eq!(message.tags, ["rejected"], "{k}");
        assert_eq!(message.value, *sent, "{k}");
        let notes = &message.metadata.as_ref().unwrap().user_metadata["beamflow"].key_value;
        let reason = String::from_utf8(notes["reason"].clone()).unwrap();
        assert!(reason.contains(words), "{k}: {reason}");
    }
    let totals = host.counts.totals();
    assert_eq!((totals.done, totals.rejected), (5, 4));
    host.stop().await;
}
