//! `octaskly show`: jobs and tasks in full.

use std::process::ExitCode;

use super::bring::outputs;
use super::items::ItemNames;
use super::{Context, last, status, wait};
use crate::cli::args::ShowArgs;
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, Table, terminal_width};
use crate::cli::output::{Page, item, json, text};
use crate::cli::resolve;
use crate::cli::verb::describe;
use crate::client::Client;
use crate::model::files::{FailedSource, Transfer, TransferPath};
use crate::model::limits::MAX_ROWS;
use crate::model::requests::{JobFilter, TaskFilter};
use crate::model::selector::Selector;
use crate::model::views::{AttemptView, JobView, TaskView};
use crate::model::{JobSpec, Millis, Outcome, TaskState, Timestamp};
use crate::node::Clock;

/// Prints what was selected: jobs with their specs, tasks with their attempts, or (`--tasks`) tasks as rows.
pub(super) fn perform(args: &ShowArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(&args.ids)?;
    let states = resolve::states(args.state.as_ref())?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let client = session.client();
        let mut page = Page::begin();
        if args.tasks || !states.is_empty() {
            rows(client, &mut page, args, selector, states).await?;
        } else {
            let (whole, tasks) = wait::split(selector.clone());
            let jobs = match whole {
                Some(only) => {
                    client
                        .jobs(JobFilter { only: Some(only), states: Vec::new(), limit: 0, ..JobFilter::default() })
                        .await?
                }
                None => Vec::new(),
            };
            let tasks = match tasks.is_empty() {
                true => Vec::new(),
                false => client.tasks(filter(Selector::These(tasks), Vec::new())).await?,
            };
            if jobs.is_empty() && tasks.is_empty() {
                return Err(CliError::NothingSelected(selector.to_string()));
            }
            match args.json.json {
                Some(form) => {
                    let names = item_names(client, &mut ItemNames::default(), &tasks).await?;
                    let jobs = jobs.iter().map(|job| json::Shown::Job(job.into()));
                    let named = tasks.iter().zip(names);
                    let tasks = named.map(|(task, item)| json::Shown::Task(json::Task::new(task, item)));
                    page.objects(form, jobs.chain(tasks))?;
                }
                None => in_full(client, &mut page, &jobs, &tasks).await?,
            }
        }
        page.end()?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// The items of tasks, in their order.
async fn item_names(
    client: &Client,
    names: &mut ItemNames,
    tasks: &[TaskView],
) -> Result<Vec<Option<String>>, CliError> {
    let mut found = Vec::with_capacity(tasks.len());
    for task in tasks {
        found.push(names.of(client, task.task).await?.map(|item| item.to_string()));
    }
    Ok(found)
}

fn filter(of: Selector, states: Vec<TaskState>) -> TaskFilter {
    TaskFilter { of, states, after: None, limit: 0 }
}

/// Tasks as rows, page by page, so that a million of them are never held.
async fn rows(
    client: &Client,
    page: &mut Page,
    args: &ShowArgs,
    selector: Selector,
    states: Vec<TaskState>,
) -> Result<(), CliError> {
    let filter = filter(selector, states);
    let (mut first, mut items) = (true, ItemNames::default());
    let mut list = args.json.json.map(|form| page.list(form));
    let mut next = client.tasks(filter.clone()).await?;
    loop {
        let tasks = next;
        let behind = tasks.last().filter(|_| tasks.len() >= MAX_ROWS as usize).map(|last| last.task);
        let page_behind = |task| Box::pin(client.tasks(TaskFilter { after: Some(task), ..filter.clone() }));
        let mut ahead = behind.map(page_behind);
        let mut came = None;
        if let Some(ahead) = &mut ahead {
            // Asked for before this page is printed, so that both ends work at the same time.
            tokio::select! {
                biased;
                tasks = ahead => came = Some(tasks),
                () = std::future::ready(()) => {}
            }
        }
        let named = item_names(client, &mut items, &tasks).await?;
        match &mut list {
            Some(list) => {
                tasks.iter().zip(named).try_for_each(|(task, item)| list.object(page, &json::Task::new(task, item)))?;
            }
            None => {
                // The heading stands once; further pages keep to their own widths.
                for line in table(&tasks, &named).lines(terminal_width()).into_iter().skip(usize::from(!first)) {
                    page.line(line)?;
                }
            }
        }
        first = false;
        next = match (came, ahead) {
            (Some(tasks), _) => tasks?,
            (None, Some(ahead)) => ahead.await?,
            (None, None) => break,
        };
    }
    list.map_or(Ok(()), |list| list.end(page))
}

fn table(tasks: &[TaskView], names: &[Option<String>]) -> Table {
    let mut table = Table::new(&[
        Column::Left("TASK"),
        Column::Left("ITEM"),
        Column::Left("STATE"),
        Column::Right("TRY"),
        Column::Left("WORKER"),
        Column::Right("TOOK"),
        Column::Right("MEMORY"),
        Column::GivesWay("RESULT"),
    ]);
    for (task, name) in tasks.iter().zip(names) {
        let last = task.decisive();
        table.row([
            task.task.to_string(),
            name.as_ref().map_or_else(|| "-".to_owned(), |name| item::cell(name)),
            task.state.to_string(),
            last.map_or_else(|| "-".to_owned(), |last| last.id.attempt.0.to_string()),
            last.map_or_else(|| "-".to_owned(), |last| last.worker.to_string()),
            last.and_then(took).unwrap_or_else(|| "-".to_owned()),
            last.map_or_else(|| "-".to_owned(), peak),
            result(task.outcome.as_ref()),
        ]);
    }
    table
}

/// Jobs with their specs, then tasks with their attempts.
async fn in_full(client: &Client, page: &mut Page, jobs: &[JobView], tasks: &[TaskView]) -> Result<(), CliError> {
    let now = Clock::anchored_now().now();
    let (mut apart, mut names) = (false, ItemNames::default());
    for job in jobs {
        if std::mem::replace(&mut apart, true) {
            page.line("")?;
        }
        for line in job_lines(job, now, client.welcome().task_timeout) {
            page.line(line)?;
        }
        if job.tasks.total == 1 {
            for task in client.tasks(filter(Selector::job(job.job), Vec::new())).await? {
                attempt_lines(page, &task)?;
            }
        } else {
            page.line(format!("  its tasks   octaskly show {} --tasks", job.job))?;
        }
    }
    for task in tasks {
        if std::mem::replace(&mut apart, true) {
            page.line("")?;
        }
        let spec = names.spec(client, task.task.job).await?;
        for line in task_lines(task, spec, now, client.welcome().task_timeout) {
            page.line(line)?;
        }
        attempt_lines(page, task)?;
    }
    Ok(())
}

fn job_lines(job: &JobView, now: Timestamp, task_timeout: Millis) -> Vec<String> {
    let mut lines = vec![format!("job {}: {}", job.job, text::one_line(&job.name))];
    let mut field = |name: &str, value: String| lines.push(format!("  {name:<10}  {}", text::one_line(&value)));
    field("state", job.state.to_string());
    field("tasks", status::totals(&job.tasks));
    if let Some(outcome) = &job.outcome {
        field("result", result(Some(outcome)));
    }
    for (name, value) in job.spec.iter().flat_map(|spec| describe::spec(spec.spec(), task_timeout)) {
        field(name, value);
    }
    field("owner", job.owner_name.to_string());
    field("submitted", instant(job.submitted_at, now));
    if let Some(at) = job.started_at {
        field("started", instant(at, now));
    }
    if let Some(at) = job.ended_at {
        field("ended", instant(at, now));
    }
    // The result of a single task says it already.
    if let (None, Some(why)) = (&job.outcome, &job.cancelling) {
        let what = Outcome::Cancelled(why.clone()).to_string();
        let what = what.trim_start_matches("was ").trim_start_matches("cancelled").trim_start_matches([':', ' ']);
        field("cancelled", what.to_owned());
    }
    if let Some(act) = &job.retried {
        field("retried", format!("by {}, {}", act.by.name, instant(act.at, now)));
    }
    lines
}

fn task_lines(task: &TaskView, spec: Option<&JobSpec>, now: Timestamp, task_timeout: Millis) -> Vec<String> {
    let mut lines = vec![format!("task {}", task.task)];
    let mut field = |name: &str, value: String| lines.push(format!("  {name:<10}  {}", text::one_line(&value)));
    field("state", task.state.to_string());
    if let Some(item) = spec.and_then(|spec| item::of_task(&spec.items, task.task)) {
        field("item", item.to_string());
    }
    if let Some(outcome) = &task.outcome {
        field("result", result(Some(outcome)));
    }
    let counts = &task.counts;
    // Those that were given back unstarted have a number and are none.
    field("tries", format!("{}, {} failed, {} lost", task.attempts.len(), counts.failures, counts.lost));
    if let Some(spec) = spec {
        field("time limit", describe::time_limit(spec.time_limit, task_timeout));
    }
    if let Some(at) = task.not_before {
        field("not before", text::rfc3339(at));
    }
    field("submitted", instant(task.submitted_at, now));
    if let Some(at) = task.ended_at {
        field("ended", instant(at, now));
    }
    lines
}

/// Each try: where, when, how long, how much, and what became of it.
fn attempt_lines(page: &mut Page, task: &TaskView) -> Result<(), CliError> {
    let mut table = Table::new(&[
        Column::Right("TRY"),
        Column::Left("WORKER"),
        Column::Left("STARTED"),
        Column::Right("TOOK"),
        Column::Right("MEMORY"),
        Column::Right("OUTPUT"),
        Column::GivesWay("RESULT"),
    ]);
    for attempt in &task.attempts {
        table.row([
            attempt.id.attempt.0.to_string(),
            holder(attempt),
            attempt.started_at.map_or_else(|| "-".to_owned(), text::rfc3339),
            took(attempt).unwrap_or_else(|| "-".to_owned()),
            peak(attempt),
            text::bytes(attempt.stdout_bytes.saturating_add(attempt.stderr_bytes)),
            attempt.outcome.as_ref().map_or_else(|| "running".to_owned(), |outcome| result(Some(outcome))),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    for line in table.lines(terminal_width().map(|width| width.saturating_sub(2))) {
        page.line(format!("  {line}"))?;
    }
    file_lines(page, task)
}

/// What the task has left, and how its inputs came.
fn file_lines(page: &mut Page, task: &TaskView) -> Result<(), CliError> {
    for output in outputs(task) {
        let (name, bytes) = (text::one_line(&output.name.to_string()), text::bytes(output.content.total_bytes()));
        page.line(format!("  output      {name} ({bytes}, {})", output.content.blob().digest.short()))?;
    }
    let files = task.decisive().and_then(|attempt| attempt.files.as_deref());
    for transfer in files.map_or(&[][..], |files| &files.transfers) {
        let Transfer { blob, from, path } = transfer;
        let (bytes, how) = (text::bytes(blob.bytes), way(*path));
        page.line(format!("  input       {} ({bytes}, {how} {})", blob.digest.short(), text::one_line(from)))?;
    }
    for FailedSource { name, why } in files.map_or(&[][..], |files| &files.failed_sources) {
        page.line(format!("  failed      source {}: {}", text::one_line(name), text::one_line(why)))?;
    }
    Ok(())
}

fn way(path: TransferPath) -> &'static str {
    match path {
        TransferPath::Local => "there already at",
        TransferPath::Direct => "straight from",
        TransferPath::Relay => "relayed from",
        TransferPath::Dispatcher => "from the",
    }
}

/// Who ran it, and who handed it to that worker, when that was not the dispatcher.
fn holder(attempt: &AttemptView) -> String {
    match &attempt.handed_over_by {
        Some(giver) => format!("{} (from {giver})", attempt.worker),
        None => attempt.worker.to_string(),
    }
}

fn took(attempt: &AttemptView) -> Option<String> {
    Some(attempt.ended_at?.since(attempt.started_at?).to_string())
}

fn peak(attempt: &AttemptView) -> String {
    if attempt.peak_memory_bytes == 0 { "-".to_owned() } else { text::bytes(attempt.peak_memory_bytes) }
}

fn result(outcome: Option<&Outcome>) -> String {
    match outcome {
        None => "-".to_owned(),
        Some(Outcome::Exited(code)) => format!("exit {code}"),
        Some(Outcome::Signalled(signal)) => format!("signal {signal}"),
        Some(outcome) => outcome.to_string(),
    }
}

fn instant(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", text::rfc3339(at), text::ago(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::json::tests::{sample_job, sample_task};
    use crate::model::limits::TASK_TIMEOUT;

    #[test]
    fn tasks_as_rows_fit_eighty_columns() {
        let lines = table(&[sample_task()], &[Some("an item that is long".to_owned())]).lines(Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        let words: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(
            words,
            ["5.3", "an", "item", "tha…", "failed", "2", "worker-01", "1.2", "s", "4", "KiB", "exit", "7"]
        );
    }

    #[test]
    fn a_job_is_shown_with_its_states_and_times() {
        let lines = job_lines(&sample_job(), Timestamp::from_millis(61_000), TASK_TIMEOUT).join("\n");
        assert!(lines.starts_with("job 5: night run\n  state       running\n  tasks       3: "), "{lines}");
        assert!(lines.contains("submitted   1970-01-01T00:00:01.000Z (1 min ago)"), "{lines}");
    }
}
