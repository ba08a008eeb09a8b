//! One conversation with one source of pieces, from reaching it to its end.
//!
//! The one invariant: every session that was begun ends in silence or in one [`SessionEnd`], and a piece is told of
//! when it was verified and kept. Absent: what is asked of whom (`engine::transfer`), and how a source is reached
//! (`reach`).

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::FilesError;
use crate::blob::{BlobError, BlobStore};
use crate::engine::transfer::{Pieces, SessionNo};
use crate::model::BlobRef;
use crate::model::pieces::{MAX_PIECES_FRAME, PieceAnswer, PieceAsk, PiecesAt, are_sane};
use crate::model::requests::Failure;
use crate::transport::{FrameRecv, FrameSend, Piece, TransportError};

/// Questions that wait to be sent to one source: it owes few pieces, so there are few.
pub(super) const QUESTIONS: usize = 64;
/// Bytes of a piece that has not come to its end are told of this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What a session tells.
#[derive(Debug)]
pub(super) enum SessionNews {
    /// What the source has by now.
    Has(Pieces),
    /// So many bytes of what it owes came.
    Bytes(u64),
    /// A piece was kept.
    Kept {
        /// Place of its blob.
        place: u32,
        /// Its number.
        number: u64,
    },
    /// A question is answered.
    Answered,
    /// It is over.
    Ended(SessionEnd),
}

/// Why a session is over, where the fetch did not end it.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// The source was not reached; completes "failed to …".
    NotReached(String),
    /// The stream or its link.
    Broke(TransportError),
    /// Too many read there.
    Busy,
    /// It says no.
    Refused(Failure),
    /// It sent something else than that piece of that blob.
    Damaged {
        /// Place of the blob.
        place: u32,
    },
    /// This node's own files.
    Ours(FilesError),
}

impl From<TransportError> for SessionEnd {
    fn from(error: TransportError) -> Self {
        Self::Broke(error)
    }
}

/// Where a session's news goes.
pub(super) type NewsSender = mpsc::Sender<(SessionNo, SessionNews)>;

/// A session on a stream whose purpose was said.
pub(super) struct Session {
    pub(super) number: SessionNo,
    pub(super) store: BlobStore,
    pub(super) blobs: Vec<BlobRef>,
    pub(super) news: NewsSender,
}

impl Session {
    /// Talks until the source or the fetch has enough of it.
    pub(super) async fn talk(
        &self,
        mut send: FrameSend,
        recv: FrameRecv,
        mut questions: mpsc::Receiver<Pieces>,
    ) -> SessionEnd {
        let asking = async {
            while let Some(pieces) = questions.recv().await {
                let asked = pieces.into_iter().map(|(place, pieces)| PiecesAt { place, pieces }).collect();
                if let Err(error) = send.send(&PieceAsk(asked)).await {
                    // Whoever stops us says why.
                    tracing::trace!("A source takes no more questions: failed to {error}");
                    break;
                }
            }
            std::future::pending::<SessionEnd>().await
        };
        tokio::select! {
            end = self.listen(recv) => end,
            never = asking => never,
        }
    }

