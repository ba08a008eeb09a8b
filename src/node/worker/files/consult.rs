//! Asking the dispatcher who has some blobs, again and again while they are fetched.
//!
//! The one invariant: a question is answered once, be it that it could not be asked. Absent: what follows from an
//! answer (the engine's).

use tokio::sync::mpsc;

use super::{FilesError, Stock};
use crate::model::files::BlobRef;
use crate::model::limits::MAX_FRAME;
use crate::model::messages::{FilesReply, StreamPurpose};
use crate::model::pieces::{BlobHolders, HoldersAsk};
use crate::model::requests::Failure;
use crate::model::{AttemptId, NodeId};
use crate::transport::{FrameRecv, FrameSend, TransportError};

/// What asking came to.
pub(super) enum Consulted {
    /// Who has them.
    Holders(BlobHolders),
    /// The dispatcher says no.
    Refused(Failure),
    /// Some of them are gone and being made again; the dispatcher's words.
    Remade(String),
    /// It could not be asked.
    Failed,
}

/// A conversation with the dispatcher about where some blobs are. Ends when it is dropped.
pub(super) struct Consultation {
    questions: mpsc::Sender<HoldersAsk>,
}

impl Consultation {
    /// Begins one about `blobs`; nothing is asked yet.
    pub(super) fn begin(stock: Stock, id: AttemptId, blobs: Vec<BlobRef>) -> (Self, mpsc::Receiver<Consulted>) {
        // One question at a time, and behind it that all is done.
        let (questions, mut asked) = mpsc::channel(2);
        let (answers, consulted) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut stream = None;
            while let Some(question) = asked.recv().await {
                let asking = async {
                    match question {
                        HoldersAsk::Again { empty } => Some(ask(&stock, id, &blobs, empty, &mut stream).await),
                        HoldersAsk::Fetched => {
                            if let Some((send, _)) = &mut stream {
                                let _ = FrameSend::send(send, &HoldersAsk::Fetched).await;
                            }
                            None
                        }
                    }
                };
                let answer = tokio::select! {
                    // First what needs no waiting: the last word is said when nobody listens any more.
                    biased;
                    answer = asking => answer,
                    () = answers.closed() => match asked.try_recv() {
                        // The answer that is on its way is not read, but the last word may still be said.
                        Ok(HoldersAsk::Fetched) => {
                            if let Some((send, _)) = &mut stream {
                                let _ = FrameSend::send(send, &HoldersAsk::Fetched).await;
                            }
                            return;
                        }
                        _ => return,
                    },
                };
                let Some(answer) = answer else { return };
                let _ = answers.send(answer).await;
            }
        });
        (Self { questions }, consulted)
    }

    /// Asks; `empty` are workers that were named and have nothing. The engine has one question open at a time.
    pub(super) fn ask(&self, empty: Vec<NodeId>) {
        let _ = self.questions.try_send(HoldersAsk::Again { empty });
    }

    /// All of them are here.
    pub(super) fn complete(&self) {
        let _ = self.questions.try_send(HoldersAsk::Fetched);
    }
}

type Stream = Option<(FrameSend, FrameRecv)>;

async fn ask(stock: &Stock, id: AttemptId, blobs: &[BlobRef], empty: Vec<NodeId>, stream: &mut Stream) -> Consulted {
    match answer(stock, id, blobs, empty, stream).await {
        Ok(FilesReply::Holders(holders)) => Consulted::Holders(holders),
        Ok(FilesReply::Refused(failure)) => Consulted::Refused(failure),
        Ok(FilesReply::Remade(text)) => Consulted::Remade(text),
        Ok(_) | Err(_) => {
            *stream = None;
            Consulted::Failed
        }
    }
}

async fn answer(
    stock: &Stock,
    id: AttemptId,
    blobs: &[BlobRef],
    empty: Vec<NodeId>,
    stream: &mut Stream,
) -> Result<FilesReply, FilesError> {
    let (_, recv) = match stream {
        Some((send, recv)) => {
            send.send(&HoldersAsk::Again { empty }).await?;
            (send, recv)
        }
        None => {
            let (mut send, recv) = stock.link().await?.open_bi().await?;
            send.send(&StreamPurpose::WhoHas { id, blobs: blobs.to_vec() }).await?;
            let (send, recv) = stream.insert((send, recv));
            (send, recv)
        }
    };
    Ok(recv.recv::<FilesReply>(MAX_FRAME).await?.ok_or(TransportError::StreamClosed)?)
}
