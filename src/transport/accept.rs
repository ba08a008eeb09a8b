//! The accepting side, up to the hello: every stranger in a task of its own.
//!
//! Invariant: the loop never waits for a peer, so a thousand that say nothing
//! hold up nobody. Absent: the answer to the hello, which is the engine's.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::gate::{Gate, Pass};
use super::settings::HANDSHAKE_DEADLINE;
use super::{CloseCode, Incoming, Link, TransportError, negotiate};
use crate::model::handshake::Hello;
use crate::model::limits::MAX_FRAME_UNAUTHENTICATED;

/// Accepts until the endpoint closes; whoever has said hello goes to `arrivals`.
pub(super) async fn accept_all(endpoint: quinn::Endpoint, arrivals: mpsc::Sender<Incoming>) {
    let gate = Arc::new(Gate::default());
    while let Some(dial) = endpoint.accept().await {
        if gate.is_busy() && !dial.remote_address_validated() {
            let _ = dial.retry();
            continue;
        }
        // An error here is a first packet that makes no sense; quinn has answered it.
        if let Ok(connecting) = dial.accept() {
            let pass = gate.enter();
            let number = pass.number();
            let task = tokio::spawn(receive(connecting, pass, arrivals.clone()));
            gate.served_by(number, task.abort_handle());
        }
    }
}

/// Takes one stranger through handshake and hello.
async fn receive(connecting: quinn::Connecting, pass: Pass, arrivals: mpsc::Sender<Incoming>) {
    let from = connecting.remote_address();
    let mut link = None;
    match timeout(HANDSHAKE_DEADLINE, greet(connecting, pass, &mut link)).await {
        Ok(Ok(Some(incoming))) => {
            // Full only when the engine is far behind; waiting here is still bounded by the gate.
            let _ = arrivals.send(incoming).await;
        }
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!(%from, "failed to greet a connecting node: failed to {error}"),
        Err(_) => {
            if let Some(link) = link {
                link.close(CloseCode::TooSlow, "no hello within 5 s");
            }
            tracing::debug!(%from, "a connecting node said no hello in time");
        }
    }
}

/// Handshake and hello; leaves the link in `link` as soon as there is one. `None` for a stranger that was answered here.
async fn greet(
    connecting: quinn::Connecting,
    pass: Pass,
    link: &mut Option<Link>,
) -> Result<Option<Incoming>, TransportError> {
    let connection = connecting.await?;
    pass.shook_hands(&connection);
    let Some(made) = Link::new(connection) else { return Ok(None) };
    let made = link.insert(made).clone();
    let (send, mut recv) = made.accept_bi().await?;
    let Some(hello) = recv.recv::<Hello>(MAX_FRAME_UNAUTHENTICATED).await? else { return Ok(None) };
    let negotiated = negotiate(&hello);
    let incoming = Incoming::new(made, hello, *negotiated.as_ref().unwrap_or(&0), (send, recv), pass);
    match negotiated {
        Ok(_) => Ok(Some(incoming)),
        Err(refusal) => {
            incoming.refuse(refusal).await;
            Ok(None)
        }
    }
}
