//! Which results have to wait before they may be reported: those whose output
//! or files are still on their way to the dispatcher.
//!
//! Invariant: a report that says `Uploaded` leaves only after its upload has,
//! one that names outputs only when the dispatcher has them, and what cannot be
//! had is not promised. Absent: the uploads themselves (`logs`, `files`); this
//! is a plain value.

use std::collections::BTreeMap;

use crate::model::messages::EndedAttempt;
use crate::model::outcome::KeptOutput;
use crate::model::{AttemptId, Outcome};

/// How one thing that a report promises stands.
#[derive(Debug, Default)]
enum Promise {
    /// Nothing of the kind is under way.
    #[default]
    None,
    /// On its way.
    Underway,
    /// The dispatcher has it, or this worker holds it.
    Kept,
    /// It cannot be had, and why.
    Broken(String),
}

/// What one report waits for.
#[derive(Debug, Default)]
struct Waiting {
    log: Promise,
    files: Promise,
    /// The report, if the engine has said it already.
    report: Option<EndedAttempt>,
}

impl Waiting {
    fn is_over(&self) -> bool {
        !matches!(self.log, Promise::Underway) && !matches!(self.files, Promise::Underway)
    }
}

/// What becomes of a report that is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// It may leave.
    Now(EndedAttempt),
    /// It is kept here until what it promises has left.
    Waits,
    /// It is of an earlier start, and the outputs that it names have to be offered first.
    OfferFirst(EndedAttempt),
}

/// Reports and what they wait for.
#[derive(Debug, Default)]
pub(super) struct Reports {
    waiting: BTreeMap<AttemptId, Waiting>,
}

impl Reports {
    /// Whether any report waits here for what it promises.
    pub(super) fn hold_any(&self) -> bool {
        self.waiting.values().any(|waiting| waiting.report.is_some())
    }

    /// The output of `id` is being uploaded.
    pub(super) fn log_started(&mut self, id: AttemptId) {
        self.waiting.entry(id).or_default().log = Promise::Underway;
    }

    /// The outputs of `id` are being offered.
    pub(super) fn files_started(&mut self, id: AttemptId) {
        self.waiting.entry(id).or_default().files = Promise::Underway;
    }

    /// The outputs of `id` are held here: nothing is to be waited for.
    pub(super) fn files_held(&mut self, id: AttemptId) {
        self.waiting.entry(id).or_default().files = Promise::Kept;
    }

    /// The upload is over; returns the report that waited for it.
    pub(super) fn log_ended(&mut self, id: AttemptId, arrived: bool) -> Option<EndedAttempt> {
        let promise = if arrived { Promise::Kept } else { Promise::Broken(String::new()) };
        self.settle(id, |waiting| waiting.log = promise)
    }

    /// The offer is over: the dispatcher has the outputs, or it was refused for this reason.
    pub(super) fn files_ended(&mut self, id: AttemptId, refused: Option<String>) -> Option<EndedAttempt> {
        self.settle(id, |waiting| waiting.files = refused.map_or(Promise::Kept, Promise::Broken))
    }

    fn settle(&mut self, id: AttemptId, change: impl FnOnce(&mut Waiting)) -> Option<EndedAttempt> {
        let waiting = self.waiting.get_mut(&id)?;
        change(waiting);
        if !waiting.is_over() {
            return None;
        }
        let report = waiting.report.take()?;
        match self.release(report) {
            Release::Now(report) => Some(report),
            Release::Waits | Release::OfferFirst(_) => None,
        }
    }

    /// Takes a report that is to be sent.
    ///
    /// The output of an earlier start of this worker is gone with it, and such a report promises none; its files
    /// are still there.
    pub(super) fn release(&mut self, mut ended: EndedAttempt) -> Release {
        let names_files = ended.report.files.as_ref().is_some_and(|files| !files.outputs.is_empty());
        let has_log = matches!(ended.report.output.kept, KeptOutput::Uploaded(_));
        if !names_files && !has_log {
            return Release::Now(ended);
        }
        let Some(waiting) = self.waiting.get_mut(&ended.id) else {
            if names_files {
                return Release::OfferFirst(ended);
            }
            ended.report.output.kept = KeptOutput::Nothing;
            return Release::Now(ended);
        };
        if names_files && matches!(waiting.files, Promise::None) {
            return Release::OfferFirst(ended);
        }
        if !waiting.is_over() {
            waiting.report = Some(ended);
            return Release::Waits;
        }
        if has_log && !matches!(waiting.log, Promise::Kept) {
            ended.report.output.kept = KeptOutput::Nothing;
        }
        match &waiting.files {
            Promise::Broken(why) => {
                if let Some(files) = &mut ended.report.files {
                    files.outputs.clear();
                }
                // How a task failed by itself says more than what became of its files.
                if ended.report.outcome.is_success() {
                    ended.report.outcome = Outcome::TransferFailed(format!("failed to {why}"));
                }
            }
            Promise::None | Promise::Underway | Promise::Kept => {}
        }
        Release::Now(ended)
    }

    /// The link is gone, and with it every report that was to leave on it: the engine repeats them.
    pub(super) fn link_lost(&mut self) {
        self.waiting.values_mut().for_each(|waiting| waiting.report = None);
    }

