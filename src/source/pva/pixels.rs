//! The pixels of an image: decompressed, and as a picture for the status page.

use crate::frame::headers::Description;
use crate::frame::values::ValuesMut;
use crate::frame::{BadPixels, Decoder, Pixels, Rejection, Scratch};
use crate::pva::Image;
use crate::telemetry::newest;
use bytes::Bytes;

/// The image as raw pixels.
///
/// # Errors
/// Pixels that its codec cannot have made, and too few or too many of them.
pub(super) fn raw(image: &Image, scratch: &mut Scratch) -> Result<Image, Rejection> {
    let pixels = decoded(image, scratch)?;
    Ok(Image {
        pixels: Bytes::copy_from_slice(pixels.bytes()),
        codec: None,
        ..image.clone()
    })
}

/// The image for the status page of PV `name`; every pixel is shown with its value.
///
/// # Errors
/// Those of [`raw`].
pub(super) fn picture(
    name: &str,
    image: &Image,
    scratch: &mut Scratch,
) -> Result<newest::Image, Rejection> {
    let mut values = vec![0.0; image.shape.height * image.shape.width];
    let pixels = decoded(image, scratch)?;
    pixels.write_to(ValuesMut::F32(&mut values), &BadPixels::off())?;
    let plane = (image.shape.height, image.shape.width, values);
    Ok(newest::Image::new(name.to_owned(), plane))
}

fn decoded<'a>(image: &'a Image, scratch: &'a mut Scratch) -> Result<Pixels<'a>, Rejection> {
    let description = Description {
        number: 0,
        dtype: image.dtype,
        shape: image.shape,
        codec: image.codec,
    };
    let headers = description.headers().collect();
    Decoder::new(image.dtype, image.shape).decode(&image.pixels, &headers, scratch)
}
