//! Hello and its answer, on both sides.
//!
//! Invariant: a link counts as connected only once its welcome was sent or
//! received. QUIC alone cannot say so: the connecting side finishes its
//! handshake before the accepting side has looked at its key.

use std::time::Duration;

use tokio::time::timeout;

use super::gate::Pass;
use super::settings::HANDSHAKE_DEADLINE;
use super::{Alpn, CloseCode, FrameRecv, FrameSend, Link, TransportError};
use crate::model::handshake::{Answer, Credential, Hello, Refusal, RefusalCode, Waiting, Welcome};
use crate::model::limits::MAX_FRAME_UNAUTHENTICATED;
use crate::model::peers::PeerWelcome;

/// A refused node has this long to fetch its answer before its connection goes.
const REFUSAL_LINGERS: Duration = Duration::from_secs(1);

/// A connection that proved its key and said hello, and waits for its answer.
/// Dropping it turns the peer away without a reason.
pub struct Incoming {
    /// The link; `peer()` is proved.
    pub link: Link,
    /// What it said.
    pub hello: Hello,
    control: (FrameSend, FrameRecv),
    pass: Pass,
}

impl Incoming {
    pub(super) fn new(link: Link, hello: Hello, control: (FrameSend, FrameRecv), pass: Pass) -> Self {
        Self { link, hello, control, pass }
    }

    /// Lets it in: sends the welcome, raises the link's limits, and hands out its control stream.
    ///
    /// # Errors
    /// When the link is gone.
    pub async fn welcome(self, welcome: Welcome) -> Result<(Link, FrameSend, FrameRecv), TransportError> {
        self.let_in(Answer::Welcome(welcome)).await
    }

    /// Lets another worker in: as [`Incoming::welcome`], in a worker's words.
    ///
    /// # Errors
    /// When the link is gone.
    pub async fn welcome_peer(self, welcome: PeerWelcome) -> Result<(Link, FrameSend, FrameRecv), TransportError> {
        self.let_in(Answer::Peer(welcome)).await
    }

    async fn let_in(self, answer: Answer) -> Result<(Link, FrameSend, FrameRecv), TransportError> {
        let (mut send, recv) = self.control;
        send.prefer();
        self.link.raise_limits();
        send.send(&answer).await?;
        self.pass.admit();
        Ok((self.link, send, recv))
    }

    /// Lets it wait for approval: says so and hands out its stream for `JoinNews` and `JoinReply`. The link
    /// keeps a stranger's limits, and no deadline: it lives until somebody closes it or 20 s after the other
    /// side is gone. Flooding strangers do not push it out.
    ///
    /// # Errors
    /// [`TransportError::TooManyWaiting`] when 64 wait already (it is then refused as such), or the link is gone.
    pub async fn hold(self, waiting: Waiting) -> Result<(Link, FrameSend, FrameRecv), TransportError> {
        let Some(place) = self.pass.place_to_wait(self.link.connection()) else {
            self.refuse(too_many_waiting()).await;
            return Err(TransportError::TooManyWaiting);
        };
        let Self { mut link, control: (mut send, recv), pass, .. } = self;
        link.hold(place);
        send.send(&Answer::Waiting(waiting)).await?;
        pass.admit();
        Ok((link, send, recv))
    }

    /// Turns it away with a reason it can read; returns without waiting for it to be read.
    pub async fn refuse(self, refusal: Refusal) {
        tokio::spawn(async move {
            let Self { link, control: (mut send, _recv), pass, .. } = self;
            let text = refusal.text.clone();
            let tell = async {
                send.send(&Answer::Refused(refusal)).await?;
                send.finish().await?;
                // The other side closes as soon as it has read the answer; a close from here could overtake it.
                link.closed().await;
                Ok::<_, TransportError>(())
            };
            let _ = timeout(REFUSAL_LINGERS, tell).await;
            link.close(CloseCode::Refused, &text);
            drop(pass);
        });
    }
}

/// Opens the control stream of a fresh link, says `hello` and waits for the welcome (5 s).
///
/// # Errors
/// [`TransportError::Refused`] with the dispatcher's reason; otherwise what became of the link.
pub async fn hello(link: &Link, hello: &Hello) -> Result<(Welcome, FrameSend, FrameRecv), TransportError> {
    match greet(link, hello).await? {
        (Answer::Welcome(welcome), send, recv) => Ok((welcome, send, recv)),
        (Answer::Refused(refusal), ..) => Err(refused(link, refusal)),
        (Answer::Waiting(_) | Answer::Peer(_), ..) => Err(TransportError::StreamClosed),
    }
}

/// The same towards another worker, whose answer is a worker's. What follows on the stream are `PeerMessage`s.
///
/// # Errors
/// [`TransportError::Refused`] with its reason; otherwise what became of the link.
pub async fn greet_peer(link: &Link, hello: &Hello) -> Result<(PeerWelcome, FrameSend, FrameRecv), TransportError> {
    match greet(link, hello).await? {
        (Answer::Peer(welcome), send, recv) => Ok((welcome, send, recv)),
        (Answer::Refused(refusal), ..) => Err(refused(link, refusal)),
        (Answer::Welcome(_) | Answer::Waiting(_), ..) => Err(TransportError::StreamClosed),
    }
}

/// Opens the control stream of a fresh link, says `hello` (which should ask to join) and waits until it is
/// told to wait for approval (5 s). What follows on the stream are `JoinNews`, answered by `JoinReply`.
///
/// # Errors
/// [`TransportError::Refused`] with the dispatcher's reason; otherwise what became of the link.
pub async fn ask_to_join(link: &Link, hello: &Hello) -> Result<(Waiting, FrameSend, FrameRecv), TransportError> {
    match greet(link, hello).await? {
        (Answer::Waiting(waiting), send, recv) => Ok((waiting, send, recv)),
        (Answer::Refused(refusal), ..) => Err(refused(link, refusal)),
        (Answer::Welcome(_) | Answer::Peer(_), ..) => Err(TransportError::StreamClosed),
    }
}

/// Says hello on a new control stream and waits for whatever answer.
async fn greet(link: &Link, hello: &Hello) -> Result<(Answer, FrameSend, FrameRecv), TransportError> {
    let secret = hello.credential != Credential::None;
    let trusted = !matches!(link.alpn(), Alpn::Join | Alpn::Peer);
    assert!(!secret || trusted, "no secret is told to a dispatcher that nobody vouched for, or to a worker");
    let exchange = async {
        let (mut send, mut recv) = link.open_bi().await?;
        send.prefer();
        send.send(hello).await?;
        let answer = recv.recv::<Answer>(MAX_FRAME_UNAUTHENTICATED).await?.ok_or(TransportError::StreamClosed)?;
        Ok((answer, send, recv))
    };
    let no_answer = |_| TransportError::NoAnswer(link.remote_addr());
    timeout(HANDSHAKE_DEADLINE, exchange).await.map_err(no_answer)?
}

fn refused(link: &Link, refusal: Refusal) -> TransportError {
    link.close(CloseCode::Refused, "refused");
    TransportError::Refused(refusal)
}

fn too_many_waiting() -> Refusal {
    Refusal {
        code: RefusalCode::TooManyJoining,
        text: "as many nodes wait for approval at this dispatcher as may".to_owned(),
        hint: Some("approve or refuse those first; this one keeps asking".to_owned()),
    }
}
