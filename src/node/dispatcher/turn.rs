//! The engine's loop: take events, tell the engine, perform its effects.
//!
//! The one invariant: one turn is one batch. All events that wait are told
//! first, then everything the engine wants is drained once, its records
//! appended as one numbered batch, and its messages left to [`Release`]. The
//! loop never waits for a peer; it takes no events while the store has enough
//! to write. Absent: every decision (the engine's).

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::chronicle::Chronicle;
use super::event::{Arrival, Event, Question, TURN_EVENTS};
use super::files::Files;
use super::live::Live;
use super::log_files::LogFiles;
use super::notary::Notary;
use super::ports::Ports;
use super::progress::StoreProgress;
use super::release::{Hold, Lane, Release};
use super::roster::{Enrolled, Member};
use crate::engine::dispatcher::{DispatcherEngine, Inbound, LinkChange, Notice, Outbound};
use crate::model::messages::DispatcherMessage;
use crate::model::requests::Reply;
use crate::model::{AttemptId, JobId, LinkId, RequestId, Timestamp};
use crate::node::{Clock, NodeError};
use crate::store::Store;

/// What the loop owns or shares.
pub(super) struct Turns {
    pub(super) clock: Clock,
    pub(super) engine: DispatcherEngine,
    pub(super) store: Store,
    pub(super) progress: StoreProgress,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) live: Live,
    pub(super) log_files: LogFiles,
    pub(super) files: Files,
    pub(super) chronicle: Chronicle,
    pub(super) release: Release<Due>,
    pub(super) ports: Ports,
    /// The keys that are enrolled.
    pub(super) members: watch::Sender<Arc<Enrolled>>,
    pub(super) notary: Notary,
}

/// Something to be done once its records are written or synced.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every one is a message, and a box for each would cost more")]
pub(super) enum Due {
    /// Say this.
    Send(LinkId, Outbound),
    /// Remove the logs of these forgotten jobs.
    DeleteLogs(Vec<JobId>),
    /// What these attempts have brought is needed by the store or by nobody.
    ReleaseFiles(Vec<AttemptId>),
}

impl Hold for Due {
    fn lane(&self) -> Lane {
        match self {
            Self::Send(_, Outbound::ToWorker(DispatcherMessage::Recorded(_)))
            | Self::DeleteLogs(_)
            | Self::ReleaseFiles(_) => Lane::Receipts,
            Self::Send(link, _) => Lane::Link(*link),
        }
    }

    fn is_urgent(&self) -> bool {
        match self {
            Self::Send(_, outbound) => !matches!(
                outbound,
                Outbound::ToWorker(DispatcherMessage::Recorded(_)) | Outbound::Reply { reply: Reply::Progress(_), .. }
            ),
            Self::DeleteLogs(_) | Self::ReleaseFiles(_) => false,
        }
    }
}

/// Who is enrolled by now.
pub(super) fn enrolled(engine: &DispatcherEngine) -> Enrolled {
    let workers = engine.enrolled_workers().map(|(node, name)| Member { node, name: name.clone() }).collect();
    Enrolled { workers, clients: engine.enrolled_clients() }
}

