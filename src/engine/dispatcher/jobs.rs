//! The jobs in memory: those that have not ended, and those that have not for long.
//!
//! Invariant: a key that keeps a job from being queued twice leads to its job
//! for as long as the job is here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::job::Job;
use crate::model::{JobId, JobState, NodeId, Timestamp};

/// All jobs in memory.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// Boxed: a job is large, and a map moves its values about.
    jobs: BTreeMap<JobId, Box<Job>>,
    by_idempotency_key: BTreeMap<(NodeId, String), JobId>,
    /// How many have not ended.
    active: u64,
    /// Bytes of all their specs as they were encoded.
    spec_bytes: u64,
    /// Jobs that wait for this one to end.
    pub(super) dependents: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Jobs that ended and whose dependents do not know it yet.
    pub(super) to_resolve: VecDeque<(JobId, JobState)>,
    /// Ended jobs in the order of their ends; those that were reopened since are still in it.
    pub(super) ended: VecDeque<(Timestamp, JobId)>,
    /// Jobs whose client is gone.
    pub(super) away: BTreeSet<JobId>,
}

/// What no two jobs share.
fn key_of(job: &Job) -> (NodeId, String) {
    (job.submitted.owner, job.submitted.idempotency_key.clone())
}

impl Jobs {
    /// Adds a job that has not ended.
    pub(super) fn add(&mut self, job: Job) {
        self.by_idempotency_key.insert(key_of(&job), job.id());
        self.spec_bytes += job.spec_bytes();
        let before = self.jobs.insert(job.id(), Box::new(job));
        assert!(before.is_none(), "two jobs of one number");
        self.active += 1;
    }

    /// Removes a job that has ended.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Box<Job>> {
        let job = self.jobs.remove(&id)?;
        assert!(job.ended_at.is_some(), "job {id} left before it ended");
        self.spec_bytes -= job.spec_bytes();
        let key = key_of(&job);
        if self.by_idempotency_key.get(&key) == Some(&id) {
            self.by_idempotency_key.remove(&key);
        }
        Some(job)
    }

    /// One active job more or less.
    pub(super) fn count_end(&mut self) {
        self.active -= 1;
    }

    /// An ended job goes on.
    pub(super) fn count_reopening(&mut self) {
        self.active += 1;
    }

    /// How many have not ended.
    pub(super) fn active(&self) -> u64 {
        self.active
    }

    /// Bytes of all their specs as they were encoded.
    pub(super) fn spec_bytes(&self) -> u64 {
        self.spec_bytes
    }

    /// The job of this owner that was accepted with this key.
    pub(super) fn by_key(&self, owner: NodeId, key: &str) -> Option<&Job> {
        self.by_idempotency_key.get(&(owner, key.to_owned())).and_then(|id| self.get(*id))
    }

    /// A job that may not be here.
    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id).map(Box::as_ref)
    }

    /// Likewise, to be changed.
    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&id).map(Box::as_mut)
    }

    /// A job that is here.
    pub(super) fn at(&self, id: JobId) -> &Job {
        match self.jobs.get(&id) {
            Some(job) => job,
            None => unreachable!("job {id} is not in memory"),
        }
    }

    /// Likewise, to be changed.
    pub(super) fn at_mut(&mut self, id: JobId) -> &mut Job {
        match self.jobs.get_mut(&id) {
            Some(job) => job,
            None => unreachable!("job {id} is not in memory"),
        }
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().map(Box::as_ref)
    }

    /// Those with numbers from `first` to `last`.
    pub(super) fn range(&self, first: JobId, last: JobId) -> impl Iterator<Item = &Job> {
        let valid = first <= last;
        valid.then(|| self.jobs.range(first..=last)).into_iter().flatten().map(|(_, job)| job.as_ref())
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        let active = self.jobs.values().filter(|job| job.ended_at.is_none()).count();
        assert_eq!(self.active, active as u64, "active jobs are miscounted");
        let bytes: u64 = self.jobs.values().map(|job| job.spec_bytes()).sum();
        assert_eq!(self.spec_bytes, bytes, "the bytes of specs are miscounted");
        for (key, id) in &self.by_idempotency_key {
            assert_eq!(key_of(self.at(*id)), *key, "a key leads to another job");
        }
        for (id, waiting) in &self.dependents {
            assert!(self.at(*id).ended_at.is_none(), "jobs wait for one that has ended");
            let open = |dependent: &JobId| self.at(*dependent).open_dependencies.contains(id);
            assert!(!waiting.is_empty() && waiting.iter().all(open), "a job waits without knowing it");
        }
        for job in self.jobs.values() {
            for dependency in &job.open_dependencies {
                let listed = self.dependents.get(dependency).is_some_and(|waiting| waiting.contains(&job.id()));
                assert!(listed, "a job waits and is not known to");
            }
        }
        assert!(self.to_resolve.is_empty(), "a job's end was not passed on");
    }
}
