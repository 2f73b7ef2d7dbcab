//! Compressed frames. The input is a byte each for the codec, the dtype and the shape, and then the payload.

use super::feed::Feed;
use super::frame;
use beamflow::frame::headers::Description;
use beamflow::frame::{Codec, Decoder, Dtype, FrameShape, Rejection, Scratch};
use beamflow::lab::encoder::Encoder;
use std::cell::RefCell;

/// Less than a block, no multiple of 8 pixels, one and several blocks.
const SHAPES: [(usize, usize); 4] = [(3, 5), (23, 41), (8, 16), (64, 96)];

thread_local! {
    /// One for all inputs, as in a sidecar: what one frame leaves behind must not show in the next.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

pub fn target(data: &[u8]) {
    let mut feed = Feed(data);
    let codec = feed.one_of(&Codec::ALL);
    let dtype = feed.one_of(&Dtype::ALL);
    let (height, width) = feed.one_of(&SHAPES);
    let description = Description {
        number: 1,
        dtype,
        shape: FrameShape { height, width },
        codec: Some(codec),
    };
    SCRATCH.with_borrow_mut(|used| check(description, feed.0, used));
}

fn check(description: Description, payload: &[u8], used: &mut Scratch) {
    let decoded = decode(description, payload, &mut Scratch::default());
    assert_eq!(decoded, decode(description, payload, used));
    let pixels = match decoded {
        Ok(pixels) => pixels,
        Err(rejection) => {
            frame::check(&rejection);
            assert_eq!(rejection.kind(), "undecodable");
            assert!(!rejection.to_string().contains("panicked"), "{rejection}");
            return;
        }
    };
    let Description { dtype, shape, .. } = description;
    assert_eq!(Some(pixels.len()), shape.bytes(dtype));
    for encoder in Encoder::ALL {
        let codec = Some(encoder.codec());
        let payload = encoder.encode(&pixels, dtype.size());
        let again = decode(
            Description {
                codec,
                ..description
            },
            &payload,
            used,
        );
        assert_eq!(again.as_ref(), Ok(&pixels), "{encoder}");
    }
}

fn decode(
    description: Description,
    payload: &[u8],
    scratch: &mut Scratch,
) -> Result<Vec<u8>, Rejection> {
    let headers = description.headers().collect();
    let decoder = Decoder::new(Dtype::U8, description.shape);
    let pixels = decoder.decode(payload, &headers, scratch)?;
    assert_eq!(pixels.dtype(), description.dtype);
    Ok(pixels.bytes().to_vec())
}
