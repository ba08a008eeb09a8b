//! Clients that want to know how jobs stand.
//!
//! Invariant: a watcher hears of a change at once, or a moment after what it
//! heard last; it hears of the end of its last job exactly once, after that end
//! is durable, and then no more. Absent: the rows of ended jobs (the store's).

use std::collections::{BTreeMap, BTreeSet};

use super::job::Job;
use super::registry::Registry;
use super::timers::Timer;
use super::{DispatcherEngine, Peer};
use crate::model::requests::{Failure, FailureCode, Reply};
use crate::model::views::JobView;
use crate::model::{JobId, LinkId, Millis, RequestId, Timestamp};

/// Between two messages to one watcher of up to [`JOBS_A_TENTH`] jobs: ten a second.
const PACE: Millis = Millis(100);

/// A watcher of more jobs than this hears as much less often, because every
/// message names all of them.
const JOBS_A_TENTH: u64 = 100;

/// A watcher: the request by which it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatcherId {
    pub(super) link: LinkId,
    pub(super) request: RequestId,
}

#[derive(Debug)]
struct Watcher {
    /// What it watches; a job that has ended is kept as it ended.
    jobs: BTreeMap<JobId, Option<JobView>>,
    /// How many of them have not.
    open: usize,
    last_told: Timestamp,
}

/// All watchers.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    watchers: BTreeMap<WatcherId, Watcher>,
    /// Those that something is to be told to.
    stale: BTreeSet<WatcherId>,
}

/// A job as its watchers are told of it.
fn view(job: &Job, registry: &Registry) -> JobView {
    JobView {
        job: job.id(),
        name: job.spec().title(),
        state: job.state(),
        tasks: job.shown_totals(),
        owner: job.submitted.owner,
        owner_name: registry.client_name(job.submitted.owner.key_no()),
        submitted_at: job.submitted.at,
        started_at: job.started_at,
        ended_at: job.ended_at,
        outcome: job.outcome.clone(),
        cancelling: job.cancelling.clone(),
        retried: job.retried.clone(),
        spec: None,
    }
}

impl DispatcherEngine {
    /// A client asks to be told how jobs stand until they have ended.
    pub(super) fn watch(&mut self, now: Timestamp, id: WatcherId, jobs: &[JobId]) -> Result<(), Failure> {
        for job in jobs {
            if self.jobs.get(*job).is_none() {
                let text = format!("job {job} is not known, or has ended");
                return Err(Failure { code: FailureCode::NotFound, text, hint: None });
            }
            self.check_owner(id.link, *job)?;
        }
        let mut watcher = Watcher { jobs: BTreeMap::new(), open: 0, last_told: Timestamp::default() };
        for job in jobs {
            let job = self.jobs.at_mut(*job);
            let ended = job.ended_at.is_some();
            let new = watcher.jobs.insert(job.id(), ended.then(|| view(job, &self.registry))).is_none();
            if new && !ended {
                watcher.open += 1;
                job.watchers.insert(id);
            }
        }
        if let Some(Peer::Client { watching, .. }) = self.links.get_mut(&id.link) {
            watching.insert(id.request);
        }
        let before = self.watchers.watchers.insert(id, watcher);
        assert!(before.is_none(), "a request number was used twice");
        self.watchers.stale.insert(id);
        self.tell_watchers(now);
        Ok(())
    }

    /// Nobody listens to a watcher any more.
    pub(super) fn unwatch(&mut self, id: WatcherId) {
        self.watchers.stale.remove(&id);
        let Some(watcher) = self.watchers.watchers.remove(&id) else { return };
        for (job, ended) in watcher.jobs {
            if let (None, Some(job)) = (ended, self.jobs.get_mut(job)) {
                job.watchers.remove(&id);
            }
        }
        if let Some(Peer::Client { watching, .. }) = self.links.get_mut(&id.link) {
            watching.remove(&id.request);
        }
    }

    /// Something about a job has changed.
    pub(super) fn touch(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(id).filter(|job| !job.watchers.is_empty()) {
            self.watchers.stale.extend(job.watchers.iter().copied());
        }
    }

    /// A job has just ended: its watchers keep it as it is now.
    pub(super) fn keep_for_watchers(&mut self, id: JobId) {
        let job = self.jobs.at_mut(id);
        for watcher_id in std::mem::take(&mut job.watchers) {
            let Some(watcher) = self.watchers.watchers.get_mut(&watcher_id) else {
                unreachable!("a job has a watcher that is gone")
            };
            let before = watcher.jobs.insert(id, Some(view(job, &self.registry)));
            assert!(matches!(before, Some(None)), "a job ended twice for a watcher");
            watcher.open -= 1;
            self.watchers.stale.insert(watcher_id);
        }
    }

    /// A watcher's pace allows another message.
    pub(super) fn wake_watcher(&mut self, id: WatcherId) {
        if self.watchers.watchers.contains_key(&id) {
            self.watchers.stale.insert(id);
        }
    }

    /// Tells every watcher whose jobs changed and whose pace allows it; the others a moment later.
    pub(super) fn tell_watchers(&mut self, now: Timestamp) {
        for id in std::mem::take(&mut self.watchers.stale) {
            let Some(watcher) = self.watchers.watchers.get_mut(&id) else { unreachable!("a stale watcher is gone") };
            let tenths = 1 + watcher.jobs.len() as u64 / JOBS_A_TENTH;
            let next = watcher.last_told + Millis(PACE.0 * tenths);
            if now < next && watcher.open > 0 {
                self.timers.set(next, Timer::Watcher(id));
                continue;
            }
            watcher.last_told = now;
            let finished = watcher.open == 0;
            let seen = |(job, ended): (&JobId, &Option<JobView>)| match ended {
                Some(view) => view.clone(),
                None => view(self.jobs.at(*job), &self.registry),
            };
            let views = watcher.jobs.iter().map(seen).collect();
            self.outbox.reply_after_sync(id.link, id.request, Reply::Progress(views));
            if finished {
                self.unwatch(id);
            }
        }
    }

    /// Panics with what is broken about the watchers.
    pub(super) fn check_watchers(&self) {
        assert!(self.watchers.stale.is_empty(), "a watcher was not told");
        for (id, watcher) in &self.watchers.watchers {
            let open = watcher.jobs.values().filter(|ended| ended.is_none()).count();
            assert_eq!(watcher.open, open, "a watcher's open jobs are miscounted");
            assert!(open > 0, "a watcher has nothing to wait for");
            for (job, _) in watcher.jobs.iter().filter(|(_, ended)| ended.is_none()) {
                assert!(self.jobs.at(*job).watchers.contains(id), "a job does not know its watcher");
            }
            let peer = self.links.get(&id.link);
            let known = matches!(peer, Some(Peer::Client { watching, .. }) if watching.contains(&id.request));
            assert!(known, "a watcher's link does not know it");
        }
    }
}
