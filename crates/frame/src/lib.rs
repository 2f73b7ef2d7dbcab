//! Translates datums into a model's input, and a model's output into messages.
//!
//! Numaflow carries bytes and a map of text headers. A model takes a row of `f32` or `f16`. The next vertex
//! needs a format that it can read without this program. This crate holds both translations; it does not know
//! batches, engines or Numaflow's types.
//!
//! **In.** A [`Decoder`] is made once, with the default frame type (`--frame-dtype`) and the height and width
//! of the model's input. A payload is either
//!
//! * raw little-endian pixels, row by row, of that type and shape, or
//! * an `.npy` image, recognised by its magic `\x93NUMPY`, which names its own type and shape.
//!
//! [`headers`] describe one datum: `x-frame-dtype` overrides the pixel type of a raw payload, `x-frame-shape` its shape,
//! `x-txn-id` is its [`frame_id`]. With an `.npy` payload the first two may only repeat what the array says. With `x-codec` the
//! payload is compressed raw pixels ([`Codec`]).
//!
//! The magic takes precedence: a raw frame that begins with those six bytes is read as `.npy`. As int16 its
//! first three pixels would be 20115, 19797, 22864, which a camera does not produce by accident. A producer
//! that might should send `.npy` always.
//!
//! **Out.** An [`Envelope`] is made once per model output: it crops the centre, converts, and prepends the
//! `.npy` header that it computed at start-up.
//!
//! **In between.** [`numbers`] finds missing frames from their numbers.
//!
//! Invariants:
//!
//! 1. No input causes a panic, and neither payload nor header can choose the size of an allocation.
//! 2. A frame is copied once, by [`Pixels::write_to`], directly into its batch. A compressed frame is decoded into a
//!    [`Scratch`] before.
//! 3. A [`Pixels`] has exactly as many pixels as the model takes; everything else is a
//!    [`Rejection`] that says what was given, what is expected and what to do about it.
//! 4. No value is rounded silently: `float32` results are the engine's, bit for bit.
//!
//! [`Decoder`]: crate::Decoder
//! [`frame_id`]: crate::frame_id()
//! [`Envelope`]: crate::Envelope
//! [`Pixels`]: crate::Pixels
//! [`Pixels::write_to`]: crate::Pixels::write_to
//! [`Rejection`]: crate::Rejection
//!
//! ```
//! use std::collections::HashMap;
//! use beamflow_frame::{
//!     BadPixels, Decoder, Dtype, Envelope, FrameShape, OutputDtype, OutputFormat, OutputSize, Scratch, frame_id,
//! };
//! use beamflow_frame::values::{Values, ValuesMut};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let decoder = Decoder::new(Dtype::I16, FrameShape { height: 2, width: 3 });
//! let headers = HashMap::from([("x-txn-id".to_owned(), "scan7/42".to_owned())]);
//! let payload: Vec<u8> = [-1i16, 0, 1, 2, 3, 4].iter().flat_map(|p| p.to_le_bytes()).collect();
//!
//! // In: borrowed from the payload, then converted into the row of a batch.
//! assert_eq!(frame_id(&headers, "17-0"), "scan7/42");
//! let mut scratch = Scratch::default();
//! let pixels = decoder.decode(&payload, &headers, &mut scratch)?;
//! let mut row = vec![0.0; pixels.len()];
//! pixels.write_to(ValuesMut::F32(&mut row), &BadPixels::default())?;
//! assert_eq!(row, [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
//!
//! // A frame of the wrong size is rejected with the reason.
//! let rejection = decoder.decode(&payload[..10], &headers, &mut Scratch::default()).unwrap_err();
//! assert_eq!(rejection.kind(), "wrong_size");
//!
//! // Out: an output of shape (1, 2, 3) per frame, its centre of width 1 and height 2.
//! let size: OutputSize = "1x2".parse()?;
//! let envelope = Envelope::new(&[1, 2, 3], size, OutputDtype::Float32, OutputFormat::Npy)?;
//! assert_eq!(envelope.shape(), [2, 1]);
//! assert_eq!(envelope.encode(Values::F32(&row))?.message.len(), 128 + 2 * 4);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![deny(unreachable_pub)]

/// Pixels that are no measurements.
mod bad_pixels;
/// The error of every reader of a value.
mod bad_value;
/// Compressed frames.
mod codec;
/// Payload and headers to [`Pixels`] or a [`Rejection`].
mod decode;
/// The eight pixel types.
mod dtype;
/// Model output to message bytes.
mod envelope;
/// A result as float32.
mod float_image;
/// The headers of a datum.
pub mod headers;
/// The `.npy` format: a borrowed reader and a header writer.
pub mod npy;
/// Missing, late and repeated frames.
pub mod numbers;
/// Type, format and size of results.
mod output;
/// Borrowed pixels and the one conversion to the model's type.
mod pixels;
/// A position on the object.
mod position;
/// Reasons to refuse a frame.
mod rejection;
/// Height × width, and how sizes are read from text.
mod shape;
/// Values in single or half precision.
pub mod values;

pub use bad_pixels::{BadPixelFill, BadPixelLimit, BadPixelRule, BadPixels, Mask, MaskError};
pub use bad_value::BadValue;
pub use codec::{Codec, Damage, Scratch};
pub use decode::Decoder;
pub use dtype::Dtype;
pub use envelope::{Encoded, Envelope, EnvelopeError, crop_start};
pub use float_image::{FloatImage, NoImage};
pub use headers::{frame_id, frame_number};
pub use output::OutputDtype;
pub use output::{OutputFormat, OutputSize};
pub use pixels::LengthMismatch;
pub use pixels::Pixels;
pub use position::Position;
pub use rejection::Rejection;
pub use shape::FrameShape;
