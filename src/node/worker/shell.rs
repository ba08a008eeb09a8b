//! The worker's loop: one event at a time into the engine, its effects out
//! again.
//!
//! Invariant: the engine alone decides; this loop never waits for the network,
//! so a stalled link delays neither a result nor a time limit. Absent: dialling
//! (`connector`), processes (`exec`), and everything that takes longer than a
//! moment, which runs in tasks of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::StopWishes;
use super::files::{FilesError, Staged, Stock, Urgency};
use super::files_ahead::Aheads;
use super::files_turn::{Staging, Uncollected};
use super::hand_over::Porter;
use super::holding::Holding;
use super::last_words::Briefer;
use super::lease::LeaseClock;
use super::mesh::Mesh;
use super::outbox::{Reached, ResultKeeper};
use super::reports::Reports;
use super::ways::FolderPath;
use crate::blob::{Collected, Pins};
use crate::engine::worker::{WorkerEngine, WorkerLinkChange};
use crate::exec::{Ending, ExecEvent, Executor, KeptLogs};
use crate::model::files::TaskFiles;
use crate::model::handshake::Welcome;
use crate::model::messages::{DispatcherMessage, FencedAttempt, WorkerMessage};
use crate::model::peers::PeerMessage;
use crate::model::{AttemptId, Millis, NodeId, NodeName, SealedSpec, Timestamp};
use crate::node::{Clock, NodeError};
use crate::store::StoreError;
use crate::transport::Link;

/// Messages that travel together.
pub(super) type Outgoing = Vec<WorkerMessage>;

/// Events taken before their effects are performed: one wakeup, one write and
/// one frame for all that happened at the same time.
const EVENTS_A_TURN: usize = 256;

/// Everything that can happen to a worker.
pub(super) enum Event {
    /// The dispatcher said welcome on a new link.
    Up(Box<Up>),
    /// It said something.
    Said(DispatcherMessage),
    /// The link is gone.
    Down,
    /// The executor said something.
    Exec(ExecEvent),
    /// An upload is over.
    Uploaded {
        /// Whose output.
        id: AttemptId,
        /// Whether the dispatcher has it.
        arrived: bool,
    },
    /// An attempt's directory is ready, or cannot be made so.
    Staged {
        /// Whose.
        attempt: FencedAttempt,
        /// How much it mattered when that was begun.
        urgency: Urgency,
        /// The directory, or why there is none.
        staged: Result<Staged, Box<FilesError>>,
    },
    /// What an ended attempt left of its outputs is taken up.
    Collected {
        /// Whose.
        id: AttemptId,
        /// How it ended.
        ending: Box<Ending>,
        /// Its outputs, or why there are none.
        collected: Result<(Collected, Pins), Uncollected>,
    },
    /// The dispatcher has an attempt's outputs, or refused them for this reason.
    Offered {
        /// Whose.
        id: AttemptId,
        /// Why not.
        refused: Option<String>,
    },
    /// Another worker said something on a direct link.
    Peer {
        /// Who.
        from: NodeId,
        /// What.
        message: PeerMessage,
    },
    /// Something changed about the direct links.
    Links,
    /// Outputs that only this worker had are with the dispatcher, or are not, and why.
    BroughtHome {
        /// Whether the worker waits for it to stop.
        to_stop: bool,
        /// How many outputs were copied, or why not.
        brought: Result<u64, String>,
    },
    /// The outbox has come on, or its disk has become full or has room again.
    Outbox(Reached),
    /// The link takes more messages.
    Room,
    /// The engine or the outbox asked to be called at this time.
    Timeout,
    /// The user wants the worker to stop, and to let what runs go on for so long.
    Stop(Millis),
    /// The user wants it to stop at once.
    Hurry,
    /// It cannot go on.
    Fatal(NodeError),
}

