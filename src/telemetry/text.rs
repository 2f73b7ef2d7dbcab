//! Text that comes from outside, made fit for a log line or a message.

/// `text` with the characters escaped that cannot be seen. A value from outside may end in a line break, for example an
/// environment variable that was read from a file.
#[must_use]
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unseen(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Whether `character` is a control character, or one without width or of direction: text from documents and web pages has
/// them, and two names that look alike differ by them.
#[must_use]
pub(crate) fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}
