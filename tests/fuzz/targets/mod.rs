//! The fuzz targets: each takes any bytes and checks promises that must hold for all of them.
//!
//! They have two uses: cargo-fuzz searches for bytes that reach new code (`fuzz/`), and `cargo test` replays
//! what it found (`tests/fuzz/main.rs`). A broken promise is a panic.

/// Command lines and their settings.
pub mod arguments;
/// Compressed frames.
pub mod codec;
/// Datums made from bytes, and the expected answer to each.
mod datums;
/// Choices taken from bytes.
mod feed;
/// Payloads and headers, decoded and converted.
pub mod frame;
/// Read batches, passed to the handler directly.
pub mod handler;
/// Header maps.
pub mod headers;
/// Model files, prepared for the CPU engine.
pub mod model;
/// Models files.
pub mod models;
/// The `.npy` format, read and written, compared with another implementation.
pub mod npy;
/// Scripts of the simulated device.
pub mod script;
/// Messages on a `MapFn` stream, valid by the protocol or not, over the socket.
pub mod stream;

/// Asserts that a message for people is one line: foreign text adds no line break.
fn assert_one_line(text: &str, most: usize) {
    assert!(!text.is_empty());
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.chars().count() <= most, "{text:?}");
}
