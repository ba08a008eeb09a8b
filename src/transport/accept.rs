//! The accepting side, up to the hello: every stranger in a task of its own.
//!
//! Invariant: the loop never waits for a peer, so a thousand that say nothing
//! hold up nobody. Absent: the answer to the hello, which is the engine's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{ConnectionError, TransportErrorCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::budget::SharedBudget;
use super::gate::{Gate, Pass};
use super::settings::{ALERT_ACCESS_DENIED, HANDSHAKE_DEADLINE};
use super::{CloseCode, FrameRecv, FrameSend, Incoming, Link, TransportError};
use crate::model::handshake::Hello;
use crate::model::limits::MAX_FRAME_UNAUTHENTICATED;

/// Lines about nodes that looked for another key here, in one [`MISTAKEN_PERIOD`]: strangers can provoke them.
const MOST_MISTAKEN: u32 = 10;
const MISTAKEN_PERIOD: Duration = Duration::from_secs(60);

/// Accepts until the endpoint closes; whoever has said hello goes to `arrivals`.
pub(super) async fn accept_all(endpoint: quinn::Endpoint, arrivals: mpsc::Sender<Incoming>) {
    let (gate, budget) = (Arc::new(Gate::default()), SharedBudget::default());
    let mistaken = Arc::new(Mistaken::default());
    while let Some(dial) = endpoint.accept().await {
        if gate.is_busy() && !dial.remote_address_validated() {
            let _ = dial.retry();
            continue;
        }
        // An error here is a first packet that makes no sense; quinn has answered it.
        if let Ok(connecting) = dial.accept() {
            let pass = gate.enter();
            let number = pass.number();
            let task = tokio::spawn(receive(connecting, pass, arrivals.clone(), budget.clone(), Arc::clone(&mistaken)));
            gate.served_by(number, task.abort_handle());
        }
    }
}

/// Takes one stranger through handshake and hello, and on to the node.
async fn receive(
    connecting: quinn::Connecting,
    pass: Pass,
    arrivals: mpsc::Sender<Incoming>,
    budget: SharedBudget,
    mistaken: Arc<Mistaken>,
) {
    let from = connecting.remote_address();
    let (link, hello, control) = match timeout(HANDSHAKE_DEADLINE, greet(connecting, &pass, &budget, &mistaken)).await {
        Ok(Ok(Some(greeted))) => greeted,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return tracing::debug!(%from, "failed to greet a connecting node: failed to {error}"),
        Err(_) => {
            tracing::debug!(%from, "a connecting node said no hello in time");
            return pass.turn_away(CloseCode::TooSlow, "no hello in time");
        }
    };
    // Full only when the engine is far behind; waiting here is still bounded by the gate.
    drop(arrivals.send(Incoming::new(link, hello, control, pass)).await);
}

/// Handshake and hello; `None` for a stranger that ended its stream without a word.
async fn greet(
    connecting: quinn::Connecting,
    pass: &Pass,
    budget: &SharedBudget,
    mistaken: &Mistaken,
) -> Result<Option<(Link, Hello, (FrameSend, FrameRecv))>, TransportError> {
    let from = connecting.remote_address();
    let connection = connecting.await.inspect_err(|error| mistaken.note(from, error))?;
    pass.shook_hands(&connection);
    let Some(link) = Link::new(connection, budget) else { return Ok(None) };
    let (send, mut recv) = link.accept_bi().await?;
    let hello = recv.recv::<Hello>(MAX_FRAME_UNAUTHENTICATED).await?;
    Ok(hello.map(|hello| (link, hello, (send, recv))))
}

/// Nodes that hung up because the key here is not the one they were told to expect: a token or an enrolment of
/// another dispatcher, or of one that was here before.
#[derive(Debug, Default)]
struct Mistaken {
    /// When the present period began, and the lines said in it.
    said: Mutex<Option<(Instant, u32)>>,
}

impl Mistaken {
    /// Says so when that is how a handshake ended, unless enough was said.
    fn note(&self, from: SocketAddr, error: &ConnectionError) {
        let denied = TransportErrorCode::crypto(ALERT_ACCESS_DENIED);
        if matches!(error, ConnectionError::ConnectionClosed(close) if close.error_code == denied)
            && self.may_say(Instant::now())
        {
            let from = super::link::canonical(from);
            tracing::warn!(
                "A node at {from} was told to expect another key here and went away: an old enrolment, or a token of another dispatcher"
            );
        }
    }

    fn may_say(&self, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, lines) = said.filter(|(since, _)| now.duration_since(*since) < MISTAKEN_PERIOD).unwrap_or((now, 0));
        *said = Some((since, (lines + 1).min(MOST_MISTAKEN)));
        lines < MOST_MISTAKEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_fill_a_log_with_mistakes() {
        let mistaken = Mistaken::default();
        let said = |tries: u32, at| (0..tries).filter(|_| mistaken.may_say(at)).count();
        let start = Instant::now();
        assert_eq!(said(1000, start), MOST_MISTAKEN as usize);
        assert_eq!(said(1, start + MISTAKEN_PERIOD), 1);
    }
}
