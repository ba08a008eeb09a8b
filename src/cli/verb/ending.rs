//! How jobs and tasks that did not succeed are told: one line, and what to do.

use crate::cli::error::KEPT_PER_ATTEMPT;
use crate::model::outcome::Cancellation;
use crate::model::views::JobView;
use crate::model::{Outcome, TaskState};

/// What is said of an ended task, behind "the task "; `None` when its exit status says it all.
pub(super) fn of_task(outcome: &Outcome) -> Option<(String, Option<String>)> {
    let hint = match outcome {
        // The task has said on its own stderr what there is to say; Ctrl-C has been answered.
        Outcome::Exited(_) | Outcome::Cancelled(Cancellation::Interrupted) => return None,
        Outcome::TimedOut(..) => Some("--time-limit 1h allows an hour, --time-limit none any time".to_owned()),
        Outcome::OutOfMemory => Some("--mem reserves more; a worker with that much has to be there".to_owned()),
        Outcome::OomKilled => {
            Some("--mem reserves memory, so that no more tasks run there than it has room for".to_owned())
        }
        Outcome::Unrepeatable(_) => Some(KEPT_PER_ATTEMPT.to_owned()),
        Outcome::Lost => Some("`octaskly workers` shows which workers are there".to_owned()),
        _ => None,
    };
    let text = match outcome {
        Outcome::Signalled(signal) => format!("the task was killed by signal {signal}{}", signal_name(*signal)),
        other => format!("the task {other}"),
    };
    Some((text, hint))
}

/// What is said of an ended job that did not succeed.
pub(super) fn of_job(job: &JobView) -> Option<(String, Option<String>)> {
    let verb = match job.state {
        TaskState::Failed => "failed",
        TaskState::Cancelled => "was cancelled",
        _ => return None,
    };
    if let Some(outcome) = &job.outcome {
        let told = of_task(outcome);
        let hint = told.as_ref().and_then(|(_, hint)| hint.clone());
        let text = told.map_or_else(|| format!("the task {outcome}"), |(text, _)| text);
        return Some((format!("job {} {verb}: {text}", job.job), hint));
    }
    let counts = [(job.tasks.failed, "failed"), (job.tasks.cancelled, "cancelled")];
    let counts: Vec<_> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let by = job.cancelling.as_ref().and_then(Cancellation::by).map(|by| by.name.as_str());
    let verb = match (job.state, by) {
        (TaskState::Cancelled, Some(by)) => format!("{verb} by {by}"),
        (_, Some(by)) => format!("{verb} and was cancelled by {by}"),
        (_, None) => verb.to_owned(),
    };
    let why = match &job.cancelling {
        Some(Cancellation::MaxFails) => "stopped by --max-fails: ".to_owned(),
        Some(why) => why.reason().map(|reason| format!("{reason}: ")).unwrap_or_default(),
        None => String::new(),
    };
    let text = format!("job {} {verb}: {why}of {} tasks {}", job.job, job.tasks.total, counts.join(", "));
    Some((text, Some(format!("`octaskly show {} --state failed,cancelled` lists them", job.job))))
}

/// ` (SIGKILL)` and its kin, for those that people know.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::json::tests::sample_job;
    use crate::model::Millis;
    use crate::model::outcome::LimitSource;
    use crate::model::views::TaskTotals;

    #[test]
    fn a_task_that_ran_out_of_time_is_told_which_option_gives_more() {
        let (text, hint) = of_task(&Outcome::TimedOut(Millis(2_000), LimitSource::Job)).expect("said");
        assert!(text.contains("--time-limit of 2 s") && hint.is_some_and(|hint| hint.contains("--time-limit none")));
        let (text, _) = of_task(&Outcome::TimedOut(Millis(300_000), LimitSource::Dispatcher)).expect("said");
        assert_eq!(text, "the task was ended after 5 min: the dispatcher's --task-timeout; --time-limit changes it");
    }

    #[test]
    fn an_exit_code_speaks_for_itself_and_a_signal_has_a_name() {
        assert_eq!(of_task(&Outcome::Exited(7)), None);
        assert_eq!(of_task(&Outcome::Cancelled(Cancellation::Interrupted)), None);
        assert_eq!(of_task(&Outcome::Signalled(9)).expect("said").0, "the task was killed by signal 9 (SIGKILL)");
    }

    #[test]
    fn a_failed_job_says_how_many_of_its_tasks_failed() {
        let mut job = sample_job();
        job.state = TaskState::Failed;
        job.tasks = TaskTotals { total: 100, succeeded: 97, failed: 3, ..TaskTotals::default() };
        let (text, hint) = of_job(&job).expect("said");
        assert_eq!(text, "job 5 failed: of 100 tasks 3 failed");
        assert!(hint.is_some_and(|hint| hint.contains("octaskly show 5")));
        job.cancelling = Some(Cancellation::MaxFails);
        job.tasks = TaskTotals { total: 100, succeeded: 7, failed: 3, cancelled: 90, ..TaskTotals::default() };
        let (text, _) = of_job(&job).expect("said");
        assert_eq!(text, "job 5 failed: stopped by --max-fails: of 100 tasks 3 failed, 90 cancelled");
        job.outcome = Some(Outcome::Exited(7));
        assert_eq!(of_job(&job).expect("said").0, "job 5 failed: the task failed with exit code 7");
        job.state = TaskState::Succeeded;
        assert_eq!(of_job(&job), None);
    }
}
