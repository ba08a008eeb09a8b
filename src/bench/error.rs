//! What can stop a bench: one variant a cause.
//!
//! Each text is a fragment that completes "failed to …"; `hint` says what to do
//! about it.

use std::io;

use crate::blob::BlobError;
use crate::client::ClientError;
use crate::model::{JobId, Millis};
use crate::transport::TransportError;
use crate::wire::WireError;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Between us and the dispatcher.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The bare link could not be opened or broke.
    #[error("measure bare QUIC on loopback: failed to {0}")]
    Bare(#[from] TransportError),
    /// The command could not be started here, where its limit is measured.
    #[error("start {program:?} here, to measure what it takes by itself")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It was started and failed, so that there is nothing to compare with.
    #[error("measure a command that fails: here it ended with {0}")]
    CommandFails(std::process::ExitStatus),
    /// Tasks of the bench did not succeed.
    #[error("measure tasks that fail: {failed} of job {job} did not succeed")]
    TasksFail {
        /// Their job.
        job: JobId,
        /// How many.
        failed: u64,
    },
    /// What was to come back was not what was sent.
    #[error("get back what was sent: {received} of {sent} bytes arrived")]
    BytesLost {
        /// Out.
        sent: u64,
        /// And back.
        received: u64,
    },
    /// Nobody could take a task.
    #[error("find a worker: none is connected that takes tasks")]
    NoWorker,
    /// Not even one round fitted into the time.
    #[error("end one round of the bench: not done after {0}")]
    TooSlow(Millis),
    /// Files to be sent could not be made.
    #[error("make files to send in the folder for temporary ones")]
    Scratch(#[source] io::Error),
    /// They could not be read, or what came back not be written.
    #[error("{0}")]
    Files(#[source] BlobError),
    /// They could not be listed for others.
    #[error("list the files")]
    Manifest(#[source] WireError),
    /// The system gave no random bits.
    #[error("get random bits from the system")]
    Random(#[source] getrandom::Error),
    /// A thread of ours ended without an answer, which only a bug can cause.
    #[error("hear from the thread that measures the limit")]
    ThreadGone,
}

impl BenchError {
    /// What to do about it, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Client(error) => return error.hint(),
            Self::NoWorker => "start one with `octaskly worker`; `octaskly workers` lists them",
            Self::TooSlow(_) => "give it more time with --seconds, or less to do",
            Self::CommandFails(_) | Self::TasksFail { .. } => "bench a command that ends with 0 on every machine",
            Self::Scratch(_) | Self::Files(_) => "the folder is TMPDIR; less is needed with a smaller --size",
            Self::Bare(_)
            | Self::Spawn { .. }
            | Self::BytesLost { .. }
            | Self::Manifest(_)
            | Self::Random(_)
            | Self::ThreadGone => return None,
        };
        Some(text.to_owned())
    }
}
