//! The error of a text that cannot be read as a value.

use std::borrow::Cow;

/// A text that cannot be read as a value: the given text, and what to use instead.
///
/// Every reader of a value in this program has this error, so that all messages have one form: the name of the
/// setting or header, the text that was given, what to use instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is not allowed: use {instead}")]
pub struct BadValue {
    given: String,
    instead: Cow<'static, str>,
}

impl BadValue {
    /// `given` is quoted, and cut if it is long; `instead` follows the word "use", such as "npy or raw".
    #[must_use]
    pub fn new(given: &str, instead: impl Into<Cow<'static, str>>) -> Self {
        Self {
            given: quoted(given),
            instead: instead.into(),
        }
    }

    /// The values to use instead.
    #[must_use]
    pub fn instead(&self) -> &str {
        &self.instead
    }

    /// The same text, where `other` may be used too.
    #[must_use]
    pub fn or(self, other: &str) -> Self {
        let instead = format!("{other} or {}", self.instead).into();
        Self { instead, ..self }
    }
}

/// `text` in quotes, escaped, and cut after 60 characters, because foreign text ends up in logs.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let quoted = |text: &str| format!("'{}'", text.escape_debug());
    match text.char_indices().nth(MOST) {
        None => quoted(text),
        Some((end, _)) => format!("{}…", quoted(text.get(..end).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_control_characters_are_escaped() {
        assert_eq!(quoted("a\nb"), r"'a\nb'");
        let cut = quoted(&"é".repeat(1000));
        let characters = cut.chars().count();
        assert_eq!(characters, 63, "60 characters, two quotes, an ellipsis");
    }
}