/// A welcome, and how to go on from it.
pub(super) struct Up {
    /// The dispatcher's key.
    pub(super) dispatcher: NodeId,
    /// Where it was reached.
    pub(super) address: SocketAddr,
    /// What it said.
    pub(super) welcome: Welcome,
    /// Takes what is to be said on this link.
    pub(super) outgoing: mpsc::Sender<Outgoing>,
}

/// Where events come from.
pub(super) struct Inbox {
    /// The connector, and tasks that report their end.
    pub(super) events: mpsc::Receiver<Event>,
    /// The executor.
    pub(super) exec: mpsc::Receiver<ExecEvent>,
    /// How far the outbox is.
    pub(super) reached: watch::Receiver<Reached>,
    /// Changes of the direct links.
    pub(super) links: watch::Receiver<u64>,
    /// The outbox failed.
    pub(super) failed: mpsc::Receiver<StoreError>,
    /// The user.
    pub(super) stop: StopWishes,
}

impl Inbox {
    /// The next event that needs no waiting.
    fn ready(&mut self) -> Option<Event> {
        self.exec.try_recv().map(Event::Exec).or_else(|_| self.events.try_recv()).ok()
    }
}

/// An attempt that was handed to the executor.
pub(super) struct Running {
    /// When.
    pub(super) ordered_at: Timestamp,
    /// When its process started, if that was heard.
    pub(super) started_at: Option<Timestamp>,
    /// Its job's spec, when outputs are to be taken up.
    pub(super) spec: Option<SealedSpec>,
}

/// How the loop ended, where no error did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopEnd {
    /// Stopped as asked.
    Stopped,
    /// A dispatcher with another key has taken the place of the one whose work is here.
    OtherDispatcher,
}

/// What connects a shell with the rest of its life.
pub(super) struct Wires {
    /// To the shell itself, for tasks that report their end as an event.
    pub(super) events: mpsc::Sender<Event>,
    /// The current link, for tasks that open streams of their own.
    pub(super) live: watch::Receiver<Option<Link>>,
    /// The direct links to other workers.
    pub(super) mesh: Mesh,
    /// Tells the guard where the dispatcher is.
    pub(super) briefer: Option<Briefer>,
    /// Whether there is no other worker and never will be: that of an embedded cluster.
    pub(super) alone: bool,
    /// The worker's folder; an embedded worker has none.
    pub(super) folder: Option<FolderPath>,
    /// Where output is kept until its result is recorded; nowhere for an embedded worker.
    pub(super) kept_logs: Option<KeptLogs>,
}

/// What a shell does its work with.
pub(super) struct Hands {
    /// Starts and ends processes.
    pub(super) executor: Executor,
    /// Brings and keeps files.
    pub(super) stock: Stock,
    /// Hands attempts to peers and takes them.
    pub(super) porter: Porter,
}

/// A worker that knows its dispatcher.
pub(super) struct Shell {
    pub(super) clock: Clock,
    pub(super) engine: WorkerEngine,
    pub(super) executor: Executor,
    pub(super) keeper: ResultKeeper,
    pub(super) dispatcher: NodeId,
    pub(super) name: NodeName,
    pub(super) wires: Wires,
    /// The link, if there is one.
    pub(super) outgoing: Option<mpsc::Sender<Outgoing>>,
    /// What waits until the link takes it. Bounded by what the worker holds:
    /// neighbours of one kind are merged, and a lost link clears it.
    pub(super) pending: Outgoing,
    pub(super) running: BTreeMap<AttemptId, Running>,
    pub(super) reports: Reports,
    pub(super) stock: Stock,
    /// Attempts whose inputs are on their way.
    pub(super) staging: BTreeMap<AttemptId, (Staging, AbortHandle)>,
    /// Attempts that wait for room, whose inputs are there or on their way.
    pub(super) ahead: Aheads,
    /// What attempts moved, until their results are recorded; and offers of their outputs.
    pub(super) moved: BTreeMap<AttemptId, TaskFiles>,
    pub(super) offers: BTreeMap<AttemptId, AbortHandle>,
    /// Whether outputs stay here until they are asked for.
    pub(super) holding: Holding,
    /// For what goes to peers, and comes from them.
    pub(super) porter: Porter,
    /// Until when exclusive attempts may run.
    pub(super) lease: LeaseClock,
    /// Attached attempts whose results are not recorded yet.
    pub(super) attached: BTreeMap<AttemptId, oneshot::Sender<()>>,
    /// Streams and uploads underway.
    pub(super) tasks: JoinSet<()>,
    /// When it was last said that another worker has this one's key.
    pub(super) told_of_copy: Option<Timestamp>,
    pub(super) stopping: bool,
    pub(super) hurried: bool,
}

