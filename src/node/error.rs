//! Why a node could not start or cannot go on. Each variant has one cause and,
//! where there is something to do about it, a hint. All end with exit code 1.

/// Why a node could not start or cannot go on; the text completes "failed to …".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The system gave no signal handlers.
    #[error("listen for SIGINT and SIGTERM")]
    Signals(#[source] std::io::Error),
}

impl NodeError {
    /// What to do about it, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Signals(_) => None,
        }
    }
}
