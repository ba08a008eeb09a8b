//! The accepting side, up to the hello: every stranger in a task of its own.
//!
//! Invariant: the loop never waits for a peer, so a thousand that say nothing
//! hold up nobody. Absent: the answer to the hello, which is the engine's.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::budget::SharedBudget;
use super::gate::{Gate, Pass};
use super::settings::HANDSHAKE_DEADLINE;
use super::{CloseCode, FrameRecv, FrameSend, Incoming, Link, TransportError};
use crate::model::handshake::Hello;
use crate::model::limits::MAX_FRAME_UNAUTHENTICATED;

/// Accepts until the endpoint closes; whoever has said hello goes to `arrivals`.
pub(super) async fn accept_all(endpoint: quinn::Endpoint, arrivals: mpsc::Sender<Incoming>) {
    let (gate, budget) = (Arc::new(Gate::default()), SharedBudget::default());
    while let Some(dial) = endpoint.accept().await {
        if gate.is_busy() && !dial.remote_address_validated() {
            let _ = dial.retry();
            continue;
        }
        // An error here is a first packet that makes no sense; quinn has answered it.
        if let Ok(connecting) = dial.accept() {
            let pass = gate.enter();
            let number = pass.number();
            let task = tokio::spawn(receive(connecting, pass, arrivals.clone(), budget.clone()));
            gate.served_by(number, task.abort_handle());
        }
    }
}

/// Takes one stranger through handshake and hello, and on to the node.
async fn receive(connecting: quinn::Connecting, pass: Pass, arrivals: mpsc::Sender<Incoming>, budget: SharedBudget) {
    let from = connecting.remote_address();
    let (link, hello, control) = match timeout(HANDSHAKE_DEADLINE, greet(connecting, &pass, &budget)).await {
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
) -> Result<Option<(Link, Hello, (FrameSend, FrameRecv))>, TransportError> {
    let connection = connecting.await?;
    pass.shook_hands(&connection);
    let Some(link) = Link::new(connection, budget) else { return Ok(None) };
    let (send, mut recv) = link.accept_bi().await?;
    let hello = recv.recv::<Hello>(MAX_FRAME_UNAUTHENTICATED).await?;
    Ok(hello.map(|hello| (link, hello, (send, recv))))
}
