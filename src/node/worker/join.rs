//! Waiting for approval: shows a code and does nothing else until an admin has
//! typed it on the dispatcher's machine.
//!
//! The one invariant: a dispatcher is pinned, and told anything about the code,
//! only after it has proved over this very link that it knows the code. Three
//! wrong ones burn it. Absent: how the dispatcher was reached (`dial`), and
//! what follows from the end of the wait (`connector`).

use std::io::Write as _;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connector::error_text;
use super::dial::Held;
use super::ways::Knowledge;
use crate::model::NodeName;
use crate::model::limits::MAX_FRAME_UNAUTHENTICATED;
use crate::model::trust::{JoinNews, JoinReply};
use crate::transport::{CloseCode, FrameRecv, Link, LinkEnd, TransportError};
use crate::trust::TrustError;
use crate::trust::code::{ApprovalCode, CODE_TRIES, EXPORTER_LABEL, Joining, Side};

/// How often a waiting worker looks whether a dispatcher of its own home has come.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// How long the dispatcher may take to record the enrolment.
const ENROLLED_WITHIN: Duration = Duration::from_secs(30);
/// How long the last answer about a burnt code may take to arrive.
const FAREWELL: Duration = Duration::from_secs(1);

/// What somebody has to type for this worker on the dispatcher's machine.
#[derive(Clone, PartialEq, Eq)]
pub struct ApprovalAsked {
    /// The name that it waits under.
    pub name: NodeName,
    /// The code that it shows.
    pub code: String,
}

impl ApprovalAsked {
    /// The exact line.
    #[must_use]
    pub fn line(&self) -> String {
        format!("octaskly approve {} {}", self.name, self.code)
    }
}

/// The code is for those who see the worker's screen.
impl std::fmt::Debug for ApprovalAsked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApprovalAsked({})", self.name)
    }
}

/// This worker's code, which outlives links: who has read it need not read another.
pub(super) struct Applicant {
    code: Option<ApprovalCode>,
    left: u8,
    /// What was shown last.
    shown: Option<ApprovalAsked>,
    /// Where it is shown; `None` is the terminal.
    show: Option<mpsc::Sender<ApprovalAsked>>,
}

/// How a wait ended.
#[derive(Debug)]
pub(super) enum WaitEnd {
    /// The dispatcher has proved itself and is pinned. Whether it knows that the worker has, too, shows
    /// when the worker comes as one.
    Approved,
    /// Three wrong codes; the next wait shows another one.
    Burnt,
    /// A dispatcher of this home has come.
    AccessAppeared,
    /// The link is gone.
    Lost(LinkEnd),
    /// The pin could not be written, or there are no random bits.
    Failed(TrustError),
}

impl Applicant {
    pub(super) fn new(show: Option<mpsc::Sender<ApprovalAsked>>) -> Self {
        Self { code: None, left: CODE_TRIES, shown: None, show }
    }

    /// Waits on `held` until something comes of it.
    pub(super) async fn wait(&mut self, held: Held, knowledge: &Knowledge) -> WaitEnd {
        let link = held.link.clone();
        let end = match self.code() {
            Ok(code) => {
                self.show(&held.waiting.name, &code);
                self.answer(held, &code, knowledge).await
            }
            Err(error) => Ok(WaitEnd::Failed(error)),
        };
        let end = end.unwrap_or_else(|error| {
            WaitEnd::Lost(match error {
                TransportError::LinkLost(end) => end,
                other => LinkEnd::Broken(error_text(&other)),
            })
        });
        link.close(CloseCode::Done, "this worker no longer waits");
        end
    }

    /// Answers every proof until one is right, or too many were wrong.
    async fn answer(
        &mut self,
        held: Held,
        code: &ApprovalCode,
        knowledge: &Knowledge,
    ) -> Result<WaitEnd, TransportError> {
        let Held { address, worker, link, waiting, mut send, mut recv, .. } = held;
        let exporter = link.exporter(EXPORTER_LABEL)?;
        let joining = Joining { exporter, worker, dispatcher: link.peer(), name: waiting.name };
        let appears = appears(knowledge, &link);
        tokio::pin!(appears);
        loop {
            let news = tokio::select! {
                news = recv.recv::<JoinNews>(MAX_FRAME_UNAUTHENTICATED) => news?,
                () = &mut appears => return Ok(WaitEnd::AccessAppeared),
            };
            match news {
                Some(JoinNews::Proof(proof)) if code.verify(Side::Dispatcher, &joining, &proof) => {
                    // Pinned before the answer: once it knows that this worker is approved, it may be the one.
                    if let Err(error) = knowledge.remember(joining.dispatcher, address) {
                        return Ok(WaitEnd::Failed(error));
                    }
                    send.send(&JoinReply::Proof(code.prove(Side::Worker, &joining))).await?;
                    return Ok(approved(&mut recv).await);
                }
                Some(JoinNews::Proof(_)) => {
                    self.left = self.left.saturating_sub(1);
                    send.send(&JoinReply::WrongCode { left: self.left }).await?;
                    if self.left == 0 {
                        tracing::warn!("Three wrong codes were typed for this worker; its code is no longer good");
                        (self.code, self.left) = (None, CODE_TRIES);
                        send.finish().await?;
                        let _ = timeout(FAREWELL, link.closed()).await;
                        return Ok(WaitEnd::Burnt);
                    }
                    tracing::warn!("A wrong code was typed for this worker; {} more and it shows another", self.left);
                }
                // Enrolled without a proof means nothing, and neither does an end of the stream.
                Some(JoinNews::Enrolled) | None => return Err(TransportError::StreamClosed),
            }
        }
    }

    fn code(&mut self) -> Result<ApprovalCode, TrustError> {
        match &self.code {
            Some(code) => Ok(code.clone()),
            None => Ok(self.code.insert(ApprovalCode::generate()?).clone()),
        }
    }

    /// Shows what is to be typed, unless it stands there already.
    fn show(&mut self, name: &NodeName, code: &ApprovalCode) {
        let asked = ApprovalAsked { name: name.clone(), code: code.reveal() };
        if self.shown.as_ref() == Some(&asked) {
            return;
        }
        match &self.show {
            // Whoever does not listen has what he needs.
            Some(show) => drop(show.try_send(asked.clone())),
            // Not a log line: it is for whoever sits here, whatever the log's level is and wherever it goes.
            None => {
                let (code, line) = (&asked.code, asked.line());
                let _ = writeln!(
                    std::io::stderr(),
                    "This worker waits for approval. Its code is {code}\nOn the dispatcher's machine, type: {line}"
                );
            }
        }
        self.shown = Some(asked);
    }
}

/// Waits until a dispatcher of this home is there, which needs no approval.
async fn appears(knowledge: &Knowledge, link: &Link) {
    loop {
        tokio::time::sleep(LOOK_AROUND).await;
        if knowledge.access_leads_to(link.peer()) {
            return;
        }
    }
}

/// Waits for the dispatcher's word that it has recorded the enrolment. Without it the next try, as a worker, tells.
async fn approved(recv: &mut FrameRecv) -> WaitEnd {
    let word = timeout(ENROLLED_WITHIN, recv.recv::<JoinNews>(MAX_FRAME_UNAUTHENTICATED)).await;
    if matches!(word, Ok(Ok(Some(JoinNews::Enrolled)))) {
        tracing::info!("Approved by the dispatcher");
    }
    WaitEnd::Approved
}
