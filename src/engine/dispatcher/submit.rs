//! Taking jobs in.
//!
//! Invariant: one idempotency key of an owner makes one job, and a job that was refused
//! leaves no trace. Absent: when an acceptance is told (after sync).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::job::Job;
use super::placement::{ClassId, Requirement};
use super::requests::failure;
use super::watch::WatcherId;
use super::{DispatcherEngine, Notice};
use crate::model::files::InputSource;
use crate::model::limits::{
    MAX_BATCH, MAX_IDEMPOTENCY_KEY_BYTES, MAX_INLINE_STDIN, MAX_INPUTS, MAX_ITEMS_BYTES, MAX_PATH_BYTES, MAX_RETRIES,
    MAX_SPEC_BYTES, MAX_TASK_INDEX, MAX_TASKS_PER_JOB,
};
use crate::model::paths::is_absolute;
use crate::model::records::{Record, SubmittedJob};
use crate::model::requests::{Failure, FailureCode, Reply, Submission};
use crate::model::spec::{DependencyCondition, StdinSource, Workdir};
use crate::model::{Items, JobId, JobSpec, JobState, LinkId, RawString, TaskState, Timestamp};

/// How the keys begin of jobs that the dispatcher submits by itself. No client may take such a key.
pub(super) const OWN_KEYS: &str = "octaskly: ";

/// Most jobs that may wait or run at once: what a gigabyte of memory holds of single tasks.
const MAX_ACTIVE_JOBS: u64 = 1_000_000;

/// Refuses a job that makes no sense. The engine does so by itself; the shell
/// asks before it looks anything up for the job.
///
/// # Errors
/// When it has no tasks, or more of anything than its bound.
pub fn check_submission(submission: &Submission) -> Result<(), Failure> {
    let spec = submission.spec.spec();
    let invalid = |text: String| Err(failure(FailureCode::Invalid, text));
    if submission.idempotency_key.len() > MAX_IDEMPOTENCY_KEY_BYTES {
        return invalid(format!("the idempotency key has more than {MAX_IDEMPOTENCY_KEY_BYTES} bytes"));
    }
    if submission.idempotency_key.starts_with(OWN_KEYS) {
        return invalid(format!("idempotency keys that begin with {OWN_KEYS:?} are the dispatcher's own"));
    }
    let count = spec.items.count();
    if count == 0 {
        return invalid("the array has no tasks".to_owned());
    }
    if count > MAX_TASKS_PER_JOB {
        return invalid(format!("the array has {count} tasks, {MAX_TASKS_PER_JOB} are the most"));
    }
    if spec.items.index_at(count - 1).0 > MAX_TASK_INDEX {
        return invalid(format!("task numbers end at {MAX_TASK_INDEX}"));
    }
    if let Items::Subset { numbers, of } = &spec.items
        && !(matches!(**of, Items::List(_) | Items::Combined(_)) && numbers.at(0) >= 1 && numbers.last() <= of.count())
    {
        return invalid("a task has no item".to_owned());
    }
    if submission.spec.encoded().len() > MAX_SPEC_BYTES {
        return invalid(format!("the job takes {} bytes", submission.spec.encoded().len()));
    }
    if spec.after.len() > MAX_BATCH {
        return invalid(format!("the job waits for {} others, {MAX_BATCH} are the most", spec.after.len()));
    }
    if spec.max_concurrent == Some(0) {
        return invalid("the array may run no task at once".to_owned());
    }
    if let Some(limit) = spec.retry.limit.filter(|limit| *limit > MAX_RETRIES) {
        return invalid(format!("the job asks for {limit} retries, {MAX_RETRIES} are the most"));
    }
    if matches!(&spec.stdin, StdinSource::Inline(bytes) if bytes.len() > MAX_INLINE_STDIN) {
        return invalid(format!("the job's stdin has more than {} MiB", MAX_INLINE_STDIN >> 20));
    }
    if spec.items.byte_count() > MAX_ITEMS_BYTES {
        return invalid(format!("the job's items have more than {} MiB", MAX_ITEMS_BYTES >> 20));
    }
    if spec.remakes.is_some() || matches!(spec.items, Items::One { .. }) {
        return invalid("only the dispatcher makes lost outputs again".to_owned());
    }
    match files_fault(spec) {
        Some(fault) => invalid(fault),
        None => Ok(()),
    }
}