impl Shell {
    /// A shell for the dispatcher that was first to say welcome.
    pub(super) fn new(
        clock: Clock,
        engine: WorkerEngine,
        hands: Hands,
        keeper: ResultKeeper,
        first: &Up,
        wires: Wires,
    ) -> Self {
        let Hands { executor, stock, porter } = hands;
        Self {
            clock,
            engine,
            executor,
            keeper,
            dispatcher: first.dispatcher,
            name: first.welcome.name.clone(),
            wires,
            outgoing: None,
            pending: Outgoing::new(),
            running: BTreeMap::new(),
            reports: Reports::default(),
            stock,
            staging: BTreeMap::new(),
            ahead: Aheads::default(),
            moved: BTreeMap::new(),
            offers: BTreeMap::new(),
            holding: Holding::default(),
            porter,
            lease: LeaseClock::default(),
            attached: BTreeMap::new(),
            tasks: JoinSet::new(),
            told_of_copy: None,
            stopping: false,
            hurried: false,
        }
    }

    /// Runs until stopped, or until it cannot go on.
    pub(super) async fn run(&mut self, inbox: &mut Inbox, first: Event) -> Result<LoopEnd, NodeError> {
        let mut next = Some(first);
        loop {
            let event = match next.take() {
                Some(event) => event,
                None => self.next_event(inbox).await,
            };
            // A turn may begin hundreds; those that are over are of no interest.
            while self.tasks.try_join_next().is_some() {}
            let more = std::iter::from_fn(|| inbox.ready()).take(EVENTS_A_TURN);
            for event in std::iter::once(event).chain(more) {
                if let Some(end) = self.apply(event)? {
                    return Ok(end);
                }
            }
            self.perform()?;
            self.send_pending();
            self.wires.mesh.stand(self.engine.vacancy(), self.engine.dispatcher_time(self.clock.now()));
            if self.stopping && self.has_stopped() && self.left_nothing_behind() {
                return Ok(LoopEnd::Stopped);
            }
        }
    }

    async fn next_event(&mut self, inbox: &mut Inbox) -> Event {
        let deadline = [self.engine.poll_timeout(), self.keeper.due()].into_iter().flatten().min();
        let outgoing = self.outgoing.as_ref().filter(|_| !self.pending.is_empty());
        let room = async {
            // A closed channel is a link that is gone: its `Down` is on its way.
            let open = match outgoing {
                Some(outgoing) => outgoing.reserve().await.is_ok(),
                None => false,
            };
            if !open {
                std::future::pending().await
            }
        };
        tokio::select! {
            Some(event) = inbox.events.recv() => event,
            Some(event) = inbox.exec.recv() => Event::Exec(event),
            Some(error) = inbox.failed.recv() => Event::Fatal(error.into()),
            Ok(()) = inbox.reached.changed() => Event::Outbox(*inbox.reached.borrow_and_update()),
            Ok(()) = inbox.links.changed() => Event::Links,
            () = room => Event::Room,
            () = self.clock.sleep_until(deadline) => Event::Timeout,
            () = inbox.stop.wanted.raised(), if !self.stopping => Event::Stop(inbox.stop.grace),
            () = inbox.stop.hurry.raised(), if self.stopping && !self.hurried => Event::Hurry,
            Some(_) = self.tasks.join_next() => Event::Room,
        }
    }

