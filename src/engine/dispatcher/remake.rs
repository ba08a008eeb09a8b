//! Outputs that are lost with the worker that held them, made again for a task
//! that needs them.
//!
//! The task that made them is done again as a job of its own, recorded apart:
//! it is placed, retried and lost like any other, and what it makes takes the
//! place of what was lost. Invariant: the state of the task that made them first
//! never changes by it, one job at a time makes its outputs again, and nothing
//! is made again that may be started only once. Absent: who holds what (the
//! shell asks only when nobody who is connected does).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::job::Job;
use super::losses::Loss;
use super::placement::{Requirement, WorkerKey};
use super::requests::failure;
use super::roster::Presence;
use super::submit::OWN_KEYS;
use super::task::Stage;
use super::timers::Timer;
use super::{DispatcherEngine, LostInput, Notice};
use crate::model::files::{InputSource, InputSpec};
use crate::model::records::{Record, SubmittedJob};
use crate::model::requests::{Failure, FailureCode, Reply};
use crate::model::spec::{OutputMode, StdinSource};
use crate::model::{
    AttemptId, AttemptReport, JobId, JobSpec, JobState, Millis, NodeId, Outcome, SealedSpec, TaskId, TaskState,
    Timestamp,
};

/// How long a task waits for a lost input before it is tried anyway. It is woken when the input is there; this is for
/// a dispatcher that was restarted meanwhile and does not know any more what the task waits for.
const REMAKE_PATIENCE: Millis = Millis::from_secs(30);
/// How long a worker that was given up is expected back with its files, in times of `--heartbeat-timeout`: a process
/// that crashed is started again within seconds, a machine within minutes, and an output may have taken hours.
const RETURN_PATIENCE: u64 = 2;

/// What is being made again, and for whom.
#[derive(Debug, Default)]
pub(super) struct Remakes {
    /// The job that makes a task's outputs again, until it has ended.
    jobs: BTreeMap<TaskId, JobId>,
    /// Tasks that wait for such a job, by job and position.
    waiting: BTreeMap<JobId, BTreeSet<(JobId, u64)>>,
    /// When workers that left the roster lately were given up.
    departed: BTreeMap<NodeId, Timestamp>,
}

impl Remakes {
    /// A job that was restored goes on.
    pub(super) fn restore(&mut self, job: &Job) {
        if let Some(producer) = job.spec().remakes {
            self.jobs.insert(producer, job.id());
        }
    }

    /// Whether a task waits for what is made again.
    fn is_awaited_by(&self, task: (JobId, u64)) -> bool {
        self.waiting.values().any(|tasks| tasks.contains(&task))
    }

    /// A task is tried: what an attempt before this one lacked is not what it waits for.
    pub(super) fn try_anew(&mut self, task: (JobId, u64)) {
        self.waiting.values_mut().for_each(|tasks| {
            tasks.remove(&task);
        });
    }
}

impl DispatcherEngine {
    /// A worker cannot get an input of an attempt that it has, because nobody who is connected holds it.
    ///
    /// Answered by `Done`: of 0 when a holder may come back, so that it is to ask again; of 1 when the input is made
    /// again, so that it is to give the attempt up. Else by why it cannot be made again.
    pub(super) fn input_lost(&mut self, now: Timestamp, key: WorkerKey, lost: &LostInput) -> Result<Reply, Failure> {
        let task = lost.attempt.task;
        let found = self.jobs.get(task.job).and_then(|job| Some((job, job.spec().items.position_of(task.index)?)));
        let its = found.filter(|(job, position)| {
            job.attempt_on(*position, key).is_some_and(|attempt| attempt.no == lost.attempt.attempt)
        });
        let Some((_, position)) = its else {
            return Err(failure(FailureCode::Conflict, format!("task {} is not its any more", lost.attempt)));
        };
        if lost.holders.iter().any(|holder| self.may_come_back(now, *holder)) {
            return Ok(Reply::Done { affected: 0 });
        }
        let made_by = match self.remakes.jobs.get(&lost.producer) {
            Some(job) => *job,
            None => self.make_again(now, task.job, lost)?,
        };
        self.remakes.waiting.entry(made_by).or_default().insert((task.job, position));
        Ok(Reply::Done { affected: 1 })
    }

