//! JPEG images of 8-bit pixels.

use super::Damage;
use crate::{Dtype, FrameShape};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

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
    decoder
        .decode_into(to)
        .map_err(|_| Damage::Invalid("its JPEG data cannot be decoded"))
}
