//! Which worker has the bytes of a task's inputs: what placement prefers when
//! it has the choice.
//!
//! Learnt from results: what an attempt made, and what it fetched. Invariant:
//! nothing here is ever needed. It is bounded, it is lost with this process, a
//! worker may have removed what it had; a wrong answer costs a transfer.
//! Absent: where the bytes are fetched from (the shell knows holders).

use std::collections::{BTreeMap, VecDeque};

use super::placement::WorkerKey;
use crate::model::files::{Content, InputSource, TaskFiles};
use crate::model::{Digest, JobSpec, TaskId};

/// Fewer bytes are not worth to be followed: they are there before a process has started.
const WORTH_BYTES: u64 = 1024 * 1024;
/// The same for an input that all tasks of a job share: it is on every worker soon, and an array that follows it
/// would leave the others idle.
const WORTH_BYTES_SHARED: u64 = 64 * 1024 * 1024;
/// Contents, and tasks with their outputs, that are remembered: the latest.
const MOST_KNOWN: usize = 32_768;
/// Workers remembered for one content.
const MOST_HOLDERS: usize = 8;
/// Outputs remembered of one task, and inputs looked at: the first are named first because they matter.
const MOST_LOOKED_AT: usize = 8;

/// Who has what.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    holders: BTreeMap<Digest, Vec<WorkerKey>>,
    /// Its keys in the order in which they came.
    noted: VecDeque<Digest>,
    made: BTreeMap<TaskId, Vec<(Digest, u64)>>,
    /// Likewise.
    makers: VecDeque<TaskId>,
}

impl Whereabouts {
    /// Learns from the result of an attempt at `task` on `worker`.
    pub(super) fn learn(&mut self, worker: WorkerKey, task: TaskId, files: &TaskFiles) {
        for transfer in &files.transfers {
            if transfer.blob.bytes >= WORTH_BYTES {
                self.note(worker, transfer.blob.digest);
            }
        }
        let worth = |content: &Content| content.total_bytes() >= WORTH_BYTES;
        let contents = files.outputs.iter().map(|output| &output.content).filter(|content| worth(content));
        let made: Vec<(Digest, u64)> =
            contents.take(MOST_LOOKED_AT).map(|content| (content.blob().digest, content.total_bytes())).collect();
        made.iter().for_each(|(digest, _)| self.note(worker, *digest));
        if made.is_empty() {
            return;
        }
        if self.made.insert(task, made).is_none() {
            self.makers.push_back(task);
        }
        if self.makers.len() > MOST_KNOWN
            && let Some(oldest) = self.makers.pop_front()
        {
            self.made.remove(&oldest);
        }
    }

    fn note(&mut self, worker: WorkerKey, digest: Digest) {
        let holders = self.holders.entry(digest).or_default();
        if holders.is_empty() {
            self.noted.push_back(digest);
        }
        if !holders.contains(&worker) && holders.len() < MOST_HOLDERS {
            holders.push(worker);
        }
        if self.noted.len() > MOST_KNOWN
            && let Some(oldest) = self.noted.pop_front()
        {
            self.holders.remove(&oldest);
        }
    }