    async fn listen(&self, mut recv: FrameRecv) -> SessionEnd {
        match self.hear(&mut recv).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn hear(&self, recv: &mut FrameRecv) -> Result<std::convert::Infallible, SessionEnd> {
        self.answer(recv).await?;
        loop {
            self.answer(recv).await?;
            self.pieces(recv).await?;
            self.tell(SessionNews::Answered).await;
        }
    }

    /// What the source has by now.
    async fn answer(&self, recv: &mut FrameRecv) -> Result<(), SessionEnd> {
        let has = match recv.recv::<PieceAnswer>(MAX_PIECES_FRAME).await? {
            Some(PieceAnswer::Has(has)) => has,
            Some(PieceAnswer::Busy) => return Err(SessionEnd::Busy),
            Some(PieceAnswer::Refused(failure)) => return Err(SessionEnd::Refused(failure)),
            None => return Err(TransportError::StreamClosed.into()),
        };
        if !are_sane(&has, &self.blobs) {
            return Err(SessionEnd::NotReached("understand what it says it has".to_owned()));
        }
        self.tell(SessionNews::Has(has.into_iter().map(|at| (at.place, at.pieces)).collect())).await;
        Ok(())
    }

    /// The pieces of one question. One is verified and written while the next one comes.
    async fn pieces(&self, recv: &mut FrameRecv) -> Result<(), SessionEnd> {
        let mut keeping: Option<JoinHandle<Kept>> = None;
        let mut told = Told { count: 0, at: Instant::now() };
        loop {
            let progress = |bytes: usize| {
                if let Some(bytes) = told.add(bytes as u64) {
                    // Only to show that something comes; what does not fit is told of with the piece.
                    let _ = self.news.try_send((self.number, SessionNews::Bytes(bytes)));
                }
            };
            let piece = recv.recv_piece_with(progress).await?;
            if let Some(kept) = keeping.take() {
                self.kept(kept).await?;
            }
            if told.count > 0 {
                self.tell(SessionNews::Bytes(std::mem::take(&mut told.count))).await;
            }
            let Some(piece) = piece else { return Ok(()) };
            keeping = Some(self.keep(piece)?);
        }
    }

    fn keep(&self, Piece { blob: place, number, encoded }: Piece) -> Result<JoinHandle<Kept>, SessionEnd> {
        let blob = *self.blobs.get(place as usize).ok_or(SessionEnd::Damaged { place })?;
        let store = self.store.clone();
        Ok(spawn_blocking(move || Kept { place, number, kept: store.accept(blob, number, &encoded).map(drop) }))
    }

    async fn kept(&self, keeping: JoinHandle<Kept>) -> Result<(), SessionEnd> {
        let Ok(Kept { place, number, kept }) = keeping.await else {
            return Err(SessionEnd::Ours(FilesError::Stopping));
        };
        match kept {
            Ok(()) => self.tell(SessionNews::Kept { place, number }).await,
            Err(BlobError::Corrupt { .. }) => return Err(SessionEnd::Damaged { place }),
            Err(error) => return Err(SessionEnd::Ours(error.into())),
        }
        Ok(())
    }

    async fn tell(&self, news: SessionNews) {
        // When nobody listens any more the fetch is over, and this session with it.
        let _ = self.news.send((self.number, news)).await;
    }
}

/// A piece that was given to the store.
struct Kept {
    place: u32,
    number: u64,
    kept: Result<(), BlobError>,
}

/// Bytes that came and were not told of.
struct Told {
    count: u64,
    at: Instant,
}

impl Told {
    /// Says how many to tell of, when it is time.
    fn add(&mut self, bytes: u64) -> Option<u64> {
        self.count += bytes;
        if self.at.elapsed() < PROGRESS_EVERY {
            return None;
        }
        self.at = Instant::now();
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::handshake::{Credential, Hello, Intent};
    use crate::model::peers::PeerWelcome;
    use crate::model::{InstanceId, IntervalSet};
    use crate::transport::{Alpn, Endpoint, Link, greet_peer};
    use crate::trust::Identity;
    use crate::wire::DataFrame;

    /// A session whose source is played by the test.
    struct Play {
        session: Session,
        send: FrameSend,
        recv: FrameRecv,
        their: (FrameSend, FrameRecv),
        heard: mpsc::Receiver<(SessionNo, SessionNews)>,
        /// Where the pieces come from.
        source: BlobStore,
        _folders: [tempfile::TempDir; 2],
        _links: [Link; 2],
        _endpoints: [Endpoint; 2],
    }

    async fn play() -> Play {
        let keys = [(); 2].map(|()| Identity::ephemeral().unwrap());
        let address = "127.0.0.1:0".parse().unwrap();
        let endpoints = [0, 1].map(|at| Endpoint::bind(&keys[at], address, &[Alpn::Peer][..at]).unwrap());
        let (software, instance) = ("1.0.0".to_owned(), InstanceId(1));
        let (intent, credential) = (Intent::Peer, Credential::None);
        let hello =
            Hello { protocol_oldest: 1, protocol_newest: 1, software: software.clone(), instance, intent, credential };
        let dial = async {
            let link = endpoints[0].connect(endpoints[1].local_addr(), keys[1].id(), Alpn::Peer).await.unwrap();
            (greet_peer(&link, &hello).await.unwrap(), link)
        };
        let take = async {
            let visitor = endpoints[1].accept().await.unwrap();
            visitor.welcome_peer(PeerWelcome { protocol: 1, software, instance }).await.unwrap()
        };
        let ((_greeted, link), (their_link, ..)) = tokio::join!(dial, take);
        let (mut send, recv) = link.open_bi().await.unwrap();
        send.send(&PieceAsk(Vec::new())).await.unwrap();
        let mut their = their_link.accept_bi().await.unwrap();
        assert!(matches!(their.1.recv(100).await, Ok(Some(PieceAsk(_)))));
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [source, store] = [0, 1].map(|at| BlobStore::open(&folders[at].path().join("files"), u64::MAX).unwrap());
        let blob = source.insert_bytes(&vec![5; (2 << 20) + 9]).unwrap();
        let (news, heard) = mpsc::channel(64);
        let session = Session { number: SessionNo(1), store, blobs: vec![blob], news };
        let (_folders, _links, _endpoints) = (folders, [link, their_link], endpoints);
        Play { session, send, recv, their, heard, source, _folders, _links, _endpoints }
    }

    /// Plays a source that answers one question with piece `sent` where `named` was asked for.
    async fn answer(their: &mut (FrameSend, FrameRecv), source: &BlobStore, blob: BlobRef, named: u64, sent: u64) {
        let (send, recv) = their;
        let all = vec![PiecesAt { place: 0, pieces: IntervalSet::from_range(0, 2) }];
        send.send(&PieceAnswer::Has(all)).await.unwrap();
        let asked = recv.recv::<PieceAsk>(1000).await.unwrap().unwrap();
        assert_eq!(asked.0[0].pieces, IntervalSet::from_range(named, named));
        send.send(&PieceAnswer::Has(Vec::new())).await.unwrap();
        send.feed_piece(0, named, &source.encode(blob, sent).unwrap()).await.unwrap();
        send.send_data(&DataFrame::End).await.unwrap();
    }

    #[tokio::test]
    async fn a_piece_is_told_of_when_it_was_kept_and_one_that_is_another_ends_the_session_and_is_not() {
        for (sent, is_good) in [(1, true), (0, false)] {
            let Play { session, send, recv, mut their, mut heard, source, _folders, _links, _endpoints } = play().await;
            let (questions, asked) = mpsc::channel(QUESTIONS);
            questions.try_send(vec![(0, IntervalSet::from_range(1, 1))]).unwrap();
            let blob = session.blobs[0];
            let until_answered = async { while !matches!(heard.recv().await, Some((_, SessionNews::Answered))) {} };
            let ended = tokio::select! {
                (end, ()) = async { tokio::join!(session.talk(send, recv, asked), answer(&mut their, &source, blob, 1, sent)) } => Some(end),
                () = until_answered => None,
            };
            let missing = session.store.missing(blob);
            match ended {
                None => assert!(is_good && !missing.contains(1)),
                Some(end) => assert!(!is_good && missing.contains(1), "{end:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_a_source_cannot_have_ends_the_session() {
        let Play { session, send, recv, mut their, _folders, _links, _endpoints, .. } = play().await;
        let (_questions, asked) = mpsc::channel(QUESTIONS);
        let more = vec![PiecesAt { place: 0, pieces: IntervalSet::from_range(0, 3) }];
        their.0.send(&PieceAnswer::Has(more)).await.unwrap();
        let end = session.talk(send, recv, asked).await;
        assert!(matches!(end, SessionEnd::NotReached(_)), "{end:?}");
    }
}
