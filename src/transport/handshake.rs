//! Hello and its answer.

use super::{FrameRecv, FrameSend, Link, TransportError};
use crate::model::handshake::{Hello, Refusal, Welcome};

/// A connection that proved its key and said hello, and waits for its answer.
/// Dropping it turns the peer away.
pub struct Incoming {
    /// The link; `peer()` is proved.
    pub link: Link,
    /// What it said.
    pub hello: Hello,
    /// The newest protocol version both sides speak.
    pub protocol: u16,
    send: FrameSend,
    recv: FrameRecv,
}

impl Incoming {
    /// Lets it in: sends the welcome, raises the link's limits, and hands out its control stream.
    pub async fn welcome(self, welcome: Welcome) -> Result<(Link, FrameSend, FrameRecv), TransportError> {
        let _ = (welcome, self.send, self.recv);
        unimplemented!()
    }

    /// Turns it away with a reason it can read.
    pub async fn refuse(self, refusal: Refusal) {
        let _ = refusal;
        unimplemented!()
    }
}

/// Opens the control stream of a fresh link, says `hello` and waits for the welcome.
pub async fn hello(link: &Link, hello: &Hello) -> Result<(Welcome, FrameSend, FrameRecv), TransportError> {
    let _ = (link, hello);
    unimplemented!()
}

/// The newest protocol version that both sides speak, else a refusal that says which side to upgrade.
pub fn negotiate(hello: &Hello) -> Result<u16, Refusal> {
    let _ = hello;
    unimplemented!()
}
