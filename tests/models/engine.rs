//! The lanes, as they are; what they are told by an engine, the program's own.

pub use beamflow::engine::{
    Batch, BatchDimension, Engine, EngineError, HostBuffer, HostMemory, ModelSpec, OutputRows,
    Place, Session, StageTimes, TensorSpec, failure, ordinary_memory, room, warm_up,
};

#[path = "../../src/engine/lane/mod.rs"]
pub(crate) mod lane;
