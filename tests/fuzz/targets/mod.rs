//! What each fuzz target does with its bytes: any bytes at all, and the promises that hold whatever they are.
//!
//! Used twice: by cargo-fuzz, which looks for bytes that reach new code (`fuzz/`), and by `cargo test`, which replays what was
//! found (`tests/fuzz/main.rs`). A promise that is broken is a panic.

/// Command lines, and the settings that they make.
pub mod arguments;
/// Datums as bytes describe them, and what must be answered to each.
mod datums;
/// Bytes as choices.
mod feed;
/// Payloads and headers, decoded and converted.
pub mod frame;
/// Read batches, given to the handler itself.
pub mod handler;
/// Header maps.
pub mod headers;
/// The `.npy` format, in and out, held against another implementation of it.
pub mod npy;
/// What a simulated device is told to be.
pub mod script;
/// Messages on a `MapFn` stream, allowed by the protocol or not, over the socket.
pub mod stream;

/// The one line that a message to a person is: no line break that came from outside, and no end that a stranger chose.
fn assert_one_line(text: &str, most: usize) {
    assert!(!text.is_empty());
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.chars().count() <= most, "{text:?}");
}
