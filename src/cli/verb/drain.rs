//! `octaskly drain` and `octaskly resume`: whether a worker gets new work.
//!
//! The one invariant: `--wait` returns only when the worker runs nothing of
//! this dispatcher's and has nothing that is nowhere else, or is gone.

use std::process::ExitCode;
use std::time::Duration;

use super::Context;
use crate::cli::args::{DrainArgs, ResumeArgs};
use crate::cli::error::CliError;
use crate::cli::output::{say, text};
use crate::cli::resolve;
use crate::cli::session::Session;
use crate::model::NodeName;
use crate::model::views::{WorkerState, WorkerView};

/// Between two looks at a worker that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Gives it no new work, and with `--wait` waits until it runs nothing.
pub(super) fn drain(args: &DrainArgs, context: &Context) -> Result<ExitCode, CliError> {
    let name = resolve::node_name(&args.name)?;
    context.as_client(async {
        let mut session = context.connect(&args.connect).await?;
        let is_new = session.client().drain(name.clone()).await?;
        let worker = find(session.client().workers().await?, &name);
        let still = worker.as_ref().map_or(0, |worker| worker.slots.used);
        let by = worker.as_ref().and_then(|worker| worker.drain_act.as_ref()).map(|act| act.by.name.clone());
        let what = match (is_new, by) {
            (true, _) => "gets no new work".to_owned(),
            (false, Some(by)) => format!("was drained by {by} before"),
            (false, None) => "got no new work before".to_owned(),
        };
        say::note(
            context.quiet(),
            &match still {
                0 => format!("{name} {what}; it runs nothing"),
                tasks => format!("{name} {what}; it still runs {}", text::count(tasks, "task")),
            },
        );
        if args.wait {
            until_idle(&mut session, &name).await?;
            if still > 0 {
                say::note(context.quiet(), &format!("{name} runs nothing any more"));
            }
        }
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Gives it work again.
pub(super) fn resume(args: &ResumeArgs, context: &Context) -> Result<ExitCode, CliError> {
    let name = resolve::node_name(&args.name)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let is_new = session.client().resume(name.clone()).await?;
        let what = if is_new { "gets new work again" } else { "was not drained" };
        say::note(context.quiet(), &format!("{name} {what}"));
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Waits until the worker runs nothing and its outputs are copied, over as many links as it takes.
async fn until_idle(session: &mut Session, name: &NodeName) -> Result<(), CliError> {
    loop {
        match session.client().workers().await {
            Ok(workers) => match find(workers, name).map_or(Progress::Idle, |worker| progress(&worker)) {
                Progress::Idle => return Ok(()),
                Progress::Resumed => return Err(CliError::Resumed(name.clone())),
                Progress::Runs => tokio::time::sleep(LOOK_AGAIN).await,
            },
            Err(error) => session.reopen(error).await?,
        }
    }
}

/// How far a draining worker is.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// It runs nothing, or what it ran is no longer its own.
    Idle,
    /// It runs something.
    Runs,
    /// Somebody gave it work again.
    Resumed,
}

fn progress(worker: &WorkerView) -> Progress {
    match worker.state {
        WorkerState::Lost | WorkerState::Revoked | WorkerState::Pending => Progress::Idle,
        _ if worker.slots.used == 0 && worker.outputs_to_copy.unwrap_or(0) == 0 => Progress::Idle,
        WorkerState::Draining | WorkerState::Suspect => Progress::Runs,
        WorkerState::Idle | WorkerState::Busy => Progress::Resumed,
    }
}

fn find(workers: Vec<WorkerView>, name: &NodeName) -> Option<WorkerView> {
    // A revoked worker may be listed beside the one that has its name now.
    let of_name = workers.into_iter().filter(|worker| worker.name == *name);
    of_name.min_by_key(|worker| worker.state == WorkerState::Revoked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::json::tests::sample_worker;
    use crate::model::views::Usage;

    #[test]
    fn a_draining_worker_is_waited_for_until_it_runs_nothing_or_is_gone() {
        let at = |state, used| {
            let slots = Usage { total: 4, used };
            progress(&WorkerView { state, slots, ..sample_worker() })
        };
        assert_eq!((at(WorkerState::Draining, 2), at(WorkerState::Suspect, 2)), (Progress::Runs, Progress::Runs));
        assert_eq!((at(WorkerState::Draining, 0), at(WorkerState::Lost, 2)), (Progress::Idle, Progress::Idle));
        assert_eq!(at(WorkerState::Busy, 2), Progress::Resumed);
        let slots = Usage { total: 4, used: 0 };
        let copying = WorkerView { state: WorkerState::Draining, slots, outputs_to_copy: Some(1), ..sample_worker() };
        assert_eq!(progress(&copying), Progress::Runs);
    }

    #[test]
    fn the_worker_that_has_the_name_now_is_meant_and_not_a_revoked_one() {
        let revoked = WorkerView { state: WorkerState::Revoked, ..sample_worker() };
        let found = find(vec![revoked, sample_worker()], &sample_worker().name).expect("found");
        assert_eq!(found.state, WorkerState::Busy);
        assert!(find(vec![sample_worker()], &"other".parse().expect("a name")).is_none());
    }
}
