//! The small numa: the clients of a source and a sink, and source → map → sink as one pipeline, over real sockets.

/// A read, an ack and a write as numa checks them.
mod clients;
/// What becomes of each message when nothing breaks.
mod flow;
/// Parts that are killed in mid-work.
mod kills;
/// Source and sink in memory.
mod memory;
/// Programs of a few lines, each on a runtime of its own.
mod rig;
/// What a sink may answer.
mod verdicts;
