//! Does anything listen there? Asked beside a dial that gets no answer.
//!
//! QUIC sockets are not connected to a peer, so the system does not tell them
//! when a machine answers "port unreachable"; a connected one hears it at once.
//! Invariant: silence proves nothing, so only a refusal ends the wait.

use std::future::pending;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::sleep;

/// A dial that works is done long before this, so nobody sees a probe who listens.
const PATIENCE: Duration = Duration::from_millis(100);
/// Machines limit how many such answers they give, so the question is asked again.
const AGAIN: Duration = Duration::from_millis(700);
/// Too short for a QUIC packet: whoever listens drops it unread.
const QUESTION: [u8; 1] = [0];

/// Returns when the machine at `address` says that nothing listens there, and never otherwise.
pub(super) async fn refused(address: SocketAddr) {
    let any = match address.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    sleep(PATIENCE).await;
    let Ok(socket) = UdpSocket::bind((any, 0)).await else { return pending().await };
    if socket.connect(address).await.is_err() {
        return pending().await;
    }
    loop {
        let asked = socket.send(&QUESTION).await;
        let heard = async {
            match asked {
                Err(error) => error,
                Ok(_) => loop {
                    if let Err(error) = socket.recv(&mut [0; 16]).await {
                        break error;
                    }
                },
            }
        };
        tokio::select! {
            error = heard => {
                if error.kind() == ErrorKind::ConnectionRefused {
                    return;
                }
                sleep(AGAIN).await;
            }
            () = sleep(AGAIN) => {}
        }
    }
}
