//! Inputs of attempts that wait for room, brought while others run: a slot that becomes free then waits for no wire.
//!
//! The one invariant: what is got ready ahead is the attempt's when it starts and is removed when it will not, and an
//! attempt is none the worse for a failure ahead: it is tried again at its start. Absent: which attempts come next
//! (the engine's), and bringing files (`files`).

use std::collections::BTreeMap;

use tokio::task::AbortHandle;

use super::files::Staged;
use super::shell::Shell;
use crate::model::files::InputSource;
use crate::model::{AttemptId, JobSpec, Outcome, SealedSpec, TaskIndex};

/// Attempts that are made ready at a time, where a worker has more slots than that.
const MOST: usize = 16;
/// Bytes of inputs that are put into place ahead: each is a copy of its own, beside that of whatever runs.
const MOST_BYTES: u64 = 1 << 30;

/// How far one of them is.
pub(super) enum Ahead {
    /// On its way.
    Coming(AbortHandle),
    /// Ready.
    There(Staged),
    /// It did not work out.
    Failed,
}

impl Shell {
    /// Makes ready what starts next, and lets go of what does not any more. What starts now goes first.
    pub(super) fn stage_ahead(&mut self) {
        let slots = self.engine.slots().min(MOST);
        let mut left = MOST_BYTES;
        let mut wanted: BTreeMap<AttemptId, SealedSpec> = BTreeMap::new();
        for (assignment, spec) in self.engine.next_in_line(slots) {
            let Some(bytes) = known_bytes(spec.spec(), assignment.task.index) else { continue };
            if bytes <= left {
                left -= bytes;
                wanted.insert(assignment.id(), spec.clone());
            }
        }
        let unwanted: Vec<AttemptId> = self.ahead.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in unwanted {
            self.ahead.remove(&id).into_iter().for_each(let_go);
        }
        if !self.staging.is_empty() {
            return;
        }
        for (id, spec) in wanted {
            if !self.ahead.contains_key(&id) {
                let coming = self.bring(id, &spec);
                self.ahead.insert(id, Ahead::Coming(coming));
            }
        }
    }

    /// What was got ready of an attempt that starts now.
    pub(super) fn take_ahead(&mut self, id: AttemptId) -> Option<Ahead> {
        self.ahead.remove(&id)
    }

    /// News of an attempt that has not started.
    pub(super) fn staged_ahead(&mut self, id: AttemptId, staged: Result<Staged, Outcome>) {
        let news = match staged {
            Ok(staged) => Ahead::There(staged),
            Err(outcome) => {
                tracing::debug!("Inputs of task {id} do not come ahead: it {outcome}");
                Ahead::Failed
            }
        };
        match self.ahead.get_mut(&id) {
            Some(ahead @ Ahead::Coming(_)) => *ahead = news,
            // It will not start here, or is ready already.
            _ => let_go(news),
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
    use crate::model::files::{BlobRef, Content, InputSpec};
    use crate::model::spec::CommandLine;
    use crate::model::{Digest, Items, JobId};

    fn file(bytes: u64) -> Content {
        Content::File { blob: BlobRef { digest: Digest([1; 32]), bytes }, executable: false, modified_ns: None }
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