/// What is wrong with the files that a job names.
fn files_fault(spec: &JobSpec) -> Option<String> {
    if spec.inputs.len() > MAX_INPUTS || spec.outputs.len() > MAX_INPUTS {
        return Some(format!("the job has more than {MAX_INPUTS} inputs or outputs; name a directory instead"));
    }
    if let Workdir::Existing(directory) = &spec.workdir
        && (!is_absolute(directory.as_bytes()) || directory.len() > MAX_PATH_BYTES || directory.as_bytes().contains(&0))
    {
        return Some(format!("the directory {directory:?} is no absolute path"));
    }
    if !spec.inputs.is_empty() && spec.workdir != Workdir::Fresh {
        return Some("a job with inputs runs in a directory of its own, not in one that the worker has".to_owned());
    }
    let is_path = |path: &RawString| (1..=MAX_PATH_BYTES).contains(&path.len()) && !path.as_bytes().contains(&0);
    for input in &spec.inputs {
        if !is_path(&input.name) {
            return Some(format!("an input cannot be put at {:?}", input.name));
        }
        match &input.source {
            InputSource::Shared(_) => {}
            InputSource::PerTask(contents) if contents.len() as u64 == spec.items.count() => {}
            InputSource::PerTask(contents) => {
                return Some(format!("an input has {} contents for {} tasks", contents.len(), spec.items.count()));
            }
            InputSource::Output { job, output, .. } => {
                if !is_path(output) {
                    return Some(format!("no output is called {output:?}"));
                }
                if !spec.after.iter().any(|dependency| dependency.job == *job) {
                    return Some(format!("the job takes an output of job {job} and does not wait for it"));
                }
            }
        }
    }
    spec.outputs.iter().find(|output| !is_path(output)).map(|output| format!("{output:?} is no path of an output"))
}

/// Refuses a submission whose owner has used its key before, for job `before`, unless it asks for the same.
///
/// # Errors
/// When it is another job: nothing is queued for it, and nobody is to believe so.
pub fn check_repeated(submission: &Submission, before: JobId, spec: &JobSpec) -> Result<(), Failure> {
    let wanted = submission.spec.spec();
    if wanted == spec {
        return Ok(());
    }
    let what = if wanted.command == spec.command { "other options or inputs" } else { "another command" };
    let text = format!("idempotency key {:?} belongs to job {before}, which has {what}", submission.idempotency_key);
    let hint = Some(format!("choose another key, or see what it is with: octaskly show {before}"));
    Err(Failure { code: FailureCode::Conflict, text, hint })
}

/// What is said to whoever brings new work while the disk is full.
#[must_use]
pub fn disk_is_full() -> Failure {
    let text = "the dispatcher's disk is full: nothing new is taken until there is room".to_owned();
    let hint = Some("free some space there, for instance by octaskly forget; it goes on by itself".to_owned());
    Failure { code: FailureCode::Full, text, hint }
}

impl DispatcherEngine {
    /// Refuses new work while there is no room to record it.
    pub(super) fn check_disk(&self) -> Result<(), Failure> {
        if self.disk.is_enough() { Ok(()) } else { Err(disk_is_full()) }
    }

    /// Queues a job.
    pub(super) fn submit(
        &mut self,
        now: Timestamp,
        asked: WatcherId,
        submission: &Submission,
        ended: &BTreeMap<JobId, JobState>,
    ) -> Result<Reply, Failure> {
        let link = asked.link;
        let (owner, _) = self.asker(link);
        if let Some(job) = self.jobs.by_key(owner, &submission.idempotency_key) {
            check_repeated(submission, job.id(), job.spec())?;
            let (job, requirement) = (job.id(), Requirement::of(job.spec()));
            self.submitted_by(job, asked);
            let class = self.placement.join_class(&requirement);
            let unplaceable = self.unplaceable(class);
            self.placement.leave_class(class);
            return Ok(Reply::Submitted { job, unplaceable });
        }
        check_submission(submission)?;
        self.check_disk()?;
        if self.jobs.active() >= MAX_ACTIVE_JOBS {
            return Err(failure(FailureCode::Full, format!("{MAX_ACTIVE_JOBS} jobs have not ended")));
        }
        let spec = submission.spec.spec();
        let (open, broken) = self.dependencies(link, spec, ended)?;
        self.make_room(now, |_| submission.spec.encoded().len() as u64)?;
        let class = self.placement.join_class(&Requirement::of(spec));
        let unplaceable = self.unplaceable(class);
        if let (true, Some(reason)) = (submission.strict, &unplaceable) {
            self.placement.leave_class(class);
            return Err(failure(FailureCode::Unplaceable, reason.clone()));
        }

        let id = JobId(self.next_job);
        self.next_job += 1;
        let submitted = Arc::new(SubmittedJob {
            job: id,
            spec: submission.spec.clone(),
            owner,
            idempotency_key: submission.idempotency_key.clone(),
            at: now,
        });
        self.outbox.record(Record::JobSubmitted(Arc::clone(&submitted)));
        self.outbox.notice(Notice::JobSubmitted { job: id, tasks: spec.items.count() });
        let mut job = Job::new(submitted);
        job.class = Some(class);
        job.attendance.grace = spec.client_grace();
        self.jobs.add(job);
        self.submitted_by(id, asked);
        if let Some(dependency) = broken {
            self.fail_by_dependency(now, id, dependency);
        } else {
            self.wait_for(now, id, open);
        }
        Ok(Reply::Submitted { job: id, unplaceable })
    }

