//! The parts of a pipeline: where they listen, and how they are used once they are connected.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::memory::Datums;
use crate::vertex::client::{
    Datum, Driver, DriverError, Message, Nack, Offset, Sink, Source, Verdict,
};

/// Long enough for a model to be loaded and warmed up on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Where a program listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its socket.
    pub sock: PathBuf,
    /// Its server-info file.
    pub server_info: PathBuf,
    /// How long it may take to come up.
    pub ready_within: Duration,
}

impl Address {
    /// A program that may take two minutes to come up.
    pub fn new(sock: impl Into<PathBuf>, server_info: impl Into<PathBuf>) -> Self {
        Self {
            sock: sock.into(),
            server_info: server_info.into(),
            ready_within: READY_WITHIN,
        }
    }

    pub(super) async fn map(&self) -> Result<Driver, DriverError> {
        Driver::wait_ready(&self.server_info, &self.sock, self.ready_within).await
    }
}

/// Where messages come from.
#[derive(Debug)]
pub enum Intake {
    /// A source program.
    Source(Address),
    /// Datums in memory.
    Memory(Datums),
}

/// What a sink in memory does with an output.
type Write = dyn FnMut(&Datum) -> Verdict + Send;

/// Where outputs go.
pub enum Outlet {
    /// A sink program.
    Sink(Address),
    /// A closure.
    Memory(Box<Write>),
}

impl Outlet {
    /// A sink in memory.
    pub fn memory(write: impl FnMut(&Datum) -> Verdict + Send + 'static) -> Self {
        Self::Memory(Box::new(write))
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sink(address) => f.debug_tuple("Sink").field(address).finish(),
            Self::Memory(_) => f.write_str("Memory"),
        }
    }
}

/// A source that is connected.
pub(super) enum Tap<'a> {
    Source(Box<Source>),
    Memory(&'a mut Datums),
}

impl<'a> Tap<'a> {
    /// Connects. What a source in memory had given out before is given back.
    pub(super) async fn open(intake: &'a mut Intake) -> Result<Self, DriverError> {
        match intake {
            Intake::Source(at) => {
                let source = Source::wait_ready(&at.server_info, &at.sock, at.ready_within);
                Ok(Self::Source(Box::new(source.await?)))
            }
            Intake::Memory(datums) => {
                datums.give_back();
                Ok(Self::Memory(datums))
            }
        }
    }

    pub(super) async fn read(
        &mut self,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Message>, DriverError> {
        match self {
            Self::Source(source) => source.read(count, timeout).await,
            Self::Memory(datums) => Ok(datums.read(count, timeout).await),
        }
    }

    pub(super) async fn ack(&mut self, offsets: Vec<Offset>) -> Result<(), DriverError> {
        match self {
            Self::Source(source) => source.ack(offsets).await,
            Self::Memory(datums) => {
                datums.ack(&offsets);
                Ok(())
            }
        }
    }

    pub(super) async fn nack(&mut self, nacks: Vec<Nack>) -> Result<(), DriverError> {
        match self {
            Self::Source(source) => source.nack(nacks).await,
            Self::Memory(datums) => {
                datums.nack(nacks);
                Ok(())
            }
        }
    }

    /// Whether the source has nothing more for now.
    pub(super) async fn is_idle(&mut self) -> Result<bool, DriverError> {
        match self {
            Self::Source(source) => Ok(source.pending().await?.unwrap_or(0) == 0),
            Self::Memory(datums) => Ok(datums.is_over()),
        }
    }
}

/// A sink that is connected.
pub(super) enum Drain<'a> {
    Sink(Box<Sink>),
    Memory(&'a mut Write),
}

impl<'a> Drain<'a> {
    pub(super) async fn open(outlet: &'a mut Outlet) -> Result<Self, DriverError> {
        match outlet {
            Outlet::Sink(at) => {
                let sink = Sink::wait_ready(&at.server_info, &at.sock, at.ready_within);
                Ok(Self::Sink(Box::new(sink.await?)))
            }
            Outlet::Memory(write) => Ok(Self::Memory(write)),
        }
    }

    /// One batch.
    pub(super) async fn write(&mut self, batch: &[Datum]) -> Result<Vec<Verdict>, DriverError> {
        match self {
            Self::Sink(sink) => sink.write(batch).await,
            Self::Memory(write) => Ok(batch.iter().map(write).collect()),
        }
    }
}
