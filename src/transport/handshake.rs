//! Hello and its answer, on both sides.
//!
//! Invariant: a link counts as connected only once its welcome was sent or
//! received. QUIC alone cannot say so: the connecting side finishes its
//! handshake before the accepting side has looked at its key.

use std::time::Duration;

use tokio::time::timeout;

use super::gate::Pass;
use super::settings::HANDSHAKE_DEADLINE;
use super::{CloseCode, FrameRecv, FrameSend, Link, TransportError};
use crate::model::handshake::{Answer, Hello, Refusal, RefusalCode, Waiting, Welcome};
use crate::model::limits::{MAX_FRAME_UNAUTHENTICATED, PROTOCOL_OLDEST, PROTOCOL_VERSION};

/// A refused node has this long to fetch its answer before its connection goes.
const REFUSAL_LINGERS: Duration = Duration::from_secs(1);

/// A connection that proved its key and said hello, and waits for its answer.
/// Dropping it turns the peer away without a reason.
pub struct Incoming {
    /// The link; `peer()` is proved.
    pub link: Link,
    /// What it said.
    pub hello: Hello,
    /// The newest protocol version both sides speak.
    pub protocol: u16,
    control: (FrameSend, FrameRecv),
    pass: Pass,
}

impl Incoming {
    pub(super) fn new(link: Link, hello: Hello, protocol: u16, control: (FrameSend, FrameRecv), pass: Pass) -> Self {
        Self { link, hello, protocol, control, pass }
    }

    /// Lets it in: sends the welcome, raises the link's limits, and hands out its control stream.
    ///
    /// # Errors
    /// When the link is gone.
    pub async fn welcome(self, welcome: Welcome) -> Result<(Link, FrameSend, FrameRecv), TransportError> {
        let (mut send, recv) = self.control;
        send.prefer();
        self.link.raise_limits();
        send.send(&Answer::Welcome(welcome)).await?;
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
        (Answer::Waiting(_), ..) => Err(TransportError::StreamClosed),
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
        (Answer::Welcome(_), ..) => Err(TransportError::StreamClosed),
    }
}

/// Says hello on a new control stream and waits for whatever answer.
async fn greet(link: &Link, hello: &Hello) -> Result<(Answer, FrameSend, FrameRecv), TransportError> {
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

/// The newest protocol version that both sides speak, else a refusal that says which side to upgrade.
///
/// # Errors
/// The refusal to send.
pub fn negotiate(hello: &Hello) -> Result<u16, Refusal> {
    let Hello { protocol_oldest: oldest, protocol_newest: newest, software, .. } = hello;
    let refuse = |code, text: String, hint: Option<&str>| {
        Err(Refusal { code, text: without_controls(&text), hint: hint.map(str::to_owned) })
    };
    if oldest > newest {
        let text = format!("the hello names protocol versions {oldest} to {newest}, which is no range");
        return refuse(RefusalCode::Malformed, text, None);
    }
    let ours = concat!("octaskly ", env!("CARGO_PKG_VERSION"));
    let theirs = format!("octaskly {software}");
    if *newest < PROTOCOL_OLDEST {
        let text =
            format!("{theirs} speaks protocol {newest}; the dispatcher, {ours}, needs {PROTOCOL_OLDEST} or newer");
        return refuse(RefusalCode::Version, text, Some("upgrade octaskly on this machine"));
    }
    if *oldest > PROTOCOL_VERSION {
        let text =
            format!("{theirs} needs protocol {oldest} or newer; the dispatcher, {ours}, speaks {PROTOCOL_VERSION}");
        return refuse(RefusalCode::Version, text, Some("upgrade octaskly on the dispatcher's machine"));
    }
    Ok(PROTOCOL_VERSION.min(*newest))
}

/// A stranger's words come back in a refusal and in logs; they must not steer a terminal.
fn without_controls(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::InstanceId;
    use crate::model::handshake::{Credential, Intent};

    fn speaking(protocol_oldest: u16, protocol_newest: u16) -> Hello {
        let software = "9.9.9\u{1b}[2J".to_owned();
        let (instance, intent, credential) = (InstanceId(1), Intent::Client, Credential::None);
        Hello { protocol_oldest, protocol_newest, software, instance, intent, credential }
    }

    #[test]
    fn a_mismatch_says_which_side_to_upgrade() {
        let hint = |oldest, newest| negotiate(&speaking(oldest, newest)).unwrap_err().hint.unwrap();
        assert_eq!(hint(0, PROTOCOL_OLDEST - 1), "upgrade octaskly on this machine");
        assert_eq!(hint(PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 3), "upgrade octaskly on the dispatcher's machine");
    }

    proptest! {
        #[test]
        fn no_hello_of_a_stranger_breaks_its_reader(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(hello) = crate::wire::frame::decode::<Hello>(&bytes) {
                let _ = negotiate(&hello);
            }
        }

        #[test]
        fn what_is_agreed_on_is_spoken_by_both(oldest: u16, newest: u16) {
            match negotiate(&speaking(oldest, newest)) {
                Ok(agreed) => {
                    prop_assert!((oldest..=newest).contains(&agreed));
                    prop_assert!((PROTOCOL_OLDEST..=PROTOCOL_VERSION).contains(&agreed));
                }
                Err(refusal) => prop_assert!(!refusal.text.chars().any(char::is_control)),
            }
        }
    }
}