impl Turns {
    /// Runs until it is told to stop, or the store fails.
    pub(super) async fn run(mut self) -> Result<(), NodeError> {
        let mut waiting = Vec::with_capacity(TURN_EVENTS);
        loop {
            let wake = self.engine.poll_timeout();
            // While the disk is behind, nobody is heard; and then nobody must be called silent either.
            let has_room = self.release.has_room();
            tokio::select! {
                biased;
                Some(error) = self.progress.failed.recv() => return Err(NodeError::StoreLost(error)),
                Ok(()) = self.progress.reached.changed() => self.note_progress(),
                taken = self.events.recv_many(&mut waiting, TURN_EVENTS), if has_room => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                () = self.clock.sleep_until(wake), if has_room => {}
            }
            let now = self.clock.now();
            if has_room && wake.is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now);
            }
            let mut stop = None;
            for event in waiting.drain(..) {
                match event {
                    Event::Stop(done) => {
                        self.engine.count_uptime(now);
                        stop = Some(done);
                    }
                    other => self.tell_engine(now, other),
                }
            }
            self.perform()?;
            if let Some(done) = stop {
                return self.wind_up(done).await;
            }
        }
    }

    /// Waits until everything that was taken is written and said, and lets go of all links.
    async fn wind_up(mut self, done: oneshot::Sender<()>) -> Result<(), NodeError> {
        while !self.release.is_idle() {
            tokio::select! {
                biased;
                Some(error) = self.progress.failed.recv() => return Err(NodeError::StoreLost(error)),
                Ok(()) = self.progress.reached.changed() => {
                    self.note_progress();
                    self.let_go();
                }
                else => break,
            }
        }
        self.ports.close_all();
        let _ = done.send(());
        Ok(())
    }

    fn note_progress(&mut self) {
        let reached = *self.progress.reached.borrow_and_update();
        self.release.written(reached.written);
        self.release.synced(reached.synced);
        self.engine.handle_synced(reached.synced);
        self.engine.handle_disk(self.clock.now(), reached.disk);
    }

    fn tell_engine(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::LinkUp(arrival) => {
                let Arrival { link, node, hello, vouched, port } = *arrival;
                self.ports.open(link, port);
                self.engine.handle_link(now, link, LinkChange::Up { node, hello, vouched });
            }
            Event::LinkDown(link) => {
                self.ports.close(link);
                self.engine.handle_link(now, link, LinkChange::Down);
            }
            Event::FromWorker { link, message } => {
                let message = self.notary.open(&self.engine, link, message);
                self.engine.handle_message(now, link, message);
            }
            Event::FromGuard(link) => self.engine.handle_message(now, link, Inbound::Guard),
            Event::Asked { link, request, question, replies } => {
                self.ports.ask(link, request, replies);
                self.put(now, link, request, question);
            }
            Event::InputLost { link, request, lost, replies } => {
                self.ports.ask(link, request, replies);
                self.engine.handle_message(now, link, Inbound::InputLost { request, lost });
            }
            Event::RequestGone { link, request } => {
                if self.ports.hang_up(request) {
                    self.engine.handle_message(now, link, Inbound::RequestGone(request));
                }
            }
            Event::Expired(jobs) => self.engine.handle_expired(now, &jobs),
            Event::Uptime => self.engine.count_uptime(now),
            // Taken out by the loop before it comes here.
            Event::Stop(_) => {}
        }
    }

    fn put(&mut self, now: Timestamp, link: LinkId, request: RequestId, question: Question) {
        if let Some(earlier) = question.earlier
            && !self.engine.knows(earlier.0)
        {
            // Known to the store alone, so it ended long ago; and so it is durable.
            return self.ports.reply(request, earlier.1);
        }
        let call = question.call;
        self.engine.handle_message(now, link, Inbound::Request { request, call });
    }

    fn perform(&mut self) -> Result<(), NodeError> {
        let effects = self.engine.take_effects();
        let mut after_sync: Vec<Due> = effects.messages_after_sync.into_iter().map(send).collect();
        let (mut forgotten, mut over) = (Vec::new(), Vec::new());
        let mut members_changed = false;
        for notice in &effects.notices {
            self.chronicle.tell(self.clock.now(), notice);
            match notice {
                Notice::NodeEnrolled { .. }
                | Notice::NodeRevoked { .. }
                | Notice::WorkerJoined { .. }
                | Notice::WorkerLeft { .. } => members_changed = true,
                Notice::JobForgotten { job } => forgotten.push(*job),
                Notice::AttemptOver { id } => over.push(*id),
                _ => {}
            }
        }
        if !forgotten.is_empty() {
            after_sync.push(Due::DeleteLogs(forgotten));
        }
        let mut messages = effects.messages;
        for (_, message) in &mut messages {
            if let Outbound::ToWorker(DispatcherMessage::Grant(granted)) = message {
                self.notary.sign(&self.engine, granted);
            }
        }
        let mut messages: Vec<Due> = messages.into_iter().map(send).collect();
        if !over.is_empty() {
            messages.push(Due::ReleaseFiles(over));
        }
        if let Some(append) = self.release.take(!effects.records.is_empty(), messages, after_sync)
            && let Err(error) = self.store.append(append.batch, effects.records, append.durability)
        {
            // The thread says first what happened to it, then refuses.
            return Err(NodeError::StoreLost(self.progress.failed.try_recv().unwrap_or(error)));
        }
        self.progress.barrier.raise(self.release.appended());
        // Only now, so that whoever reads the store because of the news finds its records behind a flush.
        for notice in &effects.notices {
            self.live.note(notice);
        }
        if members_changed {
            self.tell_members();
        }
        self.let_go();
        Ok(())
    }

    /// Tells who is enrolled by now.
    fn tell_members(&self) {
        let enrolled = enrolled(&self.engine);
        self.members.send_if_modified(|known| {
            let is_news = **known != enrolled;
            *known = Arc::new(enrolled);
            is_news
        });
    }

    fn let_go(&mut self) {
        for due in self.release.ready() {
            match due {
                Due::Send(link, outbound) => self.ports.send(link, outbound),
                Due::DeleteLogs(jobs) => delete_logs(self.log_files.clone(), jobs),
                Due::ReleaseFiles(over) => over.into_iter().for_each(|id| self.files.attempt_over(id)),
            }
        }
    }
}

fn send((link, outbound): (LinkId, Outbound)) -> Due {
    Due::Send(link, outbound)
}

/// Removes logs beside the loop: it may take long, and nobody waits for it. What
/// a crash leaves is removed at the next start.
fn delete_logs(log_files: LogFiles, jobs: Vec<JobId>) {
    tokio::task::spawn_blocking(move || {
        for job in jobs {
            if let Err(error) = log_files.forget(job) {
                tracing::warn!("The logs of job {job} could not be removed: {error}");
            }
        }
    });
}