    /// Whether a worker that is not connected may still bring what it holds.
    ///
    /// That its attempts are lost does not mean that its disk is.
    fn may_come_back(&self, now: Timestamp, node: NodeId) -> bool {
        if self.registry.get(node).is_none() {
            return false;
        }
        let is_recent = |given_up: Timestamp| now < given_up + self.return_patience();
        match self.roster.find(node).map(|key| self.roster.at(key)) {
            Some(worker) => worker.presence != Presence::Lost || is_recent(worker.silent_since),
            // Right after a start nobody has had the time to come.
            None if now < self.started_at + self.config.restart_grace => true,
            None => self.remakes.departed.get(&node).is_some_and(|given_up| is_recent(*given_up)),
        }
    }

    fn return_patience(&self) -> Millis {
        Millis(self.config.lost_after.0.saturating_mul(RETURN_PATIENCE))
    }

    /// A worker leaves the roster that was given up at `given_up`.
    pub(super) fn note_departure(&mut self, node: NodeId, given_up: Timestamp) {
        let patience = self.return_patience();
        self.remakes.departed.retain(|_, before| given_up < *before + patience);
        self.remakes.departed.insert(node, given_up);
    }

    /// Whether a task whose wait is over waits on, for what is still being made again.
    pub(super) fn waits_on(&mut self, now: Timestamp, id: JobId, position: u64) -> bool {
        if !self.remakes.is_awaited_by((id, position)) {
            return false;
        }
        // Not written down: after a restart nobody knows what it waits for, and it is tried.
        let again = now + REMAKE_PATIENCE;
        if let Some(Stage::Waiting { not_before, .. }) =
            self.jobs.at_mut(id).tasks.get_mut(&position).map(|task| &mut task.stage)
        {
            *not_before = again;
        }
        self.timers.set(again, Timer::Wait(id, position));
        true
    }

    /// Queues the job that makes the outputs of a task again.
    fn make_again(&mut self, now: Timestamp, wanted_by: JobId, lost: &LostInput) -> Result<JobId, Failure> {
        self.check_disk()?;
        let priority = self.jobs.at(wanted_by).spec().priority.saturating_add(1);
        let spec = SealedSpec::seal(once_again(lost.spec.spec(), lost.producer, priority)?);
        self.make_room(now, |_| spec.encoded().len() as u64)?;
        let id = JobId(self.next_job);
        self.next_job += 1;
        let submitted = Arc::new(SubmittedJob {
            job: id,
            owner: lost.owner,
            // No two jobs have the same, be it that this one fails and the same attempt asks again.
            idempotency_key: format!("{OWN_KEYS}job {id} of start {} makes {} again", self.epoch.0, lost.producer),
            spec,
            at: now,
        });
        self.outbox.record(Record::JobSubmitted(Arc::clone(&submitted)));
        self.outbox.notice(Notice::JobSubmitted { job: id, tasks: 1 });
        self.outbox.notice(Notice::OutputsLost { task: lost.producer, job: id });
        let mut job = Job::new(submitted);
        job.class = Some(self.placement.join_class(&Requirement::of(job.spec())));
        self.jobs.add(job);
        self.remakes.jobs.insert(lost.producer, id);
        self.follow_up(now, id);
        Ok(id)
    }

    /// An attempt was given up because an input is lost: its task waits for that, and nothing is counted.
    pub(super) fn take_input_lost(&mut self, now: Timestamp, key: WorkerKey, id: AttemptId, report: AttemptReport) {
        let job = self.jobs.at(id.task.job);
        let position = job.spec().items.position_of(id.task.index);
        let is_awaiting = position.is_some_and(|position| self.remakes.is_awaited_by((id.task.job, position)));
        // What it waited for is there already, or was forgotten by a restart: it is tried anew.
        let wait = if is_awaiting { REMAKE_PATIENCE } else { Millis::from_secs(1) };
        self.lose_attempt(now, key, id.task, &Loss::InputLost { report, again: now + wait });
    }

    /// A job has ended: when it made something again, that is there now, or is not.
    pub(super) fn end_remake(&mut self, now: Timestamp, made_by: JobId, state: JobState) {
        let Some(job) = self.jobs.get(made_by) else { return };
        let Some(producer) = job.spec().remakes else { return };
        let by = job.task_id(0);
        if self.remakes.jobs.get(&producer) == Some(&made_by) {
            self.remakes.jobs.remove(&producer);
        }
        let made = state == TaskState::Succeeded;
        if made {
            self.outbox.record(Record::OutputsRemade { task: producer, by });
        }
        for (id, position) in self.remakes.waiting.remove(&made_by).unwrap_or_default() {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            if !matches!(job.tasks.get(&position).map(|task| &task.stage), Some(Stage::Waiting { .. })) {
                continue;
            }
            let (counts, _) = job.lift(position);
            if made {
                self.requeue(now, id, position, counts, None);
            } else {
                let task = job.task_id(position);
                let text = format!(
                    "an output of task {producer} is lost, and job {made_by}, which was to make it again, did not \
                     succeed; octaskly retry {producer} makes it again as well"
                );
                self.conclude(now, task, position, counts, Outcome::TransferFailed(text), None);
            }
            self.follow_up(now, id);
        }
    }

