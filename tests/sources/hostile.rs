//! A worker that is enrolled, is named as one that has a file, and does not give it as it should: the key and the
//! files are those of a real worker that is gone, the rest is played by the test.
//!
//! The one invariant: it behaves until it is asked for a piece, so that whatever goes wrong does so in the middle of a
//! transfer. Absent: tasks; it runs none.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use octaskly::blob::{BlobStore, pieces_of};
use octaskly::model::handshake::{Credential, Hello, Intent};
use octaskly::model::limits::{MAX_FRAME, MAX_PEER_FRAME, PROTOCOL_OLDEST, PROTOCOL_VERSION};
use octaskly::model::messages::{DispatcherMessage, StreamPurpose, WorkerMessage};
use octaskly::model::node::WorkerProfile;
use octaskly::model::peers::{PeerMessage, PeerPurpose, PeerSelf, PeerStatus, PeerWelcome};
use octaskly::model::pieces::{MAX_PIECES_FRAME, PieceAnswer, PieceAsk, PiecesAt};
use octaskly::model::spec::Isolation;
use octaskly::model::{BlobRef, Capacity, InstanceId, IntervalSet, NodeId, Timestamp};
use octaskly::transport::{Alpn, CloseCode, Endpoint, FrameRecv, FrameSend, Incoming, Link, TransportError, hello};
use octaskly::trust::{Home, Identity, access};
use octaskly::wire::DataFrame;
use tokio::sync::oneshot;

use crate::harness::lan::Host;

/// Where it listens for others.
const LISTENS: u16 = 7900;
/// This start of it.
const START: InstanceId = InstanceId(4711);
/// Heartbeats to the dispatcher, and words to its peers.
const EVERY: Duration = Duration::from_millis(500);

/// What it does when it is asked for a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Sends other bytes in its place.
    Lies,
    /// Sends a thousand bytes of it a second.
    Crawls,
    /// Sends half of it and breaks the link.
    BreaksOff,
}

/// One that runs until it is dropped.
pub(crate) struct Hostile {
    asked: Arc<Asked>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Who is linked with it, and how often it was asked for pieces.
#[derive(Debug, Default)]
struct Asked {
    linked: Mutex<BTreeSet<NodeId>>,
    conversations: AtomicUsize,
}

impl Hostile {
    /// Takes the place of worker `name`, whose process on `host` is gone.
    pub(crate) fn in_place_of(host: &Host, name: &str, dispatcher: &Host, manners: Manners) -> Self {
        let asked = Arc::new(Asked::default());
        let played = Played::new(host, name, manners, Arc::clone(&asked));
        let known = access::read(&dispatcher.home().join("dispatcher/access.cbor")).expect("it can be read");
        let (key, at) = (known.expect("an access file").dispatcher, dispatcher.at());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = host.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = played.live(at, key) => panic!("a link of the hostile worker ended"),
                    _ = stopped => {}
                }
            });
        });
        Self { asked, stop: Some(stop), thread: Some(thread) }
    }

    /// With how many workers it is linked, or was.
    pub(crate) fn links(&self) -> usize {
        self.asked.linked.lock().expect("nobody fell over").len()
    }

    /// In how many conversations it was asked for pieces, straight or through the dispatcher.
    pub(crate) fn was_asked(&self) -> usize {
        self.asked.conversations.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the hostile worker fell over");
    }
}

/// The worker as its tasks share it.
#[derive(Clone)]
struct Played {
    name: String,
    identity: Arc<Identity>,
    store: BlobStore,
    listens: SocketAddr,
    manners: Manners,
    asked: Arc<Asked>,
}

impl Played {
    fn new(host: &Host, name: &str, manners: Manners, asked: Arc<Asked>) -> Self {
        let home = Home::locate(Some(host.home())).expect("a home");
        let folder = home.worker(&name.parse().expect("a name")).expect("nobody else has its folder");
        let identity = Arc::new(Identity::load_or_create(&folder).expect("its key"));
        let store = BlobStore::open(&folder.path().join("files"), u64::MAX).expect("its files");
        let listens = (host.address, LISTENS).into();
        Self { name: name.to_owned(), identity, store, listens, manners, asked }
    }

