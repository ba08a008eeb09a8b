//! The UDP socket under an endpoint.
//!
//! Invariant: a port that another process has is reported as that, by address.
//! Absent: packets; quinn reads and writes them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

use super::TransportError;

/// Asked of the system for each direction, which may give less: at 1 GB/s the default of 208 KiB
/// overflows in a fifth of a millisecond, the time of one bad scheduling decision.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// How often to look whether sending in batches was switched off.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// Opens `address` alone.
pub(super) fn bind(address: SocketAddr) -> Result<UdpSocket, TransportError> {
    let open = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // One socket for both families; where the system will not have it, IPv6 alone is what was asked for.
            let _ = socket.set_only_v6(false);
        }
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(BUFFER_BYTES);
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    open().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => TransportError::PortInUse(address),
        _ => TransportError::Bind { address, source },
    })
}

/// Gives `endpoint` a fresh socket state whenever sending in batches was switched off.
///
/// quinn-udp gives it up for good at the first error that may have come from it, and a route that is
/// briefly gone looks the same; without batches throughput falls to a third (measured). A duplicate of the
/// descriptor keeps the port. Where the network card really cannot do it, one packet is lost each time.
pub(super) async fn keep_batching(endpoint: quinn::Endpoint, socket: UdpSocket, mut wrapped: Arc<dyn AsyncUdpSocket>) {
    if wrapped.max_transmit_segments() == 1 {
        return;
    }
    loop {
        tokio::time::sleep(CHECK_EVERY).await;
        if wrapped.max_transmit_segments() > 1 {
            continue;
        }
        let fresh = socket.try_clone().and_then(|socket| TokioRuntime.wrap_udp_socket(socket));
        if let Ok(fresh) = fresh
            && endpoint.rebind_abstract(fresh.clone()).is_ok()
        {
            tracing::debug!("sending in batches again");
            wrapped = fresh;
        }
    }
}
