//! `octaskly submit`: queues a job and returns, or waits for it.

use std::process::ExitCode;

use super::interrupts::Interrupts;
use super::run::array;
use super::{Context, dry_run, queue, unsent, wait};
use crate::cli::args::SubmitArgs;
use crate::cli::error::CliError;
use crate::cli::output::meter::Meter;
use crate::cli::output::{Page, json, say, text};
use crate::cli::session::Session;
use crate::cli::{exit, resolve};
use crate::model::JobId;
use crate::model::requests::JobFilter;
use crate::model::selector::Selector;
use crate::model::spec::TimeLimit;
use crate::node::NodeError;

/// Queues it; exit 0 queued, 1 refused, 3 refused by `--strict`; with `--wait` or `--progress` as `wait`.
pub(super) fn perform(args: &SubmitArgs, context: &Context) -> Result<ExitCode, CliError> {
    let waits = args.wait || args.progress;
    if args.keep_order {
        let hint = "`octaskly logs ID` prints the output of its tasks in order";
        return Err(CliError::Needs { option: "--keep-order", needs: "octaskly run: submit prints no output", hint });
    }
    if args.task.joblog.is_some() && !waits {
        let hint = "submit alone returns before its tasks have ended; so octaskly run --joblog, or add --wait";
        return Err(CliError::Needs { option: "--joblog", needs: "--wait or --progress", hint });
    }
    let mut plan = resolve::job(&args.task, resolve::Output::Stored, &context.environment)?;
    plan.tell(context.quiet());
    let tasks = plan.spec.items.count();
    if plan.dry_run {
        return dry_run::perform(plan);
    }
    if tasks == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let is_told = unsent::warn_of_script(&plan, "submit", context)?;
    let mut log = plan.job_log.take();
    if let Some(log) = &mut log {
        plan.spec.job_log = log.begin()?;
        plan.is_resumed = log.is_resumed();
    }
    let numbers = array::numbers(&plan.spec.items);
    let time_limit = plan.spec.time_limit;
    let as_json = plan.json.is_some();
    context.as_client(async {
        let mut session = context.connect(&args.connect).await?;
        let submitted = queue::queue(&mut session, plan).await?;
        if let Some(why) = &submitted.unplaceable {
            let text = format!("job {} is queued, but {why}", submitted.job);
            say::warning(
                context.quiet(),
                &text,
                Some("it waits for a worker that can (`octaskly worker` starts one); --strict refuses such jobs"),
            );
        }
        if time_limit == TimeLimit::Dispatcher {
            let limit = session.client().welcome().task_timeout;
            let each = if tasks == 1 { "" } else { "each task of " };
            let job = submitted.job;
            let text = format!(
                "{each}job {job} may run for {limit}: the dispatcher's --task-timeout; --time-limit changes it"
            );
            say::note(context.quiet(), &text);
        }
        // With --wait and --json the job is shown once, as it ended.
        if !as_json {
            let mut page = Page::begin();
            page.line(match (context.quiet(), tasks) {
                (true, _) => submitted.job.to_string(),
                (false, 1) => format!("Submitted job {}", submitted.job),
                (false, tasks) => format!("Submitted job {} ({})", submitted.job, text::count(tasks, "task")),
            })?;
            page.end()?;
        } else if !waits {
            print(&session, submitted.job).await?;
        }
        let mut code = exit::SUCCESS;
        if waits {
            let mut meter = Meter::asked_for(context.quiet() || !args.progress);
            let job = submitted.job;
            let goes_on =
                format!("job {job} goes on; `octaskly wait {job}` waits for it, `octaskly cancel {job}` ends it");
            let mut interrupts = Interrupts::listen().map_err(NodeError::Signals)?;
            let ended = async {
                match &mut log {
                    Some(log) => Ok(vec![array::logged(&mut session, job, numbers, log, &mut meter).await?]),
                    None => wait::until_ended_showing(&mut session, vec![job], &mut meter).await,
                }
            };
            let ended = tokio::select! {
                ended = ended => ended?,
                code = interrupts.while_looking(context.quiet(), &goes_on) => return Ok(code),
            };
            meter.end();
            if !wait::tell(&ended) {
                code = exit::FAILURE;
                if !is_told {
                    unsent::tell(session.client(), job, false, context).await;
                }
            }
            if as_json {
                print(&session, submitted.job).await?;
            }
            if let Some(log) = log {
                log.end()?;
            }
        }
        session.close().await;
        Ok(ExitCode::from(code))
    })
}

/// The job as one JSON object.
async fn print(session: &Session, job: JobId) -> Result<(), CliError> {
    let filter = JobFilter { only: Some(Selector::job(job)), states: Vec::new(), limit: 1, ..JobFilter::default() };
    let jobs = session.client().jobs(filter).await?;
    let mut page = Page::begin();
    for job in &jobs {
        page.object(&json::Job::from(job))?;
        page.line("")?;
    }
    page.end()
}
