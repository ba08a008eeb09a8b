//! One fetch: the engine decides which piece comes from whom, and this carries it out.
//!
//! ```text
//! consult ── who has them ──▶ engine ── orders ──▶ sessions ── pieces ──▶ store
//!                               ▲──────── news ──────┘
//! ```
//!
//! The one invariant: a fetch that is dropped leaves no conversation behind. Absent: any choice between sources (the
//! engine's), and the words of a conversation (`session`).

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::consult::{Consultation, Consulted};
use super::session::{QUESTIONS, Session, SessionEnd, SessionNews};
use super::{FilesError, Stock};
use crate::engine::transfer::{Fault, Fetch, FetchConfig, Holders, Notice, Order, Pieces, SessionNo, Way};
use crate::model::files::{BlobRef, BlobWish, FailedSource, TransferPath};
use crate::model::pieces::{BlobHolders, MAX_NAMED, ReadPass};
use crate::model::{AttemptId, Digest, IntervalSet, NodeId, NodeName};

/// News that waits to be heard; sessions wait while it is full.
const NEWS: usize = 256;
/// Damaged pieces of the dispatcher's in one fetch, after which that is given up: its disk is broken.
const MOST_DAMAGED: u32 = 3;
/// What bytes from the dispatcher are said to come from.
const DISPATCHER: &str = "dispatcher";

/// Where the bytes of some blobs came from: by whoever had them and the way; and who failed.
#[derive(Debug, Default)]
pub(super) struct Moved {
    came: BTreeMap<(String, TransferPath), u64>,
    failed: Failed,
}

/// By the name of a source, how it failed first, or worst.
type Failed = BTreeMap<String, String>;

impl Moved {
    /// Bytes that came in all.
    pub(super) fn bytes(&self) -> u64 {
        self.came.values().sum()
    }

    /// From whom how many came, and how.
    pub(super) fn parts(self) -> impl Iterator<Item = (String, TransferPath, u64)> {
        self.came.into_iter().map(|((from, path), bytes)| (from, path, bytes))
    }

    /// Who failed since this was asked last.
    pub(super) fn take_failed(&mut self) -> impl Iterator<Item = FailedSource> + use<> {
        std::mem::take(&mut self.failed).into_iter().map(|(name, why)| FailedSource { name, why })
    }

    fn add(&mut self, from: String, path: TransferPath, bytes: u64) {
        *self.came.entry((from, path)).or_insert(0) += bytes;
    }
}

/// Everything of one fetch.
struct Transfer<'a> {
    stock: &'a Stock,
    id: AttemptId,
    blobs: Vec<BlobRef>,
    engine: Fetch,
    sessions: BTreeMap<SessionNo, (Way, mpsc::Sender<Pieces>, AbortHandle)>,
    /// Aborted with this.
    tasks: JoinSet<()>,
    news: mpsc::Sender<(SessionNo, SessionNews)>,
    consultation: Consultation,
    /// What workers are called.
    names: BTreeMap<NodeId, NodeName>,
    /// What they are shown.
    pass: Option<ReadPass>,
    failed: Failed,
    damaged: u32,
}

impl Stock {
    /// Has the pieces of `wishes`, which `manifest` lists if there is one, come from wherever they are; adds to `moved` what did.
    pub(super) async fn transfer(
        &self,
        id: AttemptId,
        wishes: Vec<BlobWish>,
        manifest: Option<BlobRef>,
        moved: &mut Moved,
    ) -> Result<(), FilesError> {
        let blobs: Vec<BlobRef> = wishes.iter().map(|wish| wish.blob).collect();
        let config = FetchConfig { seed: seed(&blobs, self.own), p2p: self.has_peers() };
        let (news, mut heard) = mpsc::channel(NEWS);
        let (consultation, mut consulted) = Consultation::begin(self.clone(), id, blobs.clone());
        let engine = Fetch::new(self.clock.now(), wishes, config, &self.banned(id.task.job));
        let mut transfer = Transfer {
            stock: self,
            id,
            blobs,
            engine,
            sessions: BTreeMap::new(),
            tasks: JoinSet::new(),
            news,
            consultation,
            names: BTreeMap::new(),
            pass: None,
            failed: Failed::new(),
            damaged: 0,
        };
        if let Some((giver, pass)) = self.giver_of(id, manifest) {
            // It may have what its attempt needs, and can be asked while the dispatcher cannot.
            transfer.pass = Some(pass);
            let places = IntervalSet::from_range(0, transfer.blobs.len().saturating_sub(1) as u64);
            transfer.engine.add_holder(self.clock.now(), giver, places);
        }
        let ended = transfer.run(&mut heard, &mut consulted).await;
        transfer.account(moved);
        if ended.is_ok() {
            transfer.consultation.complete();
        }
        ended
    }
}

