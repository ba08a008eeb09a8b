//! The audit of everything that must hold between two calls.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::DispatcherEngine;
use super::backlog::Place;
use super::job::Job;
use super::placement::{Held, WorkerKey};
use super::task::{Hold, Stage};
use super::timers::Timer;
use crate::model::{Demand, TaskId};

impl DispatcherEngine {
    /// Panics with what is broken, if anything is. Costs as much as everything held.
    pub fn check_invariants(&self) {
        self.registry.check();
        self.tokens.check();
        self.check_lobby();
        self.roster.check();
        self.jobs.check();
        self.check_links();
        self.check_leases();
        self.check_doubt();
        self.check_unexpired();
        self.check_watchers();
        self.check_doubling();
        self.check_repeating();
        for job in self.jobs.iter() {
            job.check();
            self.check_job(job);
        }
        let held = self.attempts_by_worker();
        for (key, worker) in self.roster.iter() {
            let live = held.get(&key).map(|list| list.len()).unwrap_or_default();
            let beside = worker.attempts.iter().filter(|task| self.is_roomless(key, **task)).count();
            assert_eq!(worker.attempts.len(), live + beside, "{} holds attempts that are not live", worker.name);
            for job in &worker.learnt {
                assert!(self.jobs.at(*job).learnt_by.contains(&key), "a job does not know that a worker knows it");
            }
        }
        self.whereabouts.check();
        self.check_remakes();
        self.placement.check(|key| held.get(&key).cloned().unwrap_or_default(), self.disk.is_enough());
        self.backlogs.check(&self.waiting_by_worker());
        let seated = self.roster.iter().filter(|(key, _)| self.placement.is_seated(*key));
        for (key, worker) in seated {
            assert_eq!(self.placement.is_open(key), worker.is_open(), "{} is open to placement or not", worker.name);
        }
    }

    /// What waits on each seated worker by the jobs' account.
    fn waiting_by_worker(&self) -> BTreeMap<WorkerKey, BTreeMap<Place, (TaskId, &Demand)>> {
        let mut waiting: BTreeMap<WorkerKey, BTreeMap<Place, (TaskId, &Demand)>> = BTreeMap::new();
        for job in self.jobs.iter() {
            for (position, task) in &job.tasks {
                let Stage::Running(live) = &task.stage else { continue };
                for attempt in live.iter().filter(|it| it.hold == Hold::Backlog && self.placement.is_seated(it.worker))
                {
                    let place = (Reverse(job.spec().priority), attempt.fence);
                    let entry = (job.task_id(*position), &job.spec().demand);
                    waiting.entry(attempt.worker).or_default().insert(place, entry);
                    assert!(attempt.started_at.is_none(), "what has started waits for a slot");
                    assert!(job.spec().may_wait_on_worker(), "an attempt waits that must not");
                }
            }
        }
        waiting
    }

    /// What each worker holds by the jobs' account.
    fn attempts_by_worker(&self) -> BTreeMap<WorkerKey, Held<'_>> {
        let mut held: BTreeMap<WorkerKey, Held<'_>> = BTreeMap::new();
        for job in self.jobs.iter() {
            for (position, task) in &job.tasks {
                let Stage::Running(live) = &task.stage else { continue };
                let id = job.task_id(*position);
                for attempt in live.iter() {
                    let worker = self.roster.at(attempt.worker);
                    assert!(worker.attempts.contains(&id), "{} does not know that it has {id}", worker.name);
                    let newest = attempt.fence.epoch < self.epoch || attempt.fence.counter <= self.fences;
                    assert!(newest, "{id} has a fence that was not issued");
                    if attempt.hold == Hold::Slot {
                        held.entry(attempt.worker).or_default().push((&job.spec().demand, &attempt.gpus));
                    }
                }
            }
        }
        held
    }

    /// What a job and the rest of the engine must agree on.
    fn check_job(&self, job: &Job) {
        let id = job.id();
        assert!(id.0 < self.next_job, "job {id} has a number that is still to be given");
        assert_eq!(job.class.is_some(), job.ended_at.is_none(), "job {id} has a demand class while it has not ended");
        let wanted = job.may_start() && job.ended_at.is_none();
        assert_eq!(job.in_line, wanted && !job.ready.is_empty(), "job {id} stands in line or not as it should");
        for apart in job.apart.values() {
            assert_eq!(apart.in_line, wanted, "job {id} stands in line for a retry or not as it should");
        }
        if let (Some(most), true) = (job.spec().max_concurrent, job.cancelling.is_none()) {
            assert!(job.crowded || job.handed_out() <= u64::from(most), "job {id} runs more tasks at once than it may");
        }
        if job.cancelling.is_some() {
            assert_eq!(job.tasks.len() as u64, job.running(), "job {id} is cancelled and has tasks that wait");
        }
        for (position, task) in &job.tasks {
            let (at, timer) = match &task.stage {
                Stage::Waiting { not_before, .. } => (*not_before, Timer::Wait(id, *position)),
                Stage::Ready { avoid: Some((_, until)) } => (*until, Timer::Patience(id, *position)),
                _ => continue,
            };
            assert!(self.timers.is_set(timer, at), "{} waits and nothing will wake it", job.task_id(*position));
        }
        self.check_client(id, job);
        for key in &job.learnt_by {
            assert!(self.roster.at(*key).learnt.contains(&id), "a worker does not know that it knows job {id}");
        }
    }
}
