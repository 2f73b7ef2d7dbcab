//! The lanes, as they are; what they are told by an engine, the program's own.

pub use beamflow::engine::*;

#[path = "../../src/engine/lane/mod.rs"]
pub mod lane;
