//! The report as a page: one file, nothing loaded from elsewhere.

use super::figures::{BenchReport, Case, Round};
use std::fmt::Write;

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>beamflow bench</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2127; }
  table { border-collapse: collapse; width: 100%; margin-bottom: 2rem; }
  th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid #dfe3e8; white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; }
  td.plot { width: 45%; text-align: left; }
  .bar { background: #2563eb; height: .9rem; display: inline-block; vertical-align: middle; }
  .spread { color: #5c6470; font-size: .85em; }
</style>
";

/// The page of a report: for each kind of frame, a bar per subject.
pub(crate) fn of(report: &BenchReport) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a String never fails.
    let _ = write!(
        page,
        "<h1>beamflow bench</h1>\n<p>Version {}, {} cores, read batches of {} datums, turns of {} s. Bars are medians; \
         the range is that of the rounds.</p>\n",
        text(&report.version),
        report.cores,
        report.read_batch,
        report.turn_seconds
    );
    for frame in report.frames() {
        let cases: Vec<_> = report.of_frame(frame).collect();
        let Some(first) = cases.first() else { continue };
        let _ = write!(
            page,
            "<h2>Frames of {}, {}</h2>\n<table><tr><th>subject</th><th>frames/s</th><th></th><th>ratio</th>\
             <th>CPU/frame</th><th>memory</th></tr>\n",
            text(frame),
            text(&first.model)
        );
        let rate = |round: &Round| round.frames_per_second;
        let most = cases
            .iter()
            .map(|case| case.median(rate))
            .fold(0.0, f64::max);
        for case in &cases {
            row(&mut page, case, first, most);
        }
        page.push_str("</table>\n");
    }
    page
}

fn row(page: &mut String, case: &Case, first: &Case, most: f64) {
    let rate = |round: &Round| round.frames_per_second;
    let rates = || case.rounds.iter().map(rate);
    let (low, high) = (
        rates().fold(f64::MAX, f64::min),
        rates().fold(0.0, f64::max),
    );
    let _ = writeln!(
        page,
        "<tr><td>{}</td><td>{:.0}</td><td class=\"plot\"><span class=\"bar\" style=\"width:{:.1}%\"></span> \
         <span class=\"spread\">{low:.0} … {high:.0}</span></td><td>{:.2}</td><td>{:.1} µs</td><td>{:.0} MiB</td></tr>",
        text(&case.subject),
        case.median(rate),
        70.0 * case.median(rate) / most,
        case.ratio(first, rate),
        1e6 * case.median(|round| round.cpu_seconds_per_frame),
        case.median(|round| round.resident_bytes as f64) / 1048576.0,
    );
}

/// Text as HTML.
fn text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
