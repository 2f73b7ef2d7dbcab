//! The four modes, by name.

/// When batches are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Collects all datums of a read batch, then computes batch after batch.
    Sequential,
    /// A collector fills batches and queues them, while workers compute.
    Concurrent,
    /// Computes each batch as soon as it is full.
    Pipelined,
    /// As pipelined, datum by datum instead of in read batches: a unary map.
    Streaming,
}

impl Mode {
    /// Its name, as on the command line.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Concurrent => "concurrent",
            Self::Pipelined => "pipelined",
            Self::Streaming => "streaming",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
