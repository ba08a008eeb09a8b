//! Inputs of attempts that wait for room, brought while others run: a slot that becomes free then waits for no wire.
//!
//! The one invariant: what is got ready ahead is its attempt's when that starts and is removed when it will not start
//! here, and nobody is the worse for it: what fails ahead is tried again at the start, and whoever starts and finds no
//! room has all of it cleared away. Absent: which attempts come next (the engine's), and bringing files (`files`).

use std::collections::BTreeMap;

use tokio::task::AbortHandle;

use super::files::{FilesError, Staged, Urgency};
use super::shell::Shell;
use crate::model::files::InputSource;
use crate::model::messages::FencedAttempt;
use crate::model::{Fence, JobSpec, Millis, SealedSpec, TaskIndex, Timestamp};

/// Attempts that are made ready at a time, where a worker has more slots than that.
const MOST: usize = 16;
/// Bytes of inputs that are put into place ahead: each is a copy of its own, beside that of whatever runs.
const MOST_BYTES: u64 = 1 << 30;
/// Nothing is brought ahead for this long after somebody needed the room.
const HOLD_OFF: Millis = Millis::from_secs(30);

/// What is brought ahead.
#[derive(Default)]
pub(super) struct Aheads {
    /// By fence: the number of an attempt may come twice, with other inputs.
    by_fence: BTreeMap<Fence, Ahead>,
    not_before: Timestamp,
}

/// How far one of them is.
pub(super) enum Ahead {
    /// On its way.
    Coming(AbortHandle),
    /// Ready.
    There(Staged),
    /// It did not work out.
    Failed,
}

impl Aheads {
    /// What was got ready of an attempt that starts now.
    pub(super) fn take(&mut self, fence: Fence) -> Option<Ahead> {
        self.by_fence.remove(&fence)
    }

    /// Somebody needs the room: all of it goes. Says whether there was anything.
    pub(super) fn clear(&mut self, now: Timestamp) -> bool {
        self.not_before = now + HOLD_OFF;
        let all = std::mem::take(&mut self.by_fence);
        let had_any = all.values().any(|ahead| !matches!(ahead, Ahead::Failed));
        all.into_values().for_each(let_go);
        had_any
    }

    /// News of an attempt that has not started.
    pub(super) fn news(&mut self, attempt: FencedAttempt, staged: Result<Staged, Box<FilesError>>) {
        let news = match staged {
            Ok(staged) => Ahead::There(staged),
            Err(error) => {
                tracing::debug!("Inputs of task {} do not come ahead: failed to {error}", attempt.id);
                Ahead::Failed
            }
        };
        match self.by_fence.get_mut(&attempt.fence) {
            Some(ahead @ Ahead::Coming(_)) => *ahead = news,
            // It will not start here.
            _ => let_go(news),
        }
    }
}

impl Shell {
    /// Makes ready what starts next, and lets go of what does not any more. What starts now goes first.
    pub(super) fn stage_ahead(&mut self, now: Timestamp) {
        let mut left = MOST_BYTES;
        let mut wanted: BTreeMap<Fence, (FencedAttempt, SealedSpec)> = BTreeMap::new();
        for (attempt, spec) in self.engine.next_in_line(self.engine.slots().min(MOST)) {
            let Some(bytes) = known_bytes(spec.spec(), attempt.id.task.index) else { continue };
            if bytes <= left {
                left -= bytes;
                wanted.insert(attempt.fence, (attempt, spec.clone()));
            }
        }
        let engine = &self.engine;
        let is_over = |fence: &Fence| !wanted.contains_key(fence) && !engine.is_offered(*fence);
        let over: Vec<Fence> = self.ahead.by_fence.keys().copied().filter(is_over).collect();
        over.into_iter().filter_map(|fence| self.ahead.take(fence)).for_each(let_go);
        if !self.staging.is_empty() || now < self.ahead.not_before {
            return;
        }
        for (fence, (attempt, spec)) in wanted {
            if !self.ahead.by_fence.contains_key(&fence) {
                let coming = self.bring(attempt, &spec, Urgency::Ahead);
                self.ahead.by_fence.insert(fence, Ahead::Coming(coming));
            }
        }
    }
}

/// Bytes of a task's inputs; `None` when it has none, or some of which nobody knows how large they are.
fn known_bytes(spec: &JobSpec, index: TaskIndex) -> Option<u64> {
    let position = spec.items.position_of(index).and_then(|position| usize::try_from(position).ok());
    let of = |source: &InputSource| match source {
        InputSource::Shared(content) => Some(content.total_bytes()),
        InputSource::PerTask(contents) => Some(contents.get(position?)?.total_bytes()),
        InputSource::Output { .. } => None,
    };
    let bytes: Option<Vec<u64>> = spec.inputs.iter().map(|input| of(&input.source)).collect();
    bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| bytes.into_iter().fold(0, u64::saturating_add))
}

fn let_go(ahead: Ahead) {
    match ahead {
        Ahead::Coming(coming) => coming.abort(),
        // Its directory is removed with it, which may take long.
        Ahead::There(staged) => drop(tokio::task::spawn_blocking(move || drop(staged))),
        Ahead::Failed => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileMode;
    use crate::model::files::{BlobRef, Content, InputSpec};
    use crate::model::spec::CommandLine;
    use crate::model::{Digest, Items, JobId};

    fn file(bytes: u64) -> Content {
        Content::File { blob: BlobRef { digest: Digest([1; 32]), bytes }, mode: FileMode::FILE, modified_ns: None }
    }

    fn spec(sources: impl IntoIterator<Item = InputSource>) -> JobSpec {
        let inputs = sources.into_iter().map(|source| InputSpec { name: "in".into(), source }).collect();
        let items = Items::Range { first: 5, last: 6, step: 1 };
        JobSpec { inputs, items, ..JobSpec::single(CommandLine::Shell("true".into())) }
    }

    #[test]
    fn only_inputs_of_known_size_come_ahead() {
        let own = || InputSource::PerTask(vec![file(10), file(20)]);
        assert_eq!(known_bytes(&spec([InputSource::Shared(file(7)), own()]), TaskIndex(6)), Some(27));
        assert_eq!(known_bytes(&spec([]), TaskIndex(5)), None, "there is nothing to bring");
        let output = InputSource::Output { job: JobId(1), index: None, output: "out".into() };
        assert_eq!(known_bytes(&spec([own(), output]), TaskIndex(5)), None);
        assert_eq!(known_bytes(&spec([own()]), TaskIndex(9)), None, "no such task");
    }
}
