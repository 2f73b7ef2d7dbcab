//! The `.npy` format. The input is a byte that selects the test, then an `.npy` file: it is read as it is, or
//! used as numbers that are written like a result and read back.
//!
//! What is a frame is a result as well, with the same values.
//!
//! If both we and another implementation (npyz) read a file, the pixels must be the same: two readings of one
//! file would mean a frame that is silently wrong.

use super::feed::Feed;
use super::frame;
use beamflow::frame::values::{Values, ValuesMut};
use beamflow::frame::{
    BadPixelFill, BadPixelLimit, BadPixels, Decoder, Dtype, Envelope, FloatImage, FrameShape,
    OutputDtype, OutputFormat, OutputSize, Pixels, Scratch,
};
use npyz::{DType, NpyFile, Order, WriterBuilder};
use std::collections::HashMap;

const MAGIC: &[u8] = b"\x93NUMPY";

pub fn target(data: &[u8]) {
    let mut feed = Feed(data);
    match feed.below(3) {
        0 => read(
            &[MAGIC, feed.0].concat(),
            FrameShape {
                height: 2,
                width: 3,
            },
        ),
        1 => written_by_another(&mut feed),
        _ => written_by_us(&mut feed),
    }
}

/// An arbitrary file.
fn read(file: &[u8], shape: FrameShape) {
    let result = FloatImage::read(file, None);
    if let Ok(image) = &result {
        assert_eq!(Some(image.values.len()), image.shape.pixels());
    }
    let mut scratch = Scratch::default();
    let decoded = Decoder::new(Dtype::I16, shape).decode(file, &HashMap::new(), &mut scratch);
    let pixels = match decoded {
        Ok(pixels) => pixels,
        Err(rejection) => return frame::check(&rejection),
    };
    let image = result.expect("a frame is an image");
    assert_eq!(image.shape, shape);
    assert_same(&single(&pixels), &finite(image.values));
    // npyz accepts less of Python's white space than numpy and we do.
    let Ok(theirs) = NpyFile::new(file) else {
        return;
    };
    assert_eq!(theirs.order(), Order::C);
    let [ones @ .., height, width] = theirs.shape() else {
        panic!("{:?} is no image", theirs.shape());
    };
    assert!(ones.iter().all(|axis| *axis == 1));
    assert_eq!((*height, *width), (shape.height as u64, shape.width as u64));
    let DType::Plain(description) = theirs.dtype() else {
        panic!("{:?} is no pixel", theirs.dtype());
    };
    assert_eq!(
        Dtype::from_descr(&description.to_string()),
        Some(pixels.dtype())
    );
    let ours = single(&pixels);
    let theirs: Vec<f32> = match pixels.dtype() {
        Dtype::U8 => values::<u8>(theirs),
        Dtype::I8 => values::<i8>(theirs),
        Dtype::U16 => values::<u16>(theirs),
        Dtype::I16 => values::<i16>(theirs),
        Dtype::U32 => values::<u32>(theirs),
        Dtype::I32 => values::<i32>(theirs),
        Dtype::F32 => values::<f32>(theirs),
        Dtype::F64 => values::<f64>(theirs),
    };
    assert_same(&ours, &finite(theirs));
}

/// A number as `as` makes it a `f32`.
trait Single: npyz::Deserialize {
    fn single(self) -> f32;
}

macro_rules! single {
    ($($type:ty)*) => { $(impl Single for $type {
        fn single(self) -> f32 {
            self as f32
        }
    })* };
}
single!(u8 i8 u16 i16 u32 i32 f32 f64);

fn values<T: Single>(file: NpyFile<&[u8]>) -> Vec<f32> {
    let all: Vec<T> = file.into_vec().unwrap();
    all.into_iter().map(Single::single).collect()
}

fn single(pixels: &Pixels<'_>) -> Vec<f32> {
    let mut row = vec![0.0; pixels.len()];
    let limit = BadPixelLimit::Percent(100.0);
    let bad = BadPixels::new("nan".parse().ok(), BadPixelFill::Zero, limit, None);
    pixels.write_to(ValuesMut::F32(&mut row), &bad).unwrap();
    row
}