    /// Panics with what is broken.
    pub(super) fn check_remakes(&self) {
        for (producer, id) in &self.remakes.jobs {
            let job = self.jobs.at(*id);
            assert_eq!(job.spec().remakes, Some(*producer), "job {id} makes something else again");
            assert!(job.ended_at.is_none(), "what is made again was made");
        }
        for id in self.remakes.waiting.keys() {
            assert!(self.jobs.at(*id).ended_at.is_none(), "tasks wait for job {id}, which has ended");
        }
    }
}

/// One task of a job as a job of its own: what it runs, takes, needs and leaves is the same.
fn once_again(spec: &JobSpec, producer: TaskId, priority: i32) -> Result<JobSpec, Failure> {
    let refused = |why: &str| {
        let text = format!("an output of task {producer} is lost, and {producer} {why}");
        let hint = Some(format!("octaskly retry {producer}"));
        Err(Failure { code: FailureCode::Conflict, text, hint })
    };
    if spec.no_retry {
        return refused("may be started only once (--no-retry)");
    }
    if spec.stdin == StdinSource::Attached {
        return refused("took stdin from its client, which is gone");
    }
    let Some(position) = spec.items.position_of(producer.index) else { return refused("is no task of its job") };
    let mut inputs: Vec<InputSpec> = spec.inputs.clone();
    for input in &mut inputs {
        if let InputSource::PerTask(contents) = &input.source {
            let own = usize::try_from(position).ok().and_then(|position| contents.get(position));
            let Some(own) = own else { return refused("has no such input") };
            input.source = InputSource::Shared(*own);
        }
    }
    Ok(JobSpec {
        name: Some(format!("outputs of {producer} again")),
        items: spec.items.only(producer.index),
        inputs,
        output: OutputMode::Stored,
        priority,
        // Those have ended, or there would be nothing to be lost.
        after: Vec::new(),
        max_concurrent: None,
        max_fails: None,
        remakes: Some(producer),
        ..spec.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileMode;
    use crate::model::files::{BlobRef, Content};
    use crate::model::spec::CommandLine;
    use crate::model::{Digest, ItemList, Items, TaskIndex};

    fn content(number: u8) -> Content {
        let blob = BlobRef { digest: Digest([number; 32]), bytes: 1 };
        Content::File { blob, mode: FileMode::FILE, modified_ns: None }
    }

    #[test]
    fn a_task_of_an_array_is_made_again_under_its_own_number_with_its_own_input() {
        let items: ItemList = vec!["a".into(), "b".into()].into();
        let source = InputSource::PerTask(vec![content(1), content(2)]);
        let spec = JobSpec {
            items: Items::List(items),
            inputs: vec![InputSpec { name: "x".into(), source }],
            ..JobSpec::single(CommandLine::Shell("true".into()))
        };
        let again = once_again(&spec, TaskId::new(5, 2), 3).expect("it can be made again");
        assert_eq!((again.items.count(), again.items.index_at(0)), (1, TaskIndex(2)));
        assert_eq!(again.items.item(TaskIndex(2)), spec.items.item(TaskIndex(2)));
        assert_eq!(again.inputs[0].source, InputSource::Shared(content(2)));
        assert_eq!((again.remakes, again.priority), (Some(TaskId::new(5, 2)), 3));
    }

    #[test]
    fn what_may_be_started_only_once_or_was_fed_by_a_client_is_not_made_again() {
        let plain = JobSpec::single(CommandLine::Shell("true".into()));
        for spec in [JobSpec { no_retry: true, ..plain.clone() }, JobSpec { stdin: StdinSource::Attached, ..plain }] {
            let refused = once_again(&spec, TaskId::new(5, 0), 0).expect_err("it is not");
            assert_eq!(refused.hint.as_deref(), Some("octaskly retry 5.0"), "{}", refused.text);
        }
    }
}