    /// Takes one event to where it belongs.
    fn apply(&mut self, event: Event) -> Result<Option<LoopEnd>, NodeError> {
        let now = self.clock.now();
        match event {
            Event::Up(up) if up.dispatcher != self.dispatcher => return Ok(Some(LoopEnd::OtherDispatcher)),
            Event::Up(up) => self.joined(now, *up),
            Event::Said(message) => {
                if let DispatcherMessage::HeartbeatSeen { sequence, .. } = &message
                    && let Some(lease) = self.lease.hears(*sequence)
                {
                    self.executor.renew(lease);
                }
                self.engine.handle_message(now, message);
            }
            Event::Down => {
                self.outgoing = None;
                self.pending.clear();
                self.reports.link_lost();
                self.link_lost_in_bringing_home();
                self.engine.handle_link(now, WorkerLinkChange::Down);
            }
            Event::Exec(event) => self.executed(now, event),
            Event::Uploaded { id, arrived } => {
                if let Some(ended) = self.reports.log_ended(id, arrived) {
                    self.queue(WorkerMessage::Ended(vec![ended]));
                }
            }
            Event::Staged { attempt, urgency, staged } => self.staged(now, (attempt, urgency), staged),
            Event::Collected { id, ending, collected } => self.collected(now, id, *ending, collected),
            Event::Offered { id, refused } => {
                self.offers.remove(&id);
                if let Some(ended) = self.reports.files_ended(id, refused) {
                    self.queue(WorkerMessage::Ended(vec![ended]));
                }
            }
            Event::Peer { from, message } => self.heard_peer(now, from, message),
            Event::Links => self.look_at_links(now),
            Event::BroughtHome { to_stop, brought } => self.brought_home(to_stop, brought),
            Event::Outbox(reached) => self.keeper.progressed(now, reached),
            Event::Room => {}
            Event::Timeout => self.engine.handle_timeout(now),
            Event::Stop(grace) => self.stop(now, grace),
            Event::Hurry => {
                self.hurried = true;
                tracing::info!("Stopping at once");
                self.engine.hurry(now);
            }
            Event::Fatal(error) => return Err(error),
        }
        Ok(None)
    }

    /// Takes nothing new; everything else follows from the engine.
    fn stop(&mut self, now: Timestamp, grace: Millis) {
        self.stopping = true;
        let tasks = match self.engine.executing() {
            0 => String::new(),
            1 => "1 running task".to_owned(),
            several => format!("{several} running tasks"),
        };
        if tasks.is_empty() {
            match self.engine.unrecorded() {
                0 => tracing::info!("Stopping"),
                results => tracing::info!(
                    "Stopping: waiting up to {grace} for the dispatcher to record {results} results; a second Ctrl-C \
                     or SIGTERM ends that, and the next start of this worker delivers them"
                ),
            }
        } else if grace == Millis(0) {
            tracing::info!("Stopping: ending {tasks}");
        } else {
            tracing::info!("Stopping: {tasks} may go on for {grace}; a second Ctrl-C or SIGTERM ends them at once");
        }
        self.engine.stop(now, grace);
    }

    /// Whether a stop is complete and its last words are on their way: results wait for what they promise, and
    /// the worker for them, unless it is in a hurry or nobody is there to take them.
    fn has_stopped(&self) -> bool {
        let said = self.pending.is_empty() && (self.hurried || !self.reports.hold_any());
        self.engine.is_stopped() && (said || self.outgoing.is_none())
    }

    /// Hands what is to be said to the link, as far as the link takes it.
    fn send_pending(&mut self) {
        let Some(outgoing) = &self.outgoing else { return self.pending.clear() };
        if !self.pending.is_empty()
            && let Ok(permit) = outgoing.try_reserve()
        {
            permit.send(std::mem::take(&mut self.pending));
        }
    }
}
