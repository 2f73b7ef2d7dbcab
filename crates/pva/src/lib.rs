//! EPICS pvAccess: detector frames in, images and numbers out. Nothing of Numaflow.
//!
//! - [`Monitor`] follows one PV and yields [`Event`]s: connected, disconnected, an [`Update`]. It reconnects by itself.
//! - An [`Update`] is one state of an NTNDArray, the structure in which areaDetector sends images. It is idle, new
//!   metadata, an [`Image`], or refused with the reason. Which updates are *frames* (gaps, repeats, new series) is
//!   not decided here.
//! - [`Server`] serves NTNDArray and NTScalar PVs, read-only.
//!
//! What always holds:
//!
//! 1. Pixels are not changed. Compressed pixels are passed on byte for byte.
//! 2. No bytes from the network cause a panic. Sizes are computed with checked arithmetic, and are compared with the
//!    limit before anything is allocated for them.
//! 3. Nothing waits for a slow reader: neither the client for its program nor the server for its clients. What is
//!    lost is counted.
//! 4. Texts from the network are cut to 256 bytes and have no control characters.
//!
//! `epics-pva-rs` is used here and nowhere else; none of its types is in the interface of this crate. Its functions
//! that start something need a tokio runtime.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use beamflow_pva::{Content, Event, Monitor, MonitorOptions};
//!
//! let mut monitor = Monitor::new(MonitorOptions {
//!     server: Some("udp://ioc.beamline.example".parse()?),
//!     ..MonitorOptions::new("13SIM1:Pva1:Image")
//! });
//! loop {
//!     if let Event::Update(update) = monitor.next().await
//!         && let Content::Image(image) = update.content
//!     {
//!         println!("{:?}: {} {}", update.unique_id, image.shape, image.dtype);
//!     }
//! }
//! # }
//! ```

#![forbid(unsafe_code)]
#![deny(unreachable_pub)]

/// Where a PV's server is.
mod address;
/// From the bytes of a monitor update to a complete value.
mod change;
/// Reading fields of values that another program made.
mod field;
/// One PV, followed for as long as the program runs.
mod monitor;
/// NTNDArray: the structure, read and written.
mod ntndarray;
/// PVs that this program serves.
mod post;

pub use address::ServerAddress;
pub use monitor::{Event, Monitor, MonitorOptions, Restart};
pub use ntndarray::{
    Attribute, Content, Image, NewImage, ReadOptions, Refusal, Unwritable, Update,
};
pub use post::{ImagePv, NumberPv, PostError, Server, ServerError, ServerOptions};
