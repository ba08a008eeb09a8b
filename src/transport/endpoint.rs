//! One UDP socket and everything that goes through it, on a thread of its own.
//!
//! Invariant: packets are read and written by that thread alone, so a busy
//! runtime of the node delays no acknowledgement. Absent: decisions about who
//! may connect.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use quinn::{ConnectError, ConnectionError, Runtime as _, TokioRuntime, TransportErrorCode, VarInt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::budget::SharedBudget;
use super::settings::{ALERT_ACCESS_DENIED, HANDSHAKE_DEADLINE};
use super::{Alpn, CloseCode, Incoming, Link, TransportError, accept, link, probe, settings, socket};
use crate::model::NodeId;
use crate::trust::{Identity, tls};

/// Connections that have said hello and wait for the node to take them.
const ARRIVALS: usize = 64;
/// How long a closing endpoint that others connect to waits until its peers have heard it.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same for one that only connects: its goodbye leaves within a millisecond, and a command that is
/// done should not stay to see whether it arrived. One that is lost costs the other side an idle timeout.
const BRIEF_FAREWELL: Duration = Duration::from_millis(5);
/// TLS alert of a certificate that is none of a node, turned down by our own verifier as well.
const ALERT_BAD_CERTIFICATE: u8 = 42;
/// TLS alert of a node that takes no connections for this purpose.
const ALERT_NO_APPLICATION_PROTOCOL: u8 = 120;

/// A QUIC endpoint on a network thread of its own. Its links die with it.
pub struct Endpoint {
    quinn: quinn::Endpoint,
    runtime: tokio::runtime::Handle,
    clients: [(Alpn, quinn::ClientConfig); Alpn::ALL.len()],
    /// For dispatchers that are not known yet.
    joining: quinn::ClientConfig,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Incoming>>,
    address: SocketAddr,
    /// Taken by whoever closes first; dropping it closes too.
    stop: Mutex<Option<oneshot::Sender<String>>>,
    /// Ends with the network thread's work.
    stopped: watch::Receiver<()>,
}

