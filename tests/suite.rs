//! The tests of the program and its parts, in one program that is linked once. A test that needs something that the
//! machine lacks is ignored, with the reason (`#[needs(…)]`).

// Tests and their helpers may panic; clippy.toml allows it only in the tests themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod architecture;
mod black_box;
mod fuzz;
mod host;
mod manifests;
mod pipeline;
#[cfg(feature = "tensorrt-rtx")]
mod tensorrt_rtx;