    /// The workers that have inputs of a task, with their bytes, the most first.
    pub(super) fn nearest(&self, spec: &JobSpec, task: TaskId) -> Vec<(WorkerKey, u64)> {
        let mut bytes: BTreeMap<WorkerKey, u64> = BTreeMap::new();
        let mut add = |digest: &Digest, more: u64| {
            for worker in self.holders.get(digest).into_iter().flatten() {
                let sum = bytes.entry(*worker).or_default();
                *sum = sum.saturating_add(more);
            }
        };
        for input in spec.inputs.iter().take(MOST_LOOKED_AT) {
            match &input.source {
                InputSource::Shared(content) if content.total_bytes() >= WORTH_BYTES_SHARED => {
                    add(&content.blob().digest, content.total_bytes());
                }
                InputSource::Shared(_) => {}
                InputSource::PerTask(contents) => {
                    let position = spec.items.position_of(task.index).and_then(|at| usize::try_from(at).ok());
                    if let Some(content) = position.and_then(|at| contents.get(at)) {
                        add(&content.blob().digest, content.total_bytes());
                    }
                }
                InputSource::Output { job, index, .. } => {
                    // Which task an output without a number is of is found by its name when the task starts; most
                    // often it is the only one, or that of the same number.
                    let named = TaskId { job: *job, index: index.unwrap_or(task.index) };
                    let made = self.made.get(&named).or_else(|| self.made.get(&TaskId::new(job.0, 0)));
                    made.into_iter().flatten().for_each(|(digest, more)| add(digest, *more));
                }
            }
        }
        let mut nearest: Vec<(WorkerKey, u64)> = bytes.into_iter().collect();
        nearest.sort_by_key(|(worker, bytes)| (std::cmp::Reverse(*bytes), *worker));
        nearest
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        assert!(self.holders.len() <= MOST_KNOWN && self.made.len() <= MOST_KNOWN, "too much is remembered");
        assert_eq!(self.holders.len(), self.noted.len(), "contents and their order are not as many");
        assert_eq!(self.made.len(), self.makers.len(), "makers and their order are not as many");
        for holders in self.holders.values() {
            assert!((1..=MOST_HOLDERS).contains(&holders.len()), "a content that nobody has, or too many");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileMode;
    use crate::model::files::{BlobRef, InputSpec, OutputFile, Transfer, TransferPath};
    use crate::model::spec::CommandLine;
    use crate::model::{Items, JobId};

    fn content(number: u8, bytes: u64) -> Content {
        let blob = BlobRef { digest: Digest([number; 32]), bytes };
        Content::File { blob, mode: FileMode::FILE, modified_ns: None }
    }

    fn made(contents: &[Content]) -> TaskFiles {
        let outputs = contents.iter().map(|content| OutputFile { name: "x".into(), content: *content }).collect();
        TaskFiles { outputs, ..TaskFiles::default() }
    }

    fn fetched(content: Content) -> TaskFiles {
        let transfer = Transfer { blob: content.blob(), from: "a".to_owned(), path: TransferPath::Relay };
        TaskFiles { transfers: vec![transfer], ..TaskFiles::default() }
    }

    fn taking(sources: Vec<InputSource>) -> JobSpec {
        let inputs = sources.into_iter().map(|source| InputSpec { name: "x".into(), source }).collect();
        let items = Items::Range { first: 1, last: 2, step: 1 };
        JobSpec { inputs, items, ..JobSpec::single(CommandLine::Shell("true".into())) }
    }

    const BIG: u64 = 5 * WORTH_BYTES;
    const A: WorkerKey = WorkerKey(1);
    const B: WorkerKey = WorkerKey(2);

    #[test]
    fn the_worker_with_most_bytes_of_a_task_is_named_first() {
        let mut whereabouts = Whereabouts::default();
        whereabouts.learn(A, TaskId::new(1, 1), &made(&[content(1, BIG)]));
        whereabouts.learn(B, TaskId::new(1, 2), &made(&[content(2, BIG + 1)]));
        whereabouts.check();
        let output = |index| InputSource::Output { job: JobId(1), index, output: "x".into() };
        let both = taking(vec![output(Some(crate::model::TaskIndex(1))), output(Some(crate::model::TaskIndex(2)))]);
        assert_eq!(whereabouts.nearest(&both, TaskId::new(5, 1)), [(B, BIG + 1), (A, BIG)]);
        let own = taking(vec![output(None)]);
        assert_eq!(whereabouts.nearest(&own, TaskId::new(5, 1)), [(A, BIG)], "that of the same number");
        whereabouts.learn(A, TaskId::new(5, 2), &fetched(content(2, BIG + 1)));
        assert_eq!(whereabouts.nearest(&own, TaskId::new(5, 2)), [(A, BIG + 1), (B, BIG + 1)], "copies count");
    }

    #[test]
    fn each_task_follows_its_own_input_and_none_a_small_one_or_one_that_all_share() {
        let mut whereabouts = Whereabouts::default();
        whereabouts.learn(B, TaskId::new(1, 0), &fetched(content(7, BIG)));
        whereabouts.learn(B, TaskId::new(1, 0), &fetched(content(8, WORTH_BYTES - 1)));
        let own = taking(vec![InputSource::PerTask(vec![content(7, BIG), content(8, WORTH_BYTES - 1)])]);
        assert_eq!(whereabouts.nearest(&own, TaskId::new(2, 1)), [(B, BIG)]);
        assert_eq!(whereabouts.nearest(&own, TaskId::new(2, 2)), []);
        let shared = taking(vec![InputSource::Shared(content(7, BIG))]);
        assert_eq!(whereabouts.nearest(&shared, TaskId::new(2, 1)), []);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut whereabouts = Whereabouts::default();
        for number in 0..MOST_KNOWN as u64 + 100 {
            let mut digest = Digest([0; 32]);
            digest.0[..8].copy_from_slice(&number.to_le_bytes());
            let blob = BlobRef { digest, bytes: BIG };
            let content = Content::File { blob, mode: FileMode::FILE, modified_ns: None };
            whereabouts.learn(A, TaskId::new(number, 0), &made(&[content]));
        }
        whereabouts.check();
        assert_eq!(whereabouts.made.len(), MOST_KNOWN);
    }
}
