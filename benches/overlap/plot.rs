//! Draws the overlap's figures as an SVG plot: one line per subject over the ratio of arrival to computation.

use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

/// The range of relative times in the plot.
const TIMES: std::ops::Range<f64> = 0.9..2.2;
const COLOURS: [RGBColor; 6] = [
    RGBColor(180, 35, 24),
    RGBColor(154, 103, 0),
    RGBColor(165, 180, 252),
    RGBColor(99, 102, 241),
    RGBColor(37, 99, 235),
    RGBColor(15, 23, 42),
];

/// Writes the plot to `file`. `figures[subject][ratio]` are times relative to the ideal. The ratios are evenly spaced.
pub fn write(
    file: &Path,
    ratios: &[f64],
    subjects: &[&str],
    figures: &[Vec<f64>],
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let area = SVGBackend::new(file, (640, 360)).into_drawing_area();
    area.fill(&WHITE)?;
    let (plot, legend) = area.split_horizontally(480);
    let mut chart = ChartBuilder::on(&plot)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(52)
        .build_cartesian_2d(
            (0..ratios.len() - 1).with_key_points((0..ratios.len()).collect()),
            TIMES,
        )?;
    let ratio = |n: &usize| ratios.get(*n).map_or_else(String::new, f64::to_string);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(223, 227, 232))
        .label_style(("sans-serif", 13))
        .x_desc("a batch's time to arrive ÷ its time to compute")
        .x_label_formatter(&ratio)
        .y_desc("time ÷ ideal")
        .y_label_formatter(&|time| format!("{time:.1}"))
        .y_labels(7)
        .draw()?;
    for (n, ((subject, times), colour)) in subjects.iter().zip(figures).zip(COLOURS).enumerate() {
        let points = times.iter().map(|time| time.min(TIMES.end)).enumerate();
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        let at = 24 + 22 * i32::try_from(n)?;
        legend.draw(&PathElement::new(
            [(4, at), (26, at)],
            colour.stroke_width(2),
        ))?;
        legend.draw(&Text::new(*subject, (34, at - 6), ("sans-serif", 13)))?;
    }
    area.present()?;
    Ok(())
}
