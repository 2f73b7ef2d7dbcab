//! The overlap's figures as an SVG plot: a line for each subject over the ratio of arriving to computing.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 24.0;
/// The plot's own width and height.
const ACROSS: f64 = 400.0;
const DOWN: f64 = 270.0;
/// The largest relative time that is drawn.
const MOST: f64 = 2.2;
const COLOURS: [&str; 6] = [
    "#b42318", "#9a6700", "#a5b4fc", "#6366f1", "#2563eb", "#0f172a",
];

/// `figures[subject][ratio]` are times relative to the ideal.
pub fn svg(ratios: &[f64], subjects: &[&str], figures: &[Vec<f64>]) -> String {
    let x = |n: usize| LEFT + ACROSS * n as f64 / (ratios.len().max(2) - 1) as f64;
    let y = |time: f64| TOP + DOWN * (MOST - time.min(MOST)) / (MOST - 0.9);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    // Writing to a String never fails.
    for time in [1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2] {
        let at = y(time);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}h{ACROSS}\" stroke=\"#dfe3e8\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{time:.1}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (n, ratio) in ratios.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{ratio}</text>",
            x(n),
            TOP + DOWN + 20.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">a batch's time to arrive ÷ its time to compute</text>\
         <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">time ÷ ideal</text>",
        LEFT + ACROSS / 2.0,
        TOP + DOWN + 44.0,
        TOP + DOWN / 2.0
    );
    for (n, ((subject, figures), colour)) in subjects.iter().zip(figures).zip(COLOURS).enumerate() {
        let points = figures.iter().enumerate();
        let points: Vec<_> = points
            .map(|(n, time)| format!("{:.1},{:.1}", x(n), y(*time)))
            .collect();
        let at = TOP + 16.0 + 22.0 * n as f64;
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <path d=\"M{:.1} {at:.1}h22\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{subject}</text>",
            points.join(" "),
            LEFT + ACROSS + 20.0,
            LEFT + ACROSS + 50.0,
            at + 4.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
