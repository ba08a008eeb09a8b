//! What QUIC alone takes on this machine: the limit beside which the figures of
//! `octaskly bench` stand.
//!
//! Two bare quinn endpoints on loopback with the TLS and the windows of every
//! link of ours, each on one thread as ours are, and nothing else: no hello, no
//! frames, no gate. The one invariant: nobody else is answered, for both sides
//! have one key, which is made for them and forgotten with them. Absent: the
//! time, which is the caller's to take.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use quinn::{Connection, EndpointConfig, ReadExactError, ReadToEndError, RecvStream, SendStream, TokioRuntime, VarInt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::budget::SharedBudget;
use super::settings::HANDSHAKE_DEADLINE;
use super::{Alpn, Link, TransportError, settings, socket};
use crate::model::NodeId;
use crate::model::limits::DATA_FRAME;
use crate::trust::{Identity, tls};

/// What goes there and back in a round trip: as much as a small message.
const WORD: usize = 64;
/// Any free port of this machine alone.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Longer than any exchange on loopback; a caller never waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection of two endpoints of this process that carries bytes and nothing more. All calls block.
pub struct BareLink {
    /// Taken when dropped.
    runtime: Option<Runtime>,
    connection: Connection,
    echo: (SendStream, RecvStream),
    /// Ends the other side's thread when dropped.
    _stop: oneshot::Sender<()>,
}

impl BareLink {
    /// Opens both endpoints and connects them.
    ///
    /// # Errors
    /// When the machine gives no socket or thread on loopback.
    pub fn open() -> Result<Self, TransportError> {
        let identity = Identity::ephemeral()?;
        let (address, stop) = serve(&identity)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(TransportError::Thread)?;
        let config = settings::client(&identity, Alpn::Client)?;
        let connected = runtime.block_on(async {
            let endpoint = endpoint(None)?;
            let connecting = endpoint.connect_with(config, address, &tls::server_name_text(identity.id()));
            let connecting = connecting.map_err(|_| TransportError::BadAddress(address))?;
            let connection =
                timeout(HANDSHAKE_DEADLINE, connecting).await.map_err(|_| TransportError::NoAnswer(address))??;
            let mut echo = connection.open_bi().await?;
            // The other side hears of a stream with its first bytes, and this one is to be its first.
            exchange_word(&mut echo).await?;
            Ok::<_, TransportError>((connection, echo))
        });
        let (connection, echo) = connected?;
        Ok(Self { runtime: Some(runtime), connection, echo, _stop: stop })
    }

    /// A few bytes there and back.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn round_trip(&mut self) -> Result<(), TransportError> {
        block_on(self.runtime.as_ref(), exchange_word(&mut self.echo))
    }

    /// `bytes` bytes over one stream, until the other side has read the last of them and said so.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn carry(&mut self, bytes: u64) -> Result<(), TransportError> {
        let connection = &self.connection;
        let exchange = async {
            let (mut send, mut recv) = connection.open_bi().await?;
            let piece = vec![7; DATA_FRAME];
            let mut left = bytes;
            while left > 0 {
                let now = usize::try_from(left).unwrap_or(DATA_FRAME).min(DATA_FRAME);
                send.write_all(&piece[..now]).await?;
                left -= now as u64;
            }
            let _ = send.finish();
            match recv.read_to_end(0).await {
                Ok(_) => Ok(()),
                Err(ReadToEndError::Read(error)) => Err(error.into()),
                Err(ReadToEndError::TooLong) => Err(TransportError::FrameCut),
            }
        };
        block_on(self.runtime.as_ref(), exchange)
    }
}

impl Drop for BareLink {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"");
        if let Some(runtime) = self.runtime.take() {
            // In the middle of somebody's runtime, perhaps, where none may be waited for.
            runtime.shutdown_background();
        }
    }
}

