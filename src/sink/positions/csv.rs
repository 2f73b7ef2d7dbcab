//! Comma-separated values: y, x in metres, without a header, as DashPVA and ptychodus write them. More columns are ignored, and
//! so are empty lines and lines that begin with `#`.

use super::Metres;
use super::file::BadContent;
use crate::telemetry::text::escaped;

/// The rows of a file.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Metres>, BadContent> {
    let text = std::str::from_utf8(bytes).map_err(|_| BadContent::NoText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate();
    let lines = lines.map(|(index, line)| (index + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(row, line)| read_row(row, line)).collect()
}

fn read_row(row: usize, line: &str) -> Result<Metres, BadContent> {
    let columns: Vec<_> = line.split(',').map(str::trim).collect();
    let [y, x, ..] = columns.as_slice() else {
        return Err(BadContent::ShortRow {
            row,
            columns: columns.len(),
        });
    };
    let number = |axis, text: &str| {
        let value = text.parse().ok().filter(|value: &f64| value.is_finite());
        value.ok_or_else(|| BadContent::Value {
            row,
            axis,
            value: shown(text),
        })
    };
    Ok(Metres {
        y: number("y", y)?,
        x: number("x", x)?,
    })
}

/// The beginning of a text, in quotes.
fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(60).collect();
    format!("'{}'", escaped(&beginning))
}
