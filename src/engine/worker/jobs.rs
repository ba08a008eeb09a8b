//! The specs that this worker knows, and for how long.
//!
//! Invariant: a job is in here exactly while its spec is known or an attempt of
//! it is held. Absent: the specs of attempts already queued, which keep their own.

use std::collections::BTreeMap;

use crate::model::{Fence, JobId, SealedSpec};

/// Jobs by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Jobs {
    known: BTreeMap<JobId, JobHere>,
}

/// What is known of one job.
#[derive(Debug, Clone, Default)]
struct JobHere {
    spec: Option<SealedSpec>,
    /// Attempts of it that are held, in whatever phase.
    held: u32,
    /// Those of them that wait for the spec, in order of arrival.
    awaiting: Vec<Fence>,
    /// Whether the dispatcher has said that no more will come.
    forgotten: bool,
}

impl Jobs {
    /// The spec of `job`, when it is here.
    pub(super) fn spec(&self, job: JobId) -> Option<&SealedSpec> {
        self.known.get(&job)?.spec.as_ref()
    }

    /// Learns a spec, in place of an older one, and returns who waited for it.
    pub(super) fn learn(&mut self, job: JobId, spec: SealedSpec) -> Vec<Fence> {
        let here = self.known.entry(job).or_default();
        here.spec = Some(spec);
        here.forgotten = false;
        std::mem::take(&mut here.awaiting)
    }

    /// A spec that a peer brought for an attempt that is held: it goes with the last attempt of its job, because the
    /// dispatcher, which has not taught it, will not say when it is of no more use.
    pub(super) fn lend(&mut self, job: JobId, spec: &SealedSpec) {
        let here = self.known.entry(job).or_default();
        assert!(here.held > 0, "a spec is lent for nothing");
        if here.spec.is_none() && here.awaiting.is_empty() {
            here.spec = Some(spec.clone());
            here.forgotten = true;
        }
    }

    /// One more attempt of `job` is held.
    pub(super) fn hold(&mut self, job: JobId) {
        self.known.entry(job).or_default().held += 1;
    }

    /// The held attempt with `fence` waits for the spec of `job`; says whether it is the first to do so.
    pub(super) fn await_spec(&mut self, job: JobId, fence: Fence) -> bool {
        let here = self.known.entry(job).or_default();
        assert!(here.spec.is_none() && here.held > 0, "an attempt waits for a spec that is here");
        here.awaiting.push(fence);
        here.awaiting.len() == 1
    }

    /// Jobs whose spec is waited for.
    pub(super) fn missing(&self) -> impl Iterator<Item = JobId> + '_ {
        self.known.iter().filter(|(_, here)| !here.awaiting.is_empty()).map(|(job, _)| *job)
    }

    /// One attempt of `job` is no longer held; the spec may go with the last of them.
    pub(super) fn release(&mut self, job: JobId, fence: Fence) {
        let Some(here) = self.known.get_mut(&job) else { panic!("job {job} of a held attempt is unknown") };
        assert!(here.held > 0, "more attempts of job {job} left than came");
        here.held -= 1;
        here.awaiting.retain(|waiting| *waiting != fence);
        if here.held == 0 && (here.forgotten || here.spec.is_none()) {
            self.known.remove(&job);
        }
    }

    /// No attempt of `job` will come any more. Returns who waits for its spec in vain.
    pub(super) fn forget(&mut self, job: JobId) -> Vec<Fence> {
        let Some(here) = self.known.get_mut(&job) else { return Vec::new() };
        here.forgotten = true;
        let waiting = here.awaiting.clone();
        if here.held == 0 {
            self.known.remove(&job);
        }
        waiting
    }

    /// Forgets every job without a held attempt.
    pub(super) fn forget_idle(&mut self) {
        self.known.retain(|_, here| here.held > 0);
    }

    /// Panics with what is broken, given every job's held attempts and how many of them wait for its spec.
    pub(super) fn check(&self, held: &BTreeMap<JobId, (u32, usize)>) {
        for (job, here) in &self.known {
            let (count, waiting) = held.get(job).copied().unwrap_or_default();
            assert_eq!(here.held, count, "attempts held of job {job}");
            assert_eq!(here.awaiting.len(), waiting, "attempts of job {job} that wait for its spec");
            assert!(here.spec.is_some() || count > 0, "job {job} is kept for nothing");
            assert!(!here.forgotten || count > 0, "job {job} is kept though forgotten");
            assert!(here.spec.is_none() || waiting == 0, "attempts of job {job} wait for a spec that is here");
        }
        assert!(held.keys().all(|job| self.known.contains_key(job)), "an attempt of an unknown job is held");
    }
}
