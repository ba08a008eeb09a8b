//! `octaskly wait`: returns when jobs and tasks have ended; the exit status
//! says how.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use super::interrupts::Interrupts;
use super::items::ItemNames;
use super::{Context, ending, last, unsent};
use crate::cli::args::{JsonForm, WaitArgs};
use crate::cli::error::CliError;
use crate::cli::output::meter::Meter;
use crate::cli::output::{Page, item, json, say};
use crate::cli::session::Session;
use crate::cli::{exit, resolve};
use crate::client::{Client, ClientError};
use crate::model::limits::MAX_ROWS;
use crate::model::requests::{JobFilter, TaskFilter};
use crate::model::selector::{Part, Selector};
use crate::model::views::{JobView, TaskView};
use crate::model::{JobId, RawString, TaskState};
use crate::node::NodeError;

/// Waits; exit 0 all succeeded, 1 any failed or was cancelled, 124 `--timeout`.
pub(super) fn perform(args: &WaitArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(&args.ids)?;
    let timeout = resolve::timeout(args.timeout.as_ref())?;
    context.as_client(async {
        let mut interrupts = Interrupts::listen().map_err(NodeError::Signals)?;
        let mut session = context.connect(&args.connect).await?;
        let again = format!("what it waits for goes on; `octaskly wait {}` waits again", typed_again(&args.ids));
        let ended = async {
            let selector = last::meant(session.client(), typed).await?;
            let awaited = Awaited::find(session.client(), selector).await?;
            let only = match (&awaited.jobs[..], &awaited.tasks[..]) {
                ([job], []) => Some(*job),
                _ => None,
            };
            Ok::<_, CliError>((awaited.until_ended(&mut session, args.json.json).await?, only))
        };
        let ended = async {
            tokio::select! {
                ended = ended => ended.map(Ok),
                code = interrupts.while_looking(context.quiet(), &again) => Ok(Err(code)),
            }
        };
        let ended = match timeout {
            None => ended.await?,
            Some(limit) => match tokio::time::timeout(limit.as_duration(), ended).await {
                Ok(ended) => ended?,
                Err(_) => {
                    say::error(&format!("not all of it has ended after {limit}"), None);
                    return Ok(ExitCode::from(exit::TIMEOUT));
                }
            },
        };
        let (all_succeeded, only) = match ended {
            Ok(ended) => ended,
            Err(code) => return Ok(code),
        };
        if let (false, Some(job)) = (all_succeeded, only) {
            unsent::tell(session.client(), job, false, context).await;
        }
        session.close().await;
        Ok(ExitCode::from(if all_succeeded { exit::SUCCESS } else { exit::FAILURE }))
    })
}