/// Pixels that are no finite numbers are bad, and become 0.
fn finite(values: Vec<f32>) -> Vec<f32> {
    let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
    values.into_iter().map(finite).collect()
}

fn assert_same(ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!(
            ours == theirs || ours.is_nan() && theirs.is_nan(),
            "{ours} {theirs}"
        );
    }
}

/// A shape of up to 8 × 8, and as many numbers.
fn image(feed: &mut Feed<'_>) -> (FrameShape, Vec<f32>) {
    let shape = FrameShape {
        height: feed.below(8) + 1,
        width: feed.below(8) + 1,
    };
    let numbers = (0..shape.height * shape.width)
        .map(|_| f32::from_bits(u32::from_le_bytes(std::array::from_fn(|_| feed.byte()))));
    (shape, numbers.collect())
}

/// A file that npyz wrote is read bit for bit, with or without leading ones, and is refused with a byte more or
/// less.
fn written_by_another(feed: &mut Feed<'_>) {
    let mut scratch = Scratch::default();
    let ones = feed.below(4);
    let (shape, numbers) = image(feed);
    let mut axes = vec![1; ones];
    axes.extend([shape.height as u64, shape.width as u64]);
    let mut file = Vec::new();
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&axes)
        .writer(&mut file)
        .begin_nd()
        .unwrap();
    writer.extend(numbers.iter().copied()).unwrap();
    writer.finish().unwrap();
    let decoder = Decoder::new(Dtype::U8, shape);
    let pixels = decoder
        .decode(&file, &HashMap::new(), &mut scratch)
        .unwrap();
    assert_eq!(pixels.dtype(), Dtype::F32);
    assert_same(&single(&pixels), &finite(numbers));
    let shorter = &file[..file.len() - 1];
    let rejection = decoder
        .decode(shorter, &HashMap::new(), &mut scratch)
        .unwrap_err();
    assert_eq!(rejection.kind(), "npy_truncated");
    file.push(0);
    let rejection = decoder
        .decode(&file, &HashMap::new(), &mut scratch)
        .unwrap_err();
    assert_eq!(rejection.kind(), "npy_oversized");
}

/// A file that we wrote is read back: the centre of an output, and nothing else of it.
fn written_by_us(feed: &mut Feed<'_>) {
    let mut scratch = Scratch::default();
    let dtype = feed.one_of(&[OutputDtype::Float32, OutputDtype::Int16]);
    let (width, height) = (feed.below(9), feed.below(9));
    let size = feed.one_of(&[OutputSize::Full, OutputSize::Size { width, height }]);
    let (shape, numbers) = image(feed);
    let output = [1, shape.height, shape.width];
    let envelope = match Envelope::new(&output, size, dtype, OutputFormat::Npy) {
        Ok(envelope) => envelope,
        Err(error) => {
            let too_large = width > shape.width || height > shape.height;
            assert!(
                size != OutputSize::Full && (too_large || width * height == 0),
                "{error}"
            );
            return;
        }
    };
    let file = envelope.encode(Values::F32(&numbers)).unwrap().message;
    assert_eq!(file.len(), envelope.encoded_len());
    let (height, width) = match size {
        OutputSize::Full => (shape.height, shape.width),
        OutputSize::Size { width, height } => (height, width),
    };
    // A leading axis of length 1 is dropped, so an image of one row becomes a vector, which is not a frame.
    if envelope.shape().len() < 2 {
        assert_eq!(shape.height, 1);
        return;
    }
    assert_eq!(envelope.shape(), [height, width]);
    read(&file, FrameShape { height, width });
    let decoder = Decoder::new(Dtype::U8, FrameShape { height, width });
    let pixels = decoder
        .decode(&file, &HashMap::new(), &mut scratch)
        .unwrap();
    let start = |pixels: usize, kept: usize| pixels / 2 - kept / 2;
    let (top, left) = (start(shape.height, height), start(shape.width, width));
    let expected: Vec<f32> = (0..height * width)
        .map(|n| numbers[(top + n / width) * shape.width + left + n % width])
        .map(|value| match dtype {
            OutputDtype::Float32 => value,
            OutputDtype::Int16 => f32::from(value as i16),
        })
        .collect();
    assert_same(&single(&pixels), &finite(expected));
}