fn block_on<T>(
    runtime: Option<&Runtime>,
    exchange: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let runtime = runtime.ok_or(TransportError::EndpointClosed)?;
    runtime.block_on(async { timeout(PATIENCE, exchange).await.unwrap_or(Err(TransportError::FrameTooSlow)) })
}

async fn exchange_word((send, recv): &mut (SendStream, RecvStream)) -> Result<(), TransportError> {
    send.write_all(&[7; WORD]).await?;
    recv.read_exact(&mut [0; WORD]).await.map_err(|error| match error {
        ReadExactError::ReadError(error) => error.into(),
        ReadExactError::FinishedEarly(_) => TransportError::FrameCut,
    })
}

/// Starts the side that answers, on a thread of its own, and says where it is.
fn serve(identity: &Identity) -> Result<(SocketAddr, oneshot::Sender<()>), TransportError> {
    let (config, id) = (settings::server(identity, &[Alpn::Client])?, identity.id());
    let (give, take) = std::sync::mpsc::sync_channel(1);
    let (stop, stopped) = oneshot::channel();
    let answer = move || {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(give.send(Err(TransportError::Thread(error)))),
        };
        runtime.block_on(async move {
            let (address, endpoint) = match endpoint(Some(config)).and_then(|endpoint| Ok((here(&endpoint)?, endpoint)))
            {
                Ok(opened) => opened,
                Err(error) => return drop(give.send(Err(error))),
            };
            let _ = give.send(Ok(address));
            tokio::select! {
                () = answer_ourselves(&endpoint, id) => {}
                _ = stopped => {}
            }
        });
    };
    thread::Builder::new().name("bare-quic".to_owned()).spawn(answer).map_err(TransportError::Thread)?;
    Ok((take.recv().map_err(|_| TransportError::EndpointClosed)??, stop))
}

/// A port on loopback, with the buffers that all our sockets have.
fn endpoint(server: Option<quinn::ServerConfig>) -> Result<quinn::Endpoint, TransportError> {
    let socket = socket::bind(LOOPBACK)?;
    let opened = quinn::Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime));
    opened.map_err(|source| TransportError::Bind { address: LOOPBACK, source })
}

fn here(endpoint: &quinn::Endpoint) -> Result<SocketAddr, TransportError> {
    endpoint.local_addr().map_err(|source| TransportError::Bind { address: LOOPBACK, source })
}

/// Finds the connection of the other side, which has the same key, and answers on it until it ends.
async fn answer_ourselves(endpoint: &quinn::Endpoint, id: NodeId) {
    while let Some(dial) = endpoint.accept().await {
        let Ok(connection) = dial.await else { continue };
        if let Some(link) = Link::new(connection.clone(), &SharedBudget::default()).filter(|link| link.peer() == id) {
            link.raise_limits();
            return answer_all(&connection).await;
        }
    }
}

/// The first stream is echoed; what comes on the others is read to its end.
async fn answer_all(connection: &Connection) {
    let mut is_first = true;
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        if std::mem::take(&mut is_first) {
            tokio::spawn(async move {
                let mut word = [0; WORD];
                while recv.read_exact(&mut word).await.is_ok() && send.write_all(&word).await.is_ok() {}
            });
        } else {
            tokio::spawn(async move {
                while let Ok(Some(_)) = recv.read_chunk(DATA_FRAME, true).await {}
                let _ = send.finish();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_link_carries_bytes_of_any_number_and_words_meanwhile() {
        let mut link = BareLink::open().expect("a link");
        for bytes in [1, DATA_FRAME as u64, 3 * DATA_FRAME as u64 + 1] {
            link.round_trip().expect("there and back");
            link.carry(bytes).expect("carried");
        }
    }

    #[tokio::test]
    async fn a_bare_link_may_be_dropped_inside_of_a_runtime() {
        let link = tokio::task::spawn_blocking(BareLink::open).await.expect("no panic").expect("a link");
        drop(link);
    }
}
