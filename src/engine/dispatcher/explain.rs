//! Why tasks do not run, and where those are that do.
//!
//! Says what the other rooms decided, in words; decides nothing.

use super::job::Job;
use super::placement::ClassId;
use super::requests::Target;
use super::roster::Worker;
use super::task::{Live, Stage};
use super::{DispatcherEngine, Whose};
use crate::model::limits::MAX_ROWS;
use crate::model::requests::Failure;
use crate::model::selector::Part;
use crate::model::views::{Explanation, WorkerLack};
use crate::model::{LinkId, TaskState};

impl DispatcherEngine {
    /// Explains tasks; a whole job by its first task that does not run, or, when there is none, by the first that does.
    pub(super) fn explain(&self, link: LinkId, parts: &[Part]) -> Result<Vec<Explanation>, Failure> {
        let targets = self.targets(link, parts, Whose::Allowed)?;
        let explained = targets.into_iter().map(|target| match target {
            Target::Job(id) => {
                let job = self.jobs.at(id);
                // One that has just ended is told by any of its tasks.
                self.explain_task(job, first_pending(job).or_else(|| first_handed_out(job)).unwrap_or(0))
            }
            Target::Task(id, position) => self.explain_task(self.jobs.at(id), position),
        });
        Ok(explained.take(MAX_ROWS as usize).collect())
    }

    fn explain_task(&self, job: &Job, position: u64) -> Explanation {
        let state = job.state_of(position);
        if let Some(live) = job.live(position).filter(|_| state == TaskState::Running) {
            return self.explain_running(job, position, live);
        }
        let open = matches!(state, TaskState::Waiting | TaskState::Ready);
        let class = open.then(|| class_of(job, position)).flatten();
        Explanation {
            task: job.task_id(position),
            owner: self.registry.client_name(job.submitted.owner.key_no()),
            state,
            waits_for: open.then(|| self.waits_for(job, position)).flatten(),
            workers: class.map(|class| self.lacks(class)).unwrap_or_default(),
        }
    }

    /// Where a task is that runs, and whether its files are still on their way there.
    fn explain_running(&self, job: &Job, position: u64, live: &Live) -> Explanation {
        let names = live.iter().filter_map(|attempt| self.roster.get(attempt.worker)).map(|worker| &worker.name);
        let workers: Vec<_> =
            names.map(|name| WorkerLack { worker: name.clone(), lacks: Vec::new(), never: false }).collect();
        let is_staged = job.spec().inputs.is_empty() || live.iter().any(|attempt| attempt.started_at.is_some());
        Explanation {
            task: job.task_id(position),
            owner: self.registry.client_name(job.submitted.owner.key_no()),
            state: TaskState::Running,
            waits_for: (!is_staged).then(|| "its inputs to be there, so that it can start".to_owned()),
            workers,
        }
    }

    /// What a task waits for that is no worker's fault.
    fn waits_for(&self, job: &Job, position: u64) -> Option<String> {
        if let Some(first) = job.open_dependencies.first() {
            let others = job.open_dependencies.len() - 1;
            return Some(match others {
                0 => format!("job {first} to end"),
                _ => format!("job {first} and {others} more to end"),
            });
        }
        if let Some(Stage::Waiting { not_before, .. }) = job.tasks.get(&position).map(|task| &task.stage) {
            return Some(format!("its next try in {}", not_before.since(self.last_call)));
        }
        if let Some(worker) = job.live(position).and_then(|live| live.iter().next()).map(|attempt| attempt.worker) {
            return Some(format!(
                "a free slot on {}, where it is next in line or soon will be",
                self.roster.at(worker).name
            ));
        }
        if job.in_doubt {
            return self.explain_doubt();
        }
        if !self.disk.is_enough() {
            return Some("room on the dispatcher's disk".to_owned());
        }
        if !job.may_start() {
            return Some(format!("%MAX: {} of its job's tasks are running", job.running()));
        }
        let ahead = self.jobs.iter().filter(|other| other.turn < job.turn && other.in_line).count();
        (ahead > 0).then(|| format!("its turn: {ahead} jobs are ahead"))
    }

    /// Connected workers and what each lacks; empty when one could take the task now.
    fn lacks(&self, class: ClassId) -> Vec<WorkerLack> {
        let mut list = Vec::new();
        for (key, worker) in self.roster.iter().filter(|(_, worker)| worker.link().is_some()) {
            let (mut lacks, never) = self.placement.lacks(class, key);
            lacks.extend(self.closed(worker));
            if lacks.is_empty() {
                return Vec::new();
            }
            list.push(WorkerLack { worker: worker.name.clone(), lacks, never });
        }
        list
    }

    /// Why a connected worker gets nothing new.
    fn closed(&self, worker: &Worker) -> Option<String> {
        if worker.stopping {
            Some("state: stopping".to_owned())
        } else if worker.draining {
            let by = self.drain_act(worker.node).map(|act| format!(", drained by {}", act.by.name));
            Some(format!("state: draining{}", by.unwrap_or_default()))
        } else if worker.suspect {
            Some("state: suspect".to_owned())
        } else {
            worker.shortage.map(|shortage| format!("{shortage}: it tries again by itself"))
        }
    }
}

/// The first task of a job that does not run and has not ended.
fn first_pending(job: &Job) -> Option<u64> {
    let waiting = job.tasks.iter().find(|(_, task)| matches!(task.stage, Stage::Waiting { .. }));
    let apart = job.apart.values().filter_map(|apart| apart.ready.first()).min();
    job.ready.first().or(apart).or(waiting.map(|(position, _)| *position))
}

/// The first task of a job that a worker has: one that waits for room there before one that runs.
fn first_handed_out(job: &Job) -> Option<u64> {
    let stands = |state| job.tasks.keys().find(|position| job.state_of(**position) == state).copied();
    stands(TaskState::Ready).or_else(|| stands(TaskState::Running))
}

/// The demand class of a task that waits.
fn class_of(job: &Job, position: u64) -> Option<ClassId> {
    let apart = job.apart.values().find(|apart| apart.ready.contains(position));
    apart.map(|apart| apart.class).or(job.class)
}