    /// Is a worker of the dispatcher at `at` and lets peers in.
    async fn live(self, at: SocketAddr, key: NodeId) {
        let any = (Ipv4Addr::UNSPECIFIED, 0).into();
        let outward = Endpoint::bind(&self.identity, any, &[]).expect("a socket");
        let inward = Endpoint::bind(&self.identity, self.listens, &[Alpn::Peer]).expect("a socket");
        let link = outward.connect(at, key, Alpn::Worker).await.expect("the dispatcher is there");
        let greeting = Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_VERSION,
            software: "1.0.0".to_owned(),
            instance: START,
            intent: Intent::Worker(self.profile()),
            credential: Credential::None,
        };
        let (_, send, recv) = hello(&link, &greeting).await.expect("its key is enrolled");
        let peers = async {
            while let Some(visitor) = inward.accept().await {
                let played = self.clone();
                // One that breaks off ends its link itself.
                tokio::spawn(async move { played.receive(visitor).await });
            }
        };
        tokio::join!(self.report(send), listen(recv), self.serve_dispatcher(link), peers);
    }

    fn profile(&self) -> WorkerProfile {
        WorkerProfile {
            name: Some(self.name.parse().expect("a name")),
            capacity: Capacity { slots: 1, ..Capacity::default() },
            labels: Default::default(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            isolation: Isolation::Basic,
            place: None,
        }
    }

    /// Says to the dispatcher what an idle worker says.
    async fn report(&self, mut send: FrameSend) {
        send.send(&WorkerMessage::Holding(Vec::new())).await.expect("said");
        send.send(&WorkerMessage::Listening(vec![self.listens.to_string()])).await.expect("said");
        for sequence in 1.. {
            send.send(&WorkerMessage::Heartbeat { sequence }).await.expect("said");
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Gives the dispatcher what it wants for others, in the same manner.
    async fn serve_dispatcher(&self, link: Link) {
        while let Ok((mut send, mut recv)) = link.accept_bi().await {
            let played = self.clone();
            tokio::spawn(async move {
                if let Ok(Some(StreamPurpose::PieceRead { blobs })) = recv.recv(MAX_FRAME).await {
                    let _ = played.serve(&blobs, &mut send, &mut recv).await;
                }
                send.abandon();
            });
        }
    }

    /// A peer that dialled.
    async fn receive(self, visitor: Incoming) -> Result<(), TransportError> {
        let welcome = PeerWelcome { protocol: PROTOCOL_VERSION, software: "1.0.0".to_owned(), instance: START };
        let (link, mut send, mut recv) = visitor.welcome_peer(welcome).await?;
        self.asked.linked.lock().expect("nobody fell over").insert(link.peer());
        tokio::spawn(async move {
            let status = PeerStatus { instance: START, free_slots: 0, ready: 0, accepting: false };
            while send.send(&PeerMessage::Status(status)).await.is_ok() {
                tokio::time::sleep(EVERY).await;
            }
        });
        tokio::spawn(async move { while let Ok(Some(_)) = recv.recv::<PeerMessage>(MAX_PEER_FRAME).await {} });
        loop {
            let (mut send, mut recv) = link.accept_bi().await?;
            let (played, link) = (self.clone(), link.clone());
            tokio::spawn(async move {
                match recv.recv(MAX_PEER_FRAME).await {
                    Ok(Some(PeerPurpose::Pieces { blobs, .. })) => {
                        let served = played.serve(&blobs, &mut send, &mut recv).await;
                        if served.is_ok() && played.manners == Manners::BreaksOff {
                            link.close(CloseCode::Done, "gone");
                        }
                    }
                    Ok(Some(PeerPurpose::Probe)) => {
                        let here = PeerSelf { software: "1.0.0".to_owned(), clock: Timestamp::from_millis(1) };
                        let _ = send.send(&here).await;
                    }
                    _ => {}
                }
            });
        }
    }

    /// One conversation about pieces, up to the moment when it has done its worst.
    async fn serve(&self, blobs: &[BlobRef], send: &mut FrameSend, recv: &mut FrameRecv) -> Result<(), TransportError> {
        let everything = (0u32..).zip(blobs).filter_map(|(place, blob)| {
            let pieces = IntervalSet::from_range(0, pieces_of(*blob).checked_sub(1)?);
            Some(PiecesAt { place, pieces })
        });
        send.send(&PieceAnswer::Has(everything.collect())).await?;
        let mut is_counted = false;
        while let Some(PieceAsk(wanted)) = recv.recv(MAX_PIECES_FRAME).await? {
            send.send(&PieceAnswer::Has(Vec::new())).await?;
            for (place, number) in wanted.iter().flat_map(|at| at.pieces.iter().map(|number| (at.place, number))) {
                if !std::mem::replace(&mut is_counted, true) {
                    self.asked.conversations.fetch_add(1, Ordering::SeqCst);
                }
                let piece = self.store.encode(blobs[place as usize], number).expect("it made this file");
                if self.misgive(place, number, piece, send).await? == Goes::Away {
                    return Ok(());
                }
            }
            send.send_data(&DataFrame::End).await?;
        }
        send.finish().await
    }

    async fn misgive(
        &self,
        place: u32,
        number: u64,
        mut piece: Vec<u8>,
        send: &mut FrameSend,
    ) -> Result<Goes, TransportError> {
        match self.manners {
            Manners::Lies => {
                *piece.last_mut().expect("some bytes") ^= 1;
                send.feed_piece(place, number, &piece).await?;
                Ok(Goes::On)
            }
            Manners::Crawls => {
                send.feed_data(&begins(place, number, &piece)).await?;
                for some in piece.chunks(100) {
                    send.send_data(&DataFrame::Bytes(Cow::Borrowed(some))).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(Goes::On)
            }
            Manners::BreaksOff => {
                send.feed_data(&begins(place, number, &piece)).await?;
                send.send_data(&DataFrame::Bytes(Cow::Borrowed(&piece[..piece.len() / 2]))).await?;
                Ok(Goes::Away)
            }
        }
    }
}

/// Whether a conversation has an end of its own.
#[derive(PartialEq, Eq)]
enum Goes {
    On,
    Away,
}

fn begins(blob: u32, piece: u64, encoded: &[u8]) -> DataFrame<'static> {
    DataFrame::PieceBegins { blob, piece, length: encoded.len() as u32 }
}

/// Hears what the dispatcher says and does nothing about it.
async fn listen(mut recv: FrameRecv) {
    while let Ok(Some(_)) = recv.recv::<DispatcherMessage>(MAX_FRAME).await {}
}
