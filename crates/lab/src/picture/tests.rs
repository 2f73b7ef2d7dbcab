//! Tests of the picture, from its pixels.

use ndarray::{Array2, s};

use super::*;
use crate::Object;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn target() -> Result<Array2<f64>, Box<dyn std::error::Error>> {
    Ok(Object::test_target(120, 120)?.phase().clone())
}

/// The image area of panel number `panel`, without bars and text.
fn panel(canvas: &Canvas, panel: usize) -> Vec<Option<[u8; 3]>> {
    let left = 82 + panel * 494;
    (60..444)
        .flat_map(|y| (left..left + 384).map(move |x| (x, y)))
        .map(|(x, y)| canvas.pixel(x, y))
        .collect()
}

#[test]
fn the_png_decodes_to_what_was_drawn() -> TestResult {
    let truth = target()?;
    let picture = PhasePicture::new(truth.view(), truth.view()).caption("one line");
    let canvas = picture.draw()?;
    let png = picture.png()?;
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("too large")?];
    let info = reader.next_frame(&mut pixels)?;
    assert_eq!(
        (info.width as usize, info.height as usize),
        (canvas.width(), canvas.height())
    );
    assert_eq!(canvas.width(), 1560);
    assert!(pixels == canvas.to_rgb());
    Ok(())
}

#[test]
fn a_perfect_reconstruction_has_a_blank_difference() -> TestResult {
    let truth = target()?;
    let canvas = PhasePicture::new(truth.view(), truth.view()).draw()?;
    assert!(panel(&canvas, 0) == panel(&canvas, 1));
    let difference = panel(&canvas, 2);
    assert!(
        difference
            .iter()
            .all(|pixel| *pixel == difference.first().copied().flatten())
    );

    let wrong = truth.mapv(|p| p * 0.7);
    let canvas = PhasePicture::new(truth.view(), wrong.view()).draw()?;
    assert!(panel(&canvas, 0) != panel(&canvas, 1));
    assert!(panel(&canvas, 2) != difference);
    Ok(())
}

#[test]
fn the_reconstruction_is_drawn_on_the_truths_scale() -> TestResult {
    let truth = target()?;
    let mut overshooting = truth.clone();
    overshooting.slice_mut(s![..10, ..10]).fill(40.0);
    let canvas = PhasePicture::new(truth.view(), overshooting.view()).draw()?;
    let plain = PhasePicture::new(truth.view(), truth.view()).draw()?;
    assert!(panel(&canvas, 0) == panel(&plain, 0));
    // Only the corner that overshoots changes its colour.
    assert!(panel(&canvas, 1).last() == panel(&plain, 1).last());
    Ok(())
}

#[test]
fn a_longer_caption_gets_more_room() -> TestResult {
    let truth = target()?;
    let picture = PhasePicture::new(truth.view(), truth.view());
    let bare = picture.clone().draw()?;
    let long = picture.clone().caption("many words ".repeat(40)).draw()?;
    assert!(long.height() >= bare.height() + 3 * 20);
    assert_eq!(panel(&bare, 1), panel(&long, 1));
    Ok(())
}

#[test]
fn the_picture_shows_what_was_reconstructed_and_a_rim() -> TestResult {
    let truth = target()?;
    let mut part = Array2::from_elem(truth.dim(), f64::NAN);
    let lit = s![30..70, 20..60];
    part.slice_mut(lit).assign(&truth.slice(lit));
    let picture = PhasePicture::new(truth.view(), part.view());
    assert_eq!(picture.window(), Some((27..73, 17..63)));
    // The axes count pixels of the whole object, not of the part that is shown.
    let canvas = picture.draw()?;
    let cut = s![27..73, 17..63];
    let cut_out = PhasePicture::new(truth.slice(cut), part.slice(cut)).draw()?;
    assert_eq!(panel(&canvas, 1), panel(&cut_out, 1));
    assert_ne!(canvas, cut_out);
    Ok(())
}

#[test]
fn what_cannot_be_drawn_is_an_error() -> TestResult {
    let truth = target()?;
    let cut = truth.slice(s![..50, ..]);
    let picture = PhasePicture::new(truth.view(), cut);
    assert!(matches!(picture.draw(), Err(PictureError::Shape { .. })));
    let nothing = Array2::from_elem(truth.dim(), f64::NAN);
    let picture = PhasePicture::new(nothing.view(), truth.view());
    assert!(matches!(
        picture.draw(),
        Err(PictureError::Nothing("true phase"))
    ));
    let picture = PhasePicture::new(truth.view(), nothing.view());
    assert!(matches!(picture.draw(), Err(PictureError::Nothing(_))));
    let picture = PhasePicture::new(truth.view(), truth.view());
    let result = picture.write_png("/nowhere/at/all.png");
    assert!(matches!(result, Err(PictureError::Write { .. })));
    Ok(())
}
