//! Which results have to wait before they may be reported: those whose output
//! is still on its way to the dispatcher.
//!
//! Invariant: a report that says `Uploaded` leaves only after its upload has,
//! and a log that cannot be uploaded is not promised. Absent: the uploads
//! themselves (`logs`); this is a plain value.

use std::collections::BTreeMap;

use crate::model::AttemptId;
use crate::model::messages::EndedAttempt;
use crate::model::outcome::KeptOutput;

/// How an attempt's output stands.
#[derive(Debug)]
enum Upload {
    /// On its way; the report that waits for it, if the engine has said it already.
    Underway(Option<EndedAttempt>),
    /// The dispatcher has it.
    Arrived,
    /// It cannot be had.
    Failed,
}

/// Reports and the uploads they wait for.
#[derive(Debug, Default)]
pub(super) struct Reports {
    uploads: BTreeMap<AttemptId, Upload>,
}

impl Reports {
    /// The output of `id` is being uploaded.
    pub(super) fn upload_started(&mut self, id: AttemptId) {
        self.uploads.insert(id, Upload::Underway(None));
    }

    /// The upload is over; returns the report that waited for it.
    pub(super) fn upload_ended(&mut self, id: AttemptId, arrived: bool) -> Option<EndedAttempt> {
        let state = self.uploads.get_mut(&id)?;
        let settled = if arrived { Upload::Arrived } else { Upload::Failed };
        match std::mem::replace(state, settled) {
            Upload::Underway(Some(ended)) => self.release(ended),
            _ => None,
        }
    }

    /// Takes a report that is to be sent; returns it when it may leave now.
    ///
    /// The output of an earlier start of this worker is gone with it: such a
    /// report leaves at once and promises nothing.
    pub(super) fn release(&mut self, mut ended: EndedAttempt) -> Option<EndedAttempt> {
        if !matches!(ended.report.output.kept, KeptOutput::Uploaded(_)) {
            return Some(ended);
        }
        match self.uploads.get_mut(&ended.id) {
            Some(Upload::Underway(waiting)) => {
                *waiting = Some(ended);
                None
            }
            Some(Upload::Arrived) => Some(ended),
            Some(Upload::Failed) | None => {
                ended.report.output.kept = KeptOutput::Nothing;
                Some(ended)
            }
        }
    }

    /// The link is gone, and with it every report that was to leave on it: the engine repeats them.
    pub(super) fn link_lost(&mut self) {
        for upload in self.uploads.values_mut() {
            if let Upload::Underway(waiting) = upload {
                *waiting = None;
            }
        }
    }

    /// Nobody asks for this result any more.
    pub(super) fn forget(&mut self, id: AttemptId) {
        self.uploads.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::OutputSummary;
    use crate::model::{AttemptNo, AttemptReport, Epoch, Fence, Outcome, TaskId, Timestamp};

    fn ended(kept: KeptOutput) -> EndedAttempt {
        EndedAttempt {
            id: AttemptId { task: TaskId::new(1, 0), attempt: AttemptNo(1) },
            fence: Fence { epoch: Epoch(1), counter: 1 },
            report: AttemptReport {
                outcome: Outcome::Exited(0),
                started_at: None,
                ended_at: Timestamp(1),
                peak_memory_bytes: 0,
                output: OutputSummary { stdout_bytes: 99_999, stderr_bytes: 0, kept },
            },
        }
    }

    #[test]
    fn a_report_waits_for_its_upload_and_then_says_what_it_said() {
        let mut reports = Reports::default();
        let report = ended(KeptOutput::Uploaded(5));
        reports.upload_started(report.id);
        assert_eq!(reports.release(report.clone()), None);
        assert_eq!(reports.upload_ended(report.id, true), Some(report.clone()));
        assert_eq!(reports.release(report.clone()), Some(report), "repeated after a reconnect");
    }

    #[test]
    fn a_report_never_promises_output_that_could_not_be_uploaded() {
        let mut reports = Reports::default();
        let report = ended(KeptOutput::Uploaded(5));
        reports.upload_started(report.id);
        assert_eq!(reports.upload_ended(report.id, false), None);
        let sent = reports.release(report.clone()).expect("it leaves");
        assert_eq!(sent.report.output.kept, KeptOutput::Nothing);
        reports.forget(report.id);
        let restored = reports.release(report).expect("an earlier start's report leaves");
        assert_eq!(restored.report.output.kept, KeptOutput::Nothing);
    }

    #[test]
    fn a_report_held_back_when_the_link_goes_is_left_to_the_engine_to_repeat() {
        let mut reports = Reports::default();
        let report = ended(KeptOutput::Uploaded(5));
        reports.upload_started(report.id);
        assert_eq!(reports.release(report.clone()), None);
        reports.link_lost();
        assert_eq!(reports.upload_ended(report.id, true), None);
    }

    #[test]
    fn small_results_never_wait() {
        let report = ended(KeptOutput::Nothing);
        assert_eq!(Reports::default().release(report.clone()), Some(report));
    }
}
