//! Ended jobs on their way out of memory.
//!
//! Invariant: an ended job is here for a minute at least, unless ten thousand
//! have ended since or its memory is wanted; whoever asks later asks the store.

use super::{DispatcherEngine, Notice};
use crate::model::limits::MAX_SPEC_BYTES_IN_MEMORY;
use crate::model::records::Record;
use crate::model::requests::{Failure, FailureCode};
use crate::model::{Actor, JobId, Millis, Timestamp};

/// How long an ended job stays in memory, so that `wait` and `retry` right after its end find it.
pub(super) const KEPT: Millis = Millis::from_secs(60);

/// How long it stays though its memory is wanted.
const KEPT_AT_LEAST: Millis = Millis::from_secs(2);

/// Most ended jobs kept in memory.
const KEPT_JOBS: usize = 10_000;

impl DispatcherEngine {
    /// Lets the oldest go when there are too many.
    pub(super) fn trim_history_if_full(&mut self, now: Timestamp) {
        if self.jobs.ended.len() > KEPT_JOBS {
            self.trim_history(now);
        }
    }

    /// Lets ended jobs go that have been here long enough, or are too many.
    pub(super) fn trim_history(&mut self, now: Timestamp) {
        while let Some((ended_at, id)) = self.jobs.ended.front().copied() {
            if ended_at + KEPT > now && self.jobs.ended.len() <= KEPT_JOBS {
                self.timers.set(ended_at + KEPT, super::timers::Timer::History);
                return;
            }
            self.drop_oldest(ended_at, id);
        }
    }

    /// Makes room for `wanted` more bytes of specs, which may depend on what is here. Ended jobs leave early for
    /// that, but not at once: whoever has just seen one in the store before its end still finds it here.
    pub(super) fn make_room(&mut self, now: Timestamp, wanted: impl Fn(&Self) -> u64) -> Result<(), Failure> {
        while self.jobs.spec_bytes().saturating_add(wanted(self)) > MAX_SPEC_BYTES_IN_MEMORY {
            match self.jobs.ended.front().copied() {
                Some((ended_at, id)) if ended_at + KEPT_AT_LEAST <= now => self.drop_oldest(ended_at, id),
                _ => {
                    let most = MAX_SPEC_BYTES_IN_MEMORY >> 20;
                    let text = format!("the queue is full: its jobs take {most} MiB, which is the most");
                    let hint = Some("wait until some of them have ended".to_owned());
                    return Err(Failure { code: FailureCode::Full, text, hint });
                }
            }
        }
        Ok(())
    }

    /// Lets the job go that ended first, unless it goes on since.
    fn drop_oldest(&mut self, ended_at: Timestamp, id: JobId) {
        self.jobs.ended.pop_front();
        if self.jobs.get(id).is_some_and(|job| job.ended_at == Some(ended_at)) {
            self.drop_job(id);
        }
    }

    /// Removes an ended job from memory and from the workers that know it.
    fn drop_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(id) else { return };
        for key in job.learnt_by {
            let worker = self.roster.at_mut(key);
            worker.learnt.remove(&id);
            if let Some(link) = worker.link() {
                self.outbox.forget_job(link, id);
            }
        }
        assert!(job.watchers.is_empty(), "a job left while somebody waits for its end");
    }

    /// Removes jobs whose retention is over. One that was reopened since then stays.
    pub fn handle_expired(&mut self, now: Timestamp, jobs: &[JobId]) {
        self.enter(now);
        let ended = |id: &&JobId| self.jobs.get(**id).is_none_or(|job| job.ended_at.is_some());
        let expired: Vec<JobId> = jobs.iter().filter(ended).copied().collect();
        expired.iter().for_each(|id| self.forget(now, *id, None));
        if !expired.is_empty() {
            self.outbox.notice(Notice::JobsExpired { jobs: expired });
        }
        self.settle(now);
    }

    /// Removes a job for good, which has ended, because somebody asked for it or it was kept for long enough.
    pub(super) fn forget(&mut self, now: Timestamp, id: JobId, by: Option<Actor>) {
        self.drop_job(id);
        self.outbox.record(Record::JobForgotten { job: id, by, at: now });
        self.outbox.notice(Notice::JobForgotten { job: id });
    }
}