    /// Makes a job wait for others, and lines it up when there are none.
    pub(super) fn wait_for(&mut self, now: Timestamp, id: JobId, open: BTreeSet<JobId>) {
        let job = self.jobs.at(id);
        if !open.is_empty() && job.rest_ended.is_none() && !job.rest.is_empty() {
            let (state, outcome) = (TaskState::Waiting, None);
            self.outbox.record(Record::RestChanged { job: id, state, outcome, at: now });
        }
        for dependency in &open {
            self.jobs.dependents.entry(*dependency).or_default().insert(id);
        }
        self.jobs.at_mut(id).open_dependencies = open;
        self.follow_up(now, id);
    }

    /// The dependencies that have not ended, and one that ended otherwise than it must.
    fn dependencies(
        &self,
        link: LinkId,
        spec: &JobSpec,
        ended: &BTreeMap<JobId, JobState>,
    ) -> Result<(BTreeSet<JobId>, Option<JobId>), Failure> {
        let mut open = BTreeSet::new();
        let mut broken = None;
        for dependency in &spec.after {
            let id = dependency.job;
            self.check_owner(link, id)?;
            let state = match self.jobs.get(id) {
                Some(job) => job.ended_at.map(|_| job.state()),
                None => match ended.get(&id) {
                    Some(state) => Some(*state),
                    None => return Err(failure(FailureCode::NotFound, format!("there is no job {id} to wait for"))),
                },
            };
            match state {
                None => {
                    open.insert(id);
                }
                Some(TaskState::Succeeded) => {}
                Some(_) if dependency.condition == DependencyCondition::Ended => {}
                Some(_) => broken = broken.or(Some(id)),
            }
        }
        Ok((open, broken))
    }

    /// Why no connected worker could ever run such a task, if that is so.
    fn unplaceable(&self, class: ClassId) -> Option<String> {
        (!self.placement.has_holder(class)).then(|| {
            let present = self.roster.iter().filter(|(_, worker)| worker.link().is_some());
            let lacks = present.filter(|(key, _)| self.placement.is_seated(*key)).map(|(key, worker)| {
                let (lacks, _) = self.placement.lacks(class, key);
                format!("{} lacks {}", worker.name, lacks.join(", "))
            });
            // A few are enough to see why; the rest is for `explain`.
            let some: Vec<String> = lacks.take(3).collect();
            match some.is_empty() {
                true => "no worker is connected".to_owned(),
                false => format!("no connected worker could ever run it: {}", some.join("; ")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileMode;
    use crate::model::files::{BlobRef, Content, InputSpec};
    use crate::model::spec::{CommandLine, JobSpec};
    use crate::model::{Digest, JobId, RawString};

    fn content() -> Content {
        Content::File { blob: BlobRef { digest: Digest([1; 32]), bytes: 1 }, mode: FileMode::FILE, modified_ns: None }
    }

    fn fault(change: impl FnOnce(&mut JobSpec)) -> Option<String> {
        let input = InputSpec { name: "in".into(), source: InputSource::Shared(content()) };
        let command = CommandLine::Shell("true".into());
        let mut spec = JobSpec { inputs: vec![input], outputs: vec!["out".into()], ..JobSpec::single(command) };
        change(&mut spec);
        files_fault(&spec)
    }

    #[test]
    fn a_job_with_files_that_make_no_sense_is_refused_by_what_is_wrong() {
        assert_eq!(fault(|_| {}), None);
        let said = |change: &dyn Fn(&mut JobSpec), words: &str| {
            let said = fault(change).expect("a fault");
            assert!(said.contains(words), "{said}");
        };
        said(&|spec| spec.workdir = Workdir::Existing("/tmp".into()), "in a directory of its own");
        for relative in [".", "", "data", "~/data"] {
            said(&|spec| spec.workdir = Workdir::Existing(relative.into()), "no absolute path");
        }
        said(&|spec| spec.inputs[0].name = "".into(), "cannot be put");
        said(&|spec| spec.inputs[0].name = RawString(vec![b'a', 0]), "cannot be put");
        said(&|spec| spec.inputs[0].name = RawString(vec![b'a'; MAX_PATH_BYTES + 1]), "cannot be put");
        said(&|spec| spec.outputs.push("".into()), "no path of an output");
        said(&|spec| spec.inputs[0].source = InputSource::PerTask(vec![content(); 2]), "2 contents for 1 tasks");
        let of_another = |output: &str| InputSource::Output { job: JobId(7), index: None, output: output.into() };
        said(&|spec| spec.inputs[0].source = of_another("x"), "does not wait for it");
        said(&|spec| spec.inputs[0].source = of_another(""), "no output is called");
        said(&|spec| spec.outputs = vec!["x".into(); MAX_INPUTS + 1], "name a directory instead");
    }
}
