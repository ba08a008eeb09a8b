//! What is to be said on the link, gathered into few messages.
//!
//! Invariant: whatever was gathered, what was taken over comes first, then the
//! holding, and an attempt's start before its end. Nothing is gathered while no link is up.

use std::collections::BTreeSet;

use crate::model::limits::MAX_BATCH;
use crate::model::messages::{EndedAttempt, FencedAttempt, HeldAttempt, RefusedAttempt, StartedAttempt, WorkerMessage};
use crate::model::obstacle::Shortage;
use crate::model::offload::{GivenAway, TakenOver};
use crate::model::outcome::{Cancellation, KeptOutput};
use crate::model::{JobId, Outcome};

/// Inline output and reasons in one message: far below the frame's bound, so that heartbeats are not stuck behind it for long.
const MAX_OUTPUT: usize = 1024 * 1024;

/// Things to say, by kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Outgoing {
    pub(super) took: Vec<TakenOver>,
    pub(super) holding: Option<Vec<HeldAttempt>>,
    pub(super) started: Vec<StartedAttempt>,
    pub(super) ended: Vec<EndedAttempt>,
    pub(super) returned: Vec<FencedAttempt>,
    pub(super) refused: Vec<RefusedAttempt>,
    /// What the worker is short of now, when that is news.
    pub(super) short: Option<Option<Shortage>>,
    pub(super) gave: Vec<GivenAway>,
    pub(super) never: Vec<FencedAttempt>,
    pub(super) missing: BTreeSet<JobId>,
    pub(super) heartbeat: Option<u64>,
    pub(super) stopping: bool,
}

impl Outgoing {
    /// Everything gathered, as messages in the order to send them.
    pub(super) fn take(&mut self) -> Vec<WorkerMessage> {
        let all = std::mem::take(self);
        let mut messages = Vec::new();
        messages.extend(batches(all.took, proof_bytes).map(WorkerMessage::TookOver));
        messages.extend(all.holding.map(WorkerMessage::Holding));
        messages.extend(batches(all.started, |_| 0).map(WorkerMessage::Started));
        messages.extend(batches(all.ended, bulk).map(WorkerMessage::Ended));
        // Before what is given back because of it: the dispatcher is to look for another worker.
        messages.extend(all.short.map(WorkerMessage::Short));
        messages.extend(batches(all.returned, |_| 0).map(WorkerMessage::Returned));
        messages.extend(batches(all.refused, |_| 0).map(WorkerMessage::Refused));
        messages.extend(batches(all.gave, |_| 0).map(WorkerMessage::GaveAway));
        messages.extend(batches(all.never, |_| 0).map(WorkerMessage::NeverCame));
        messages.extend(all.missing.into_iter().map(WorkerMessage::SpecMissing));
        messages.extend(all.heartbeat.map(|sequence| WorkerMessage::Heartbeat { sequence }));
        messages.extend(all.stopping.then_some(WorkerMessage::Stopping));
        messages
    }

    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        self.took.is_empty()
            && self.gave.is_empty()
            && self.never.is_empty()
            && self.holding.is_none()
            && self.started.is_empty()
            && self.ended.is_empty()
            && self.returned.is_empty()
            && self.refused.is_empty()
            && self.short.is_none()
            && self.missing.is_empty()
            && self.heartbeat.is_none()
            && !self.stopping
    }
}

/// Bytes of a proof.
fn proof_bytes(taken: &TakenOver) -> usize {
    taken.proof.grant.0.len() + taken.proof.statement.0.len()
}

/// Bytes of what has no fixed size in a result.
fn bulk(ended: &EndedAttempt) -> usize {
    let output = match &ended.report.output.kept {
        KeptOutput::Inline(bytes) => bytes.len(),
        KeptOutput::Nothing | KeptOutput::Uploaded(_) => 0,
    };
    let reason = match &ended.report.outcome {
        Outcome::SpawnFailed(failure) => failure.reason.len(),
        Outcome::TransferFailed(reason)
        | Outcome::OutputMissing(reason)
        | Outcome::InputLost(reason)
        | Outcome::Cancelled(Cancellation::Requested { reason: Some(reason), .. }) => reason.len(),
        _ => 0,
    };
    output + reason
}

/// `list` in pieces of at most [`MAX_BATCH`] entries and about [`MAX_OUTPUT`] bytes of `size`.
fn batches<T>(list: Vec<T>, size: impl Fn(&T) -> usize) -> impl Iterator<Item = Vec<T>> {
    let mut rest = list.into_iter().peekable();
    std::iter::from_fn(move || {
        rest.peek()?;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) =
            rest.next_if(|next| batch.is_empty() || (batch.len() < MAX_BATCH && bytes + size(next) <= MAX_OUTPUT))
        {
            bytes += size(&next);
            batch.push(next);
        }
        assert!((1..=MAX_BATCH).contains(&batch.len()), "a batch of {} entries", batch.len());
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::{OutputSummary, SpawnFailure, SpawnFailureKind};
    use crate::model::{AttemptId, AttemptNo, AttemptReport, Epoch, Fence, TaskId, Timestamp};

    /// A task that could not be started, for this reason.
    fn failed(counter: u64, reason: String) -> EndedAttempt {
        let failure = SpawnFailure { kind: SpawnFailureKind::NotFound, reason };
        EndedAttempt {
            id: AttemptId { task: TaskId::new(1, counter), attempt: AttemptNo(1) },
            fence: Fence { epoch: Epoch(1), counter },
            report: AttemptReport {
                outcome: Outcome::SpawnFailed(failure),
                started_at: None,
                ended_at: Timestamp(1),
                peak_memory_bytes: 0,
                output: OutputSummary::default(),
                files: None,
            },
        }
    }

    #[test]
    fn long_reasons_fill_a_message_as_output_does() {
        let ended = (0..10).map(|n| failed(n, "x".repeat(MAX_OUTPUT / 4))).collect();
        let messages = Outgoing { ended, ..Outgoing::default() }.take();
        let lengths = messages.iter().map(|message| match message {
            WorkerMessage::Ended(results) => results.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(lengths.collect::<Vec<_>>(), [4, 4, 2]);
    }

    #[test]
    fn long_lists_leave_in_bounded_pieces() {
        let lengths = |list: Vec<usize>| batches(list, |bytes| *bytes).map(|batch| batch.len()).collect::<Vec<_>>();
        assert_eq!(lengths(vec![0; 2 * MAX_BATCH + 1]), [MAX_BATCH, MAX_BATCH, 1]);
        assert_eq!(lengths(vec![MAX_OUTPUT, 1, 2, 2 * MAX_OUTPUT]), [1, 2, 1]);
        assert_eq!(lengths(vec![]), [0; 0]);
    }
}