impl Transfer<'_> {
    async fn run(
        &mut self,
        heard: &mut mpsc::Receiver<(SessionNo, SessionNews)>,
        consulted: &mut mpsc::Receiver<Consulted>,
    ) -> Result<(), FilesError> {
        loop {
            self.perform()?;
            if self.engine.is_done() {
                return Ok(());
            }
            let due = self.engine.poll_timeout();
            tokio::select! {
                Some((session, news)) = heard.recv() => self.hear(session, news)?,
                Some(answer) = consulted.recv() => self.learn(answer)?,
                () = self.stock.clock.sleep_until(due) => self.engine.handle_timeout(self.stock.clock.now()),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Carries out what the engine wants.
    fn perform(&mut self) -> Result<(), FilesError> {
        for order in self.engine.take_orders() {
            match order {
                Order::Consult => self.consultation.ask(self.engine.empty_handed(MAX_NAMED)),
                Order::Open { session, way } => self.open(session, way),
                Order::Ask { session, pieces } => {
                    // It takes more questions than a source may owe answers; one that has ended says so by itself.
                    if let Some((_, questions, _)) = self.sessions.get(&session) {
                        let _ = questions.try_send(pieces);
                    }
                }
                Order::Close { session } => {
                    if let Some((.., task)) = self.sessions.remove(&session) {
                        task.abort();
                    }
                }
            }
        }
        for notice in self.engine.take_notices() {
            self.note(notice)?;
        }
        Ok(())
    }

    fn open(&mut self, number: SessionNo, way: Way) {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (stock, id, pass) = (self.stock.clone(), self.id, self.pass.clone());
        let session =
            Session { number, store: stock.store.clone(), blobs: self.blobs.clone(), news: self.news.clone() };
        let task = self.tasks.spawn(async move {
            let end = match stock.reach(id, way, pass, &session.blobs).await {
                Ok((send, recv)) => session.talk(send, recv, asked).await,
                Err(end) => end,
            };
            let _ = session.news.send((number, SessionNews::Ended(end))).await;
        });
        self.sessions.insert(number, (way, questions, task));
    }

    fn hear(&mut self, session: SessionNo, news: SessionNews) -> Result<(), FilesError> {
        let now = self.stock.clock.now();
        match news {
            SessionNews::Has(has) => self.engine.handle_answer(now, session, has),
            SessionNews::Bytes(bytes) => self.engine.handle_bytes(now, session, bytes),
            SessionNews::Kept { place, number } => self.engine.handle_piece(now, session, place, number),
            SessionNews::Answered => self.engine.handle_answered(now, session),
            SessionNews::Ended(end) => {
                let Some((way, ..)) = self.sessions.get(&session) else { return Ok(()) };
                let fault = match end {
                    SessionEnd::Ours(error) => return Err(error),
                    SessionEnd::Refused(failure) if *way == Way::Dispatcher => {
                        return Err(FilesError::Refused(failure));
                    }
                    SessionEnd::Busy => {
                        self.engine.handle_busy(now, session);
                        return Ok(());
                    }
                    SessionEnd::Damaged { place } => Fault::Damaged { place },
                    SessionEnd::Refused(failure) => {
                        tracing::debug!("{} refuses pieces: {}", self.name(*way), failure.text);
                        Fault::Refused
                    }
                    SessionEnd::NotReached(why) => {
                        tracing::debug!("{} is not reached: failed to {why}", self.name(*way));
                        Fault::Unreachable
                    }
                    SessionEnd::Broke(error) => {
                        tracing::debug!("Pieces from {} break off: failed to {error}", self.name(*way));
                        Fault::Broken
                    }
                };
                self.engine.handle_failure(now, session, fault);
            }
        }
        Ok(())
    }

    fn learn(&mut self, answer: Consulted) -> Result<(), FilesError> {
        let now = self.stock.clock.now();
        match answer {
            Consulted::Failed => self.engine.handle_no_holders(now),
            Consulted::Refused(failure) => return Err(FilesError::Refused(failure)),
            Consulted::Remade(text) => return Err(FilesError::Remade(text)),
            Consulted::Holders(BlobHolders { here, workers, index, of, grant }) => {
                self.pass = grant.map(ReadPass::Blobs);
                let mut peers: Vec<(NodeId, IntervalSet)> = Vec::with_capacity(workers.len());
                for worker in workers.into_iter().filter(|worker| worker.node != self.stock.own) {
                    self.names.insert(worker.node, worker.name);
                    peers.push((worker.node, worker.places));
                }
                self.engine.handle_holders(now, Holders { here, peers, share: (index, of) });
            }
        }
        Ok(())
    }

    fn note(&mut self, notice: Notice) -> Result<(), FilesError> {
        if let Notice::Failed { way: way @ (Way::Direct(_) | Way::Relay(_)), fault } = notice {
            let name = self.name(way);
            match fault {
                Fault::Damaged { .. } => drop(self.failed.insert(name, fault.to_string())),
                _ => drop(self.failed.entry(name).or_insert_with(|| fault.to_string())),
            }
        }
        match notice {
            Notice::Relaying { holder, fault } => {
                let name = self.name(Way::Direct(holder));
                tracing::info!("[P2P] Direct transfer failed ({name}: {fault}); relaying through the dispatcher");
            }
            Notice::Failed { way: Way::Dispatcher, fault: Fault::Damaged { place } } => {
                let digest = self.digest(place);
                tracing::warn!("The dispatcher sent a damaged piece of {}", digest.short());
                self.damaged += 1;
                if self.damaged == MOST_DAMAGED {
                    return Err(FilesError::Damaged(digest));
                }
            }
            Notice::Failed { way, fault: Fault::Damaged { place } } => {
                let (name, digest, job) = (self.name(way), self.digest(place), self.id.task.job);
                tracing::warn!(
                    "[P2P] {name} sent a damaged piece of {}; it is asked for nothing more of job {job}",
                    digest.short()
                );
                way.holder().into_iter().for_each(|node| self.stock.ban(job, node));
            }
            Notice::Failed { way: Way::Dispatcher, fault } => {
                tracing::debug!("Fetching inputs of task {} from the dispatcher starts again: {fault}", self.id);
            }
            Notice::Failed { way, fault } => {
                tracing::info!("[P2P] Source {} of inputs of task {} failed: {fault}", self.name(way), self.id);
            }
        }
        Ok(())
    }

    fn account(&self, moved: &mut Moved) {
        moved.failed.extend(self.failed.clone());
        for (_, way, bytes) in self.engine.tally() {
            let (from, path) = match way {
                Way::Dispatcher => (DISPATCHER.to_owned(), TransferPath::Dispatcher),
                Way::Direct(_) => (self.name(way), TransferPath::Direct),
                Way::Relay(_) => (self.name(way), TransferPath::Relay),
            };
            moved.add(from, path, bytes);
            self.stock.traffic.received(path, bytes);
        }
    }

    fn name(&self, way: Way) -> String {
        match way.holder() {
            None => DISPATCHER.to_owned(),
            Some(node) => self.names.get(&node).map_or_else(|| self.stock.name_of(node), ToString::to_string),
        }
    }

    fn digest(&self, place: u32) -> Digest {
        self.blobs.get(place as usize).map_or(crate::blob::EMPTY, |blob| blob.digest)
    }
}

/// Differs between workers, and between what they fetch.
fn seed(blobs: &[BlobRef], own: NodeId) -> u64 {
    let first = blobs.first().map_or([0; 32], |blob| blob.digest.0);
    let mixed = std::array::from_fn(|at| first[at] ^ own.0[at] ^ own.0[at + 8]);
    u64::from_le_bytes(mixed)
}
