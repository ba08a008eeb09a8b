//! Attempts that a worker refuses because it does not have the directory that their job runs in.
//!
//! Invariant: such an attempt is counted as nothing, and its worker gets no task of any job that runs in the same
//! directory for [`TRY_AGAIN`]; then it is tried again. Absent: who is kept from where (`placement/directories`).

use super::DispatcherEngine;
use super::losses::Loss;
use super::placement::WorkerKey;
use super::timers::Timer;
use crate::model::messages::RefusedAttempt;
use crate::model::obstacle::DirectoryFault;
use crate::model::spec::Workdir;
use crate::model::{Millis, RawString, Timestamp};

/// How long a worker that does not have a directory is not tried again: short for a person who has just made it, long
/// beside the cost of a try, which is a few messages.
const TRY_AGAIN: Millis = Millis::from_secs(10);

impl DispatcherEngine {
    /// Attempts are refused. One that is known to have started was not, whatever its worker says.
    pub(super) fn take_refused(&mut self, now: Timestamp, key: WorkerKey, list: Vec<RefusedAttempt>) {
        for RefusedAttempt { id, fence, fault } in list {
            let Some(attempt) = self.live_attempt(key, id, fence) else { continue };
            if attempt.started_at.is_some() {
                self.lose_attempt(now, key, id.task, &Loss::WorkerLost);
                continue;
            }
            let loss = match &self.jobs.at(id.task.job).spec().workdir {
                Workdir::Existing(directory) => {
                    let directory = directory.clone();
                    self.note_fault(now, key, directory, fault);
                    Loss::Refused
                }
                // It would find a fresh one.
                Workdir::Fresh => Loss::NeverStarted,
            };
            self.lose_attempt(now, key, id.task, &loss);
        }
    }

    fn note_fault(&mut self, now: Timestamp, key: WorkerKey, directory: RawString, fault: DirectoryFault) {
        if self.placement.note_fault(key, &directory, fault) {
            let again = now + TRY_AGAIN;
            self.roster.at_mut(key).faults.push_back((again, directory));
            self.timers.set(again, Timer::Directory(key));
        }
    }

    /// Lets a worker be tried again that did not have a directory a while ago.
    pub(super) fn try_directories(&mut self, now: Timestamp, key: WorkerKey) {
        if self.roster.get(key).is_none() {
            return;
        }
        while self.roster.at(key).faults.front().is_some_and(|(again, _)| *again <= now) {
            let Some((_, directory)) = self.roster.at_mut(key).faults.pop_front() else { return };
            self.placement.forget_fault(key, &directory);
        }
    }
}
