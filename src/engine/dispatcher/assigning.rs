//! Handing out tasks: from placement's grants to attempts.
//!
//! Invariant: every attempt has a fence greater than all before, and is on
//! record before its worker hears of it. Absent: which task goes where.

use std::cmp::Reverse;

use super::DispatcherEngine;
use super::Notice;
use super::placement::{ClassId, Grant};
use super::task::{Attempt, Hold};
use crate::model::messages::{Assignment, FencedAttempt, JobOnWorker};
use crate::model::records::Record;
use crate::model::{AttemptId, AttemptNo, Fence, IntervalSet, JobId, LinkId, Timestamp};

/// Ready tasks of a job that are looked at for one whose inputs are where it would go: few, so that the cost of an
/// assignment does not grow with the array.
const LOOKED_AHEAD: usize = 16;

impl DispatcherEngine {
    /// Hands out everything that fits anywhere; nothing while the disk is full.
    pub(super) fn place(&mut self, now: Timestamp) {
        if !self.disk.is_enough() {
            return;
        }
        loop {
            let (jobs, whereabouts) = (&self.jobs, &self.whereabouts);
            let nearest = |id: JobId, class: ClassId| {
                let job = jobs.at(id);
                match job.first_ready(class).filter(|_| !job.spec().inputs.is_empty()) {
                    Some(position) => {
                        let near = whereabouts.nearest(job.spec(), job.task_id(position));
                        near.into_iter().map(|(worker, _)| worker).collect()
                    }
                    None => Vec::new(),
                }
            };
            if let Some(grant) = self.placement.next(nearest) {
                self.assign(now, grant, false);
                continue;
            }
            // A job that has nothing left to hand out may have kept others from their room.
            if !self.hand_out_ahead(now) {
                break;
            }
        }
        self.balance(now);
    }

    /// Of the next few tasks of a job that could go to a worker, the one with most of its inputs there.
    fn choose(&self, grant: &Grant) -> u64 {
        let job = self.jobs.at(grant.job);
        let Some(first) = job.first_ready(grant.class) else {
            unreachable!("job {} is in the line of a class it has no task of", grant.job)
        };
        if job.spec().inputs.is_empty() {
            return first;
        }
        let there = |position: &u64| {
            let near = self.whereabouts.nearest(job.spec(), job.task_id(*position));
            near.iter().find(|(worker, _)| *worker == grant.worker).map_or(0, |(_, bytes)| *bytes)
        };
        // Of equals the first: the order of an array is kept where nothing speaks against it.
        let next = job.ready_in(grant.class).into_iter().flat_map(IntervalSet::iter).take(LOOKED_AHEAD);
        next.map(|position| (there(&position), Reverse(position)))
            .max()
            .map_or(first, |(_, Reverse(position))| position)
    }

    /// Hands a task out, into a slot, or ahead of time into a backlog.
    pub(super) fn assign(&mut self, now: Timestamp, grant: Grant, ahead: bool) {
        self.fences += 1;
        let fence = Fence { epoch: self.epoch, counter: self.fences };
        let spare = if ahead { self.reserve_fence(grant.job) } else { None };
        let job = self.jobs.at_mut(grant.job);
        assert!(job.may_start(), "job {} was placed and may not start", grant.job);
        let (position, mut counts) = match grant.second {
            true => job.pop_uncertain(),
            false => {
                let position = self.choose(&grant);
                (position, self.jobs.at_mut(grant.job).take_ready(grant.class, position))
            }
        };
        let job = self.jobs.at_mut(grant.job);
        counts.attempts += 1;
        let (task, no) = (job.task_id(position), AttemptNo(counts.attempts));
        let attempt = Attempt {
            no,
            fence,
            worker: grant.worker,
            assigned_at: now,
            started_at: None,
            gpus: grant.gpus.clone(),
            ending: None,
            unrepeatable: None,
            hold: if ahead { Hold::Beside } else { Hold::Slot },
            spare,
            granted: spare.is_some(),
        };
        match grant.second {
            true => job.run_beside(position, counts, attempt),
            false => job.run(position, counts, attempt),
        }
        job.started_at.get_or_insert(now);
        self.remakes.try_anew((task.job, position));
        if grant.second {
            self.note_second(task, no, grant.worker);
        }
        let (worker, id) = (grant.worker, AttemptId { task, attempt: no });
        self.send_assignment(now, id, fence, grant);
        if ahead {
            self.wait_on(worker, task);
        }
        if let Some(spare) = spare {
            self.grant(now, worker, FencedAttempt { id, fence }, spare);
        }
        self.realign(task.job);
        self.touch(task.job);
    }

    /// Writes an attempt down and tells its worker.
    fn send_assignment(&mut self, now: Timestamp, id: AttemptId, fence: Fence, grant: Grant) {
        let AttemptId { task, attempt: no } = id;
        let job = self.jobs.at_mut(task.job);
        let after_sync = job.assigns_after_sync();
        let worker = self.roster.at_mut(grant.worker);
        let Some(link) = worker.order_link() else { unreachable!("a task was placed on a worker without a link") };
        let new = worker.attempts.insert(task);
        assert!(new, "a worker was given a task twice");
        self.outbox.record(Record::AttemptAssigned {
            id,
            fence,
            worker: worker.node,
            worker_name: worker.name.clone(),
            at: now,
        });
        self.outbox.notice(Notice::TaskAssigned { task, attempt: no, worker: worker.name.clone() });
        if worker.learnt.insert(task.job) {
            job.learnt_by.insert(grant.worker);
            self.teach(link, task.job);
        }
        let assignment = Assignment { task, attempt: no, fence, gpus: grant.gpus };
        self.outbox.assign(link, assignment, after_sync);
    }

    /// Sends a job's spec.
    pub(super) fn teach(&mut self, link: LinkId, job: JobId) {
        let spec = self.jobs.at(job).submitted.spec.clone();
        self.outbox.learn(link, JobOnWorker { job, spec });
    }
}