    /// Nobody asks for this result any more.
    pub(super) fn forget(&mut self, id: AttemptId) {
        self.waiting.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileMode;
    use crate::model::files::{BlobRef, Content, OutputFile, TaskFiles};
    use crate::model::outcome::OutputSummary;
    use crate::model::{AttemptNo, AttemptReport, Digest, Epoch, Fence, TaskId, Timestamp};

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
                files: None,
            },
        }
    }

    fn with_file(kept: KeptOutput) -> EndedAttempt {
        let mut ended = ended(kept);
        let blob = BlobRef { digest: Digest([1; 32]), bytes: 5 };
        let output =
            OutputFile { name: "out".into(), content: Content::File { blob, mode: FileMode::FILE, modified_ns: None } };
        ended.report.files = Some(Box::new(TaskFiles { outputs: vec![output], ..TaskFiles::default() }));
        ended
    }

    #[test]
    fn a_report_waits_for_its_upload_and_then_says_what_it_said() {
        let mut reports = Reports::default();
        let report = ended(KeptOutput::Uploaded(5));
        reports.log_started(report.id);
        assert_eq!(reports.release(report.clone()), Release::Waits);
        assert_eq!(reports.log_ended(report.id, true), Some(report.clone()));
        assert_eq!(reports.release(report.clone()), Release::Now(report), "repeated after a reconnect");
    }

    #[test]
    fn a_report_never_promises_output_that_could_not_be_uploaded() {
        let mut reports = Reports::default();
        let report = ended(KeptOutput::Uploaded(5));
        reports.log_started(report.id);
        assert_eq!(reports.log_ended(report.id, false), None);
        let Release::Now(sent) = reports.release(report.clone()) else { panic!("it leaves") };
        assert_eq!(sent.report.output.kept, KeptOutput::Nothing);
        reports.forget(report.id);
        let Release::Now(restored) = reports.release(report) else { panic!("an earlier start's report leaves") };
        assert_eq!(restored.report.output.kept, KeptOutput::Nothing);
    }

    #[test]
    fn a_report_with_files_leaves_when_both_its_log_and_its_files_have() {
        let mut reports = Reports::default();
        let report = with_file(KeptOutput::Uploaded(5));
        reports.log_started(report.id);
        reports.files_started(report.id);
        assert_eq!(reports.release(report.clone()), Release::Waits);
        assert_eq!(reports.files_ended(report.id, None), None);
        assert_eq!(reports.log_ended(report.id, true), Some(report));
    }

    #[test]
    fn a_success_whose_files_are_refused_is_none() {
        let mut reports = Reports::default();
        let report = with_file(KeptOutput::Nothing);
        reports.files_started(report.id);
        assert_eq!(reports.release(report.clone()), Release::Waits);
        let sent = reports.files_ended(report.id, Some("no room".to_owned())).expect("it leaves");
        assert!(matches!(sent.report.outcome, Outcome::TransferFailed(_)));
        assert!(sent.report.files.is_some_and(|files| files.outputs.is_empty()), "it promises none");
    }

    #[test]
    fn a_failure_whose_files_are_refused_keeps_its_exit_code() {
        let mut reports = Reports::default();
        let mut report = with_file(KeptOutput::Nothing);
        report.report.outcome = Outcome::Exited(3);
        reports.files_started(report.id);
        assert_eq!(reports.release(report.clone()), Release::Waits);
        let sent = reports.files_ended(report.id, Some("no room".to_owned())).expect("it leaves");
        assert_eq!(sent.report.outcome, Outcome::Exited(3));
        assert!(sent.report.files.is_some_and(|files| files.outputs.is_empty()), "it promises none");
    }

    #[test]
    fn the_files_of_an_earlier_start_are_offered_before_their_report_leaves() {
        let mut reports = Reports::default();
        let report = with_file(KeptOutput::Nothing);
        assert_eq!(reports.release(report.clone()), Release::OfferFirst(report.clone()));
        reports.files_started(report.id);
        assert_eq!(reports.release(report.clone()), Release::Waits);
        assert_eq!(reports.files_ended(report.id, None), Some(report));
    }

    #[test]
    fn the_files_of_an_earlier_start_are_offered_also_while_its_log_is_uploaded() {
        let mut reports = Reports::default();
        let report = with_file(KeptOutput::Uploaded(5));
        reports.log_started(report.id);
        assert_eq!(reports.release(report.clone()), Release::OfferFirst(report.clone()));
        reports.files_started(report.id);
        assert_eq!(reports.release(report.clone()), Release::Waits);
        assert_eq!(reports.log_ended(report.id, true), None);
        assert_eq!(reports.files_ended(report.id, None), Some(report));
    }

    #[test]
    fn a_report_held_back_when_the_link_goes_is_left_to_the_engine_to_repeat() {
        let mut reports = Reports::default();
        let report = ended(KeptOutput::Uploaded(5));
        reports.log_started(report.id);
        assert_eq!(reports.release(report.clone()), Release::Waits);
        reports.link_lost();
        assert_eq!(reports.log_ended(report.id, true), None);
    }

    #[test]
    fn small_results_never_wait() {
        let report = ended(KeptOutput::Nothing);
        assert_eq!(Reports::default().release(report.clone()), Release::Now(report));
    }
}
