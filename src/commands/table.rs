//! What the commands print: tables and progress bars.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// Columns as wide as their widest entry; the first to the left, the others to the right.
#[must_use]
pub(crate) fn render<R: AsRef<[String]>>(rows: &[R]) -> String {
    aligned(rows, |column| column == 0)
}

/// As [`render`], with remarks in the last column, which is to the left.
#[must_use]
pub(crate) fn render_with_remarks<R: AsRef<[String]>>(rows: &[R]) -> String {
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    aligned(rows, |column| column == 0 || column + 1 == columns)
}

fn aligned<R: AsRef<[String]>>(rows: &[R], to_the_left: impl Fn(usize) -> bool) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &R| {
        let cells = row.as_ref().iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            if to_the_left(column) {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("  {}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// The duration that `fraction` of the `sorted` ones do not exceed (nearest rank); none if there are none.
#[must_use]
pub(crate) fn percentile(sorted: &[Duration], fraction: f64) -> Duration {
    let rank = (fraction * sorted.len() as f64).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

/// A progress bar on standard error; nothing where that is no terminal.
#[must_use]
pub(crate) fn progress(label: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    // The template is a literal; should it ever be wrong, the default style does.
    if let Ok(style) =
        ProgressStyle::with_template("  {msg:<24} {bar:40} {pos}/{len}  {per_sec:.0}")
    {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.set_message(label.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["mode", "frames"], ["sequential", "9"]].map(|row| row.map(str::to_owned));
        assert_eq!(
            render(&rows),
            "  mode        frames\n  sequential       9\n"
        );
        let rows =
            [["rate", "1", "a remark"], ["load", "0.25", "-"]].map(|row| row.map(str::to_owned));
        assert_eq!(
            render_with_remarks(&rows),
            "  rate     1  a remark\n  load  0.25  -\n"
        );
    }
}
