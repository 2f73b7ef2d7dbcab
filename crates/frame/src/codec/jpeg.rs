//! JPEG images of 8-bit pixels. Decoders round differently: a pixel may differ by 1 from what libjpeg makes of it.

use super::Damage;
use crate::{Dtype, FrameShape};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The marker EOI (ITU-T T.81, B.1.1.3).
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

const INVALID: Damage = Damage::Invalid("its JPEG data cannot be decoded");

/// A grey image of `shape` that fills `to`.
pub(super) fn image(
    payload: &[u8],
    dtype: Dtype,
    shape: FrameShape,
    to: &mut [u8],
) -> Result<(), Damage> {
    if dtype.size() != 1 {
        return Err(Damage::Unsupported(format!(
            "JPEG has pixels of 8 bits, and {dtype} has more"
        )));
    }
    // The decoder fills what is missing with grey.
    if !payload.ends_with(&END_OF_IMAGE) {
        return Err(Damage::Ends);
    }
    let options = DecoderOptions::default()
        .set_max_height(shape.height)
        .set_max_width(shape.width)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::Luma);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(payload), options);
    decoder.decode_headers().map_err(|_| {
        Damage::Invalid("its JPEG headers cannot be read, or they give a larger image")
    })?;
    if decoder.input_colorspace() != Some(ColorSpace::Luma) {
        return Err(Damage::Unsupported(
            "it is a colour image, and the model takes grey ones".to_owned(),
        ));
    }
    match decoder.dimensions() {
        Some((width, height)) if width == shape.width && height == shape.height => {}
        dimensions => {
            let (width, height) = dimensions.unwrap_or_default();
            return Err(Damage::Short {
                has: width * height,
                needs: to.len(),
            });
        }
    }
    mark(to, 0);
    decoder.decode_into(to).map_err(|_| INVALID)?;
    if is_marked(to, shape.width, 0) {
        // Either it wrote no last row, or the row looks by accident like the mark.
        mark(to, 1);
        JpegDecoder::new_with_options(ZCursor::new(payload), options)
            .decode_into(to)
            .map_err(|_| INVALID)?;
        if is_marked(to, shape.width, 1) {
            return Err(Damage::Ends);
        }
    }
    Ok(())
}

/// Fills `to` with values that show where the decoder writes none: it is content with data that ends too early.
fn mark(to: &mut [u8], with: u8) {
    for (k, to) in to.iter_mut().enumerate() {
        *to = value(k, with);
    }
}

/// Whether the last row is as [`mark`] left it.
fn is_marked(pixels: &[u8], width: usize, with: u8) -> bool {
    let last = pixels.len().saturating_sub(width);
    let mut row = pixels.iter().enumerate().skip(last);
    row.all(|(k, pixel)| *pixel == value(k, with))
}

/// Neighbours differ more than in an image, and with another `with` all differ.
const fn value(k: usize, with: u8) -> u8 {
    (k as u8).wrapping_mul(167) ^ with
}