/// Selectors as they were typed.
pub(super) fn typed_again(ids: &[OsString]) -> String {
    ids.iter().map(|id| id.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// What is waited for.
pub(super) struct Awaited {
    /// Whole jobs.
    pub(super) jobs: Vec<JobId>,
    /// Single tasks of other jobs.
    pub(super) tasks: Vec<Part>,
}

impl Awaited {
    /// Looks up what `selector` means now. `all` means what has not ended.
    pub(super) async fn find(client: &Client, selector: Selector) -> Result<Self, ClientError> {
        let unfinished = vec![TaskState::Waiting, TaskState::Ready, TaskState::Running];
        let states = if selector == Selector::All { unfinished } else { Vec::new() };
        let (whole, tasks) = split(selector);
        let mut jobs = Vec::new();
        if let Some(only) = whole {
            let filter = JobFilter { only: Some(only), states, ..JobFilter::default() };
            let page = async |before| client.jobs(JobFilter { before, ..filter.clone() }).await;
            jobs = every_page(MAX_ROWS as usize, page).await?;
        }
        Ok(Self { jobs, tasks })
    }

    /// Waits for all of it, says what did not succeed (as JSON: how each ended), and whether all did.
    async fn until_ended(&self, session: &mut Session, form: Option<JsonForm>) -> Result<bool, CliError> {
        let (mut jobs, mut tasks) = (Vec::new(), Vec::new());
        if !self.jobs.is_empty() {
            jobs = until_ended(session, self.jobs.clone()).await?;
        }
        if !self.tasks.is_empty() {
            tasks = self.until_tasks_ended(session).await?;
        }
        let mut names = ItemNames::default();
        let mut items = Vec::with_capacity(tasks.len());
        for task in &tasks {
            items.push(names.of(session.client(), task.task).await?);
        }
        let mut well = tell(&jobs);
        for (task, item) in tasks.iter().zip(&items) {
            if let Some(outcome) = task.outcome.as_ref().filter(|outcome| !outcome.is_success()) {
                say::error(&format!("task {} {outcome}", item::named(task.task, item.as_ref())), None);
                well = false;
            }
        }
        if let Some(form) = form {
            let mut page = Page::begin();
            let jobs = jobs.iter().map(|job| json::Shown::Job(job.into()));
            let named = tasks.iter().zip(items.iter().map(|item| item.as_ref().map(RawString::to_string)));
            let tasks = named.map(|(task, item)| json::Shown::Task(json::Task::new(task, item)));
            page.objects(form, jobs.chain(tasks))?;
            page.end()?;
        }
        Ok(well)
    }

    /// Waits for the single tasks; how they ended.
    pub(super) async fn until_tasks_ended(&self, session: &mut Session) -> Result<Vec<TaskView>, CliError> {
        loop {
            match self.follow_tasks(session.client()).await {
                Ok(tasks) => return Ok(tasks),
                Err(error) => session.reopen(error).await?,
            }
        }
    }

    /// Looks at the tasks at every news of their jobs.
    async fn follow_tasks(&self, client: &Client) -> Result<Vec<TaskView>, ClientError> {
        let of = || TaskFilter { of: Selector::These(self.tasks.clone()), states: Vec::new(), after: None, limit: 0 };
        let mut jobs: Vec<JobId> = Vec::new();
        for part in &self.tasks {
            if let Part::Task(task) = part {
                jobs.push(task.job);
            }
        }
        jobs.sort_unstable();
        jobs.dedup();
        let mut watch = client.watch(jobs).await?;
        loop {
            let more = watch.next().await?.is_some();
            let tasks = client.tasks(of()).await?;
            if tasks.iter().all(|task| task.state.is_terminal()) {
                return Ok(tasks);
            }
            if !more {
                // The jobs have ended and these tasks have not: the two answers crossed. Ask again.
                return Err(ClientError::NoReply);
            }
        }
    }
}

/// The numbers of all jobs that `page` lists, newest first and at most `full` at a time.
async fn every_page(
    full: usize,
    page: impl AsyncFn(Option<JobId>) -> Result<Vec<JobView>, ClientError>,
) -> Result<Vec<JobId>, ClientError> {
    let mut jobs = Vec::new();
    loop {
        let found = page(jobs.last().copied()).await?;
        jobs.extend(found.iter().map(|job| job.job));
        if found.len() < full {
            return Ok(jobs);
        }
    }
}

/// The whole jobs and the single tasks of a selection.
pub(super) fn split(selector: Selector) -> (Option<Selector>, Vec<Part>) {
    match selector {
        Selector::These(parts) => {
            let (tasks, jobs): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| matches!(part, Part::Task(_)));
            ((!jobs.is_empty()).then_some(Selector::These(jobs)), tasks)
        }
        keyword => (Some(keyword), Vec::new()),
    }
}

/// Says of ended jobs what did not succeed; whether all did.
pub(super) fn tell(jobs: &[JobView]) -> bool {
    let mut well = true;
    for (text, hint) in jobs.iter().filter_map(ending::of_job) {
        say::error(&text, hint.as_deref());
        well = false;
    }
    well
}

/// Waits until all of `jobs` have ended, over as many links as it takes.
pub(super) async fn until_ended(session: &mut Session, jobs: Vec<JobId>) -> Result<Vec<JobView>, CliError> {
    until_ended_showing(session, jobs, &mut Meter::beside(true)).await
}

/// The same, and shows how far they are meanwhile.
pub(super) async fn until_ended_showing(
    session: &mut Session,
    jobs: Vec<JobId>,
    meter: &mut Meter,
) -> Result<Vec<JobView>, CliError> {
    until_ended_telling(session, jobs, meter, async |_| Ok(())).await
}

/// The same, and calls `tell` with every job whose counts have changed.
pub(super) async fn until_ended_telling(
    session: &mut Session,
    jobs: Vec<JobId>,
    meter: &mut Meter,
    tell: impl AsyncFn(&[JobView]) -> Result<(), CliError>,
) -> Result<Vec<JobView>, CliError> {
    let mut ended = Vec::with_capacity(jobs.len());
    // One watch takes no more; who waits for all of them may wait for one part after another.
    for some in jobs.chunks(MAX_ROWS as usize) {
        loop {
            match follow(session.client(), some.to_vec(), meter, &tell).await? {
                Ok(some) => break ended.extend(some),
                Err(error) => session.reopen(error).await?,
            }
        }
    }
    Ok(ended)
}

/// One watch to its end: the jobs as they ended, or why the link broke.
async fn follow(
    client: &Client,
    jobs: Vec<JobId>,
    meter: &mut Meter,
    tell: &impl AsyncFn(&[JobView]) -> Result<(), CliError>,
) -> Result<Result<Vec<JobView>, ClientError>, CliError> {
    let mut latest: BTreeMap<JobId, JobView> = BTreeMap::new();
    let mut watch = match client.watch(jobs).await {
        Ok(watch) => watch,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        let news = match meter.meanwhile(watch.next()).await {
            Ok(Some(news)) => news,
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        };
        meter.news(&news);
        tell(&news).await?;
        latest.extend(news.into_iter().map(|job| (job.job, job)));
    }
    // A watch that ends early lost its dispatcher on the way.
    let has_all = latest.values().all(|job| job.state.is_terminal());
    Ok(if has_all { Ok(latest.into_values().collect()) } else { Err(ClientError::NoReply) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::views::TaskTotals;
    use crate::model::{NodeId, Timestamp};

    #[test]
    fn jobs_and_tasks_of_one_selection_are_waited_for_apart() {
        let (jobs, tasks) = split("5,7.1,8-9".parse().expect("a selection"));
        assert_eq!(jobs.map(|jobs| jobs.to_string()), Some("5,8-9".to_owned()));
        assert_eq!(Selector::These(tasks).to_string(), "7.1");
        let (jobs, tasks) = split(Selector::Last);
        assert_eq!((jobs, tasks), (Some(Selector::Last), vec![]));
    }

    #[tokio::test]
    async fn all_means_every_page_of_jobs_and_not_only_the_newest() {
        let view = |job| JobView {
            job: JobId(job),
            name: String::new(),
            state: TaskState::Running,
            tasks: TaskTotals::default(),
            owner: NodeId([0; 32]),
            owner_name: "anna".parse().expect("a name"),
            submitted_at: Timestamp(0),
            started_at: None,
            ended_at: None,
            outcome: None,
            cancelling: None,
            retried: None,
            spec: None,
        };
        for most in [4, 5] {
            let page = async |before: Option<JobId>| {
                let newest = before.map_or(most, |before| before.0 - 1);
                Ok((1..=newest).rev().take(2).map(view).collect())
            };
            let jobs = every_page(2, page).await.expect("lists");
            assert_eq!(jobs, (1..=most).rev().map(JobId).collect::<Vec<_>>());
        }
    }
}