impl Endpoint {
    /// Opens `address` as `identity`; connections asking for one of `accept` are let in to say hello, all
    /// others turned away. An empty `accept` makes an endpoint that only connects. Port 0 takes any free port.
    ///
    /// # Errors
    /// [`TransportError::PortInUse`] when another process has the port; otherwise what the system said.
    pub fn bind(identity: &Identity, address: SocketAddr, accept: &[Alpn]) -> Result<Self, TransportError> {
        let farewell = if accept.is_empty() { BRIEF_FAREWELL } else { FAREWELL };
        let server = if accept.is_empty() { None } else { Some(settings::server(identity, accept)?) };
        let configured = |alpn| Ok::<_, TransportError>((alpn, settings::client(identity, alpn)?));
        let [worker, client, join, peer] = Alpn::ALL;
        let clients = [configured(worker)?, configured(client)?, configured(join)?, configured(peer)?];
        let joining = settings::join_client(identity)?;
        let udp = socket::bind(address)?;
        let bind_error = |source| TransportError::Bind { address, source };
        let spare = udp.try_clone().map_err(bind_error)?;
        let address = link::canonical(udp.local_addr().map_err(bind_error)?);
        let config = settings::endpoint(identity.endpoint_keys());

        let (give, take) = std::sync::mpsc::sync_channel(1);
        let (stop, stopping) = oneshot::channel();
        let (running, stopped) = watch::channel(());
        let (arrive, arrivals) = mpsc::channel(ARRIVALS);
        let network = move || {
            let _running = running;
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(give.send(Err(error))),
            };
            runtime.block_on(async move {
                let opened = TokioRuntime.wrap_udp_socket(udp).and_then(|wrapped| {
                    let runtime = std::sync::Arc::new(TokioRuntime);
                    quinn::Endpoint::new_with_abstract_socket(config, server, wrapped.clone(), runtime)
                        .map(|endpoint| (endpoint, wrapped))
                });
                let (endpoint, wrapped) = match opened {
                    Ok(opened) => opened,
                    Err(error) => return drop(give.send(Err(error))),
                };
                let _ = give.send(Ok((endpoint.clone(), tokio::runtime::Handle::current())));
                tokio::spawn(accept::accept_all(endpoint.clone(), arrive));
                tokio::spawn(socket::keep_batching(endpoint.clone(), spare, wrapped));
                serve_until(endpoint, stopping, farewell).await;
            });
        };
        thread::Builder::new().name("octaskly-quic".to_owned()).spawn(network).map_err(TransportError::Thread)?;
        let (quinn, runtime) = match take.recv() {
            Ok(Ok(opened)) => opened,
            Ok(Err(source)) => return Err(TransportError::Thread(source)),
            Err(_) => return Err(TransportError::EndpointClosed),
        };
        let (arrivals, stop) = (tokio::sync::Mutex::new(arrivals), Mutex::new(Some(stop)));
        Ok(Self { quinn, runtime, clients, joining, arrivals, address, stop, stopped })
    }

    /// Connects to the node `expected` at `address`. Nobody else is accepted there. *Connected* only means
    /// that keys were exchanged; say [`super::hello`] next.
    ///
    /// # Errors
    /// At once when the machine says that nothing listens there or another key answers; after 5 s without
    /// an answer.
    pub async fn connect(&self, address: SocketAddr, expected: NodeId, alpn: Alpn) -> Result<Link, TransportError> {
        let config = self.clients.iter().find_map(|(for_alpn, config)| (*for_alpn == alpn).then(|| config.clone()));
        let config = config.ok_or(TransportError::BadAddress(address))?;
        self.dial(config, address, Some(expected), alpn).await
    }

    /// Connects under [`Alpn::Join`] to whoever answers at `address`, or to `expected` alone. Without it the
    /// link's `peer()` is a key that was proved and nothing more: whose it is, the approval by code must show.
    ///
    /// # Errors
    /// As for [`Endpoint::connect`]; [`TransportError::NoNode`] when what answers has no node's key.
    pub async fn connect_join(&self, address: SocketAddr, expected: Option<NodeId>) -> Result<Link, TransportError> {
        match expected {
            Some(expected) => self.connect(address, expected, Alpn::Join).await,
            None => self.dial(self.joining.clone(), address, None, Alpn::Join).await,
        }
    }

    /// The next connection that has said hello; `None` once the endpoint is closed. One caller at a time.
    pub async fn accept(&self) -> Option<Incoming> {
        self.arrivals.lock().await.recv().await
    }

    /// Where it listens (the port that was really given, when 0 was asked for).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes every link with `Stopping` and `text`, and waits until that has left: at most a second when
    /// others connect to this endpoint, milliseconds when it only connects. The port is free once the
    /// endpoint and the last of its links are dropped.
    pub async fn close(&self, text: &str) {
        if let Some(stop) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = stop.send(text.to_owned());
        }
        // An error is the news: the sender went with the thread.
        while self.stopped.clone().changed().await.is_ok() {}
    }

    async fn dial(
        &self,
        config: quinn::ClientConfig,
        address: SocketAddr,
        expected: Option<NodeId>,
        alpn: Alpn,
    ) -> Result<Link, TransportError> {
        let name = expected.map_or_else(|| tls::JOIN_NAME.to_owned(), tls::server_name_text);
        let connecting = self.begin(config, address, &name)?;
        let connection = tokio::select! {
            finished = timeout(HANDSHAKE_DEADLINE, connecting) => match finished {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return Err(dial_error(error, address, expected, alpn)),
                Err(_) => return Err(TransportError::NoAnswer(address)),
            },
            () = probe::refused(address) => return Err(TransportError::NothingListens(address)),
        };
        Link::new(connection, &SharedBudget::default()).ok_or_else(|| not_whom_we_wanted(address, expected))
    }

    fn begin(
        &self,
        config: quinn::ClientConfig,
        address: SocketAddr,
        name: &str,
    ) -> Result<quinn::Connecting, TransportError> {
        // quinn starts the connection's task on the runtime it is called from; all of them belong on ours.
        let _on_network_thread = self.runtime.enter();
        self.quinn.connect_with(config, address, name).map_err(|error| match error {
            ConnectError::EndpointStopping | ConnectError::CidsExhausted => TransportError::EndpointClosed,
            _ => TransportError::BadAddress(address),
        })
    }
}

/// Runs until told to stop or until nobody holds the endpoint any more, then says goodbye to all.
async fn serve_until(endpoint: quinn::Endpoint, stopping: oneshot::Receiver<String>, farewell: Duration) {
    let text = stopping.await.unwrap_or_else(|_| "gone".to_owned());
    endpoint.close(VarInt::from_u32(CloseCode::Stopping.number()), text.as_bytes());
    let _ = timeout(farewell, endpoint.wait_idle()).await;
}

fn dial_error(error: ConnectionError, address: SocketAddr, expected: Option<NodeId>, alpn: Alpn) -> TransportError {
    let refused_by_us = [ALERT_ACCESS_DENIED, ALERT_BAD_CERTIFICATE].map(TransportErrorCode::crypto);
    match error {
        ConnectionError::TransportError(error) if refused_by_us.contains(&error.code) => {
            not_whom_we_wanted(address, expected)
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::crypto(ALERT_NO_APPLICATION_PROTOCOL) =>
        {
            TransportError::NotOffered { address, alpn }
        }
        ConnectionError::TimedOut => TransportError::NoAnswer(address),
        other => other.into(),
    }
}

fn not_whom_we_wanted(address: SocketAddr, expected: Option<NodeId>) -> TransportError {
    match expected {
        Some(expected) => TransportError::WrongKey { address, expected },
        None => TransportError::NoNode(address),
    }
}
