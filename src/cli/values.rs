//! What all values have in common, whatever they are values of.

use crate::config::parse;
use crate::frame::BadValue;
use std::ffi::{OsStr, OsString};

/// `text` without white space at its ends. Text that is not UTF-8 is left as it is: a path may be.
pub(super) fn trimmed(text: &OsStr) -> OsString {
    text.to_str()
        .map_or_else(|| text.to_owned(), |text| text.trim().into())
}

/// The value of `setting`, trimmed and checked; the parts of a list one by one, without the blank ones.
///
/// # Errors
/// The mistake in one line.
pub(super) fn tidy(
    setting: &str,
    value: &OsStr,
    delimiter: Option<char>,
) -> Result<OsString, String> {
    let Some(text) = value.to_str() else {
        return Ok(value.to_owned());
    };
    let Some(delimiter) = delimiter else {
        let text = text.trim();
        check(setting, text)?;
        return Ok(text.into());
    };
    let parts = text.split(delimiter).map(str::trim);
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    for part in &parts {
        check(setting, part)?;
    }
    Ok(parts.join(&delimiter.to_string()).into())
}

/// The mistake of a variable whose value has further flags in it.
pub(super) fn several(setting: &str, text: &str) -> String {
    refused(
        setting,
        text.trim(),
        "a value alone; each flag in it is a setting of its own",
    )
}

/// Refuses a trimmed value that cannot be what was meant.
///
/// # Errors
/// The mistake in one line.
pub(super) fn check(setting: &str, text: &str) -> Result<(), String> {
    let cleaned = parse::clean(text).map(drop);
    cleaned.map_err(|wrong| format!("{setting}: {wrong}"))
}

/// The mistake of a value that is no UTF-8 text; `lossy` is what can be read of it.
pub(super) fn not_text(setting: &str, lossy: &str) -> String {
    refused(setting, lossy.trim(), "UTF-8 text")
}

/// The value of a yes/no setting.
///
/// # Errors
/// The mistake in one line.
pub(super) fn yes_or_no(setting: &str, value: &OsStr) -> Result<bool, String> {
    parse::yes_or_no(&value.to_string_lossy()).map_err(|wrong| format!("{setting}: {wrong}"))
}

fn refused(setting: &str, text: &str, instead: &'static str) -> String {
    format!("{setting}: {}", BadValue::new(text, instead))
}
