//! Text that comes from outside, made fit for a log line or a message.

/// `text` with its control characters escaped. A value from outside may end in a line break, for example an environment
/// variable that was read from a file.
#[must_use]
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}
