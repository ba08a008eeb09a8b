//! `run` over an array: the output of each task as it ends, whole and unmixed; with `--keep-order` in the order of the
//! items. And the job log, also that of `submit`.
//!
//! The one invariant: each ended task is printed and logged once. Those already dealt with are an interval set, so a
//! million of them cost nothing. Tasks that end between two looks are dealt with in the order of their numbers.

use std::time::Duration;

use super::super::bring::{Bringer, Broken};
use super::super::items::ItemNames;
use super::writer::Writer;
use crate::cli::error::CliError;
use crate::cli::job_log::JobLog;
use crate::cli::output::meter::Meter;
use crate::cli::output::{item, say};
use crate::cli::session::Session;
use crate::client::{Attacher, Client, ClientError};
use crate::model::requests::TaskFilter;
use crate::model::selector::{Part, Selector};
use crate::model::views::{JobView, TaskView};
use crate::model::{IntervalSet, Items, JobId, Outcome, TaskId, TaskState};
use crate::wire::DataFrame;

/// Tasks whose output is asked for in one request, and looked at in one reply.
const AT_ONCE: u32 = 1000;

/// Failed tasks that are named; the rest is counted.
const NAMED: usize = 5;

/// Between two looks at a job that says nothing new.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is printed of the tasks of an array, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printing {
    /// `--tag`.
    pub(super) tag: bool,
    /// `--keep-order`.
    pub(super) keep_order: bool,
    pub(super) quiet: bool,
}

/// Prints all of it; says how the job ended, and how many bytes of output nobody kept.
pub(super) async fn until_the_end(
    session: &mut Session,
    job: JobId,
    mut by: Option<Attacher>,
    (numbers, tags): (Items, Option<Items>),
    bringer: Option<&mut Bringer>,
    log: Option<&mut JobLog>,
    printing: Printing,
) -> Result<(JobView, u64), CliError> {
    let output = Output { writer: Writer::start(tags)?, next: printing.keep_order.then_some(0) };
    let quiet = printing.quiet;
    let mut array = Array { bringer, log, output: Some(output), ..Array::new(job, numbers) };
    let mut meter = Meter::beside(quiet);
    loop {
        let client = session.client();
        let attended = async {
            // A submitted job needs no client; whoever looks at it is none.
            let Some(by) = &mut by else { return array.over_one_link(client, &mut meter).await };
            let mut attendance = client.attend(job, *by).await?;
            // Who takes over later is not put out by a link of ours that breaks.
            by.takes_over = false;
            tokio::select! {
                shown = array.over_one_link(client, &mut meter) => shown,
                error = attendance.taken_over() => Err(Broken::Link(error)),
            }
        };
        match attended.await {
            Ok(view) => {
                if let Some(output) = array.output {
                    output.writer.finish().await?;
                }
                meter.end();
                return Ok((view, array.missing));
            }
            Err(Broken::Link(error)) => session.reopen(error).await?,
            Err(Broken::Ours(error)) => return Err(error),
        }
    }
}

/// Logs the ends of all its tasks and says how the job ended.
pub(in crate::cli::verb) async fn logged(
    session: &mut Session,
    job: JobId,
    numbers: Items,
    log: &mut JobLog,
    meter: &mut Meter,
) -> Result<JobView, CliError> {
    let mut array = Array { log: Some(log), ..Array::new(job, numbers) };
    loop {
        match array.over_one_link(session.client(), meter).await {
            Ok(view) => return Ok(view),
            Err(Broken::Link(error)) => session.reopen(error).await?,
            Err(Broken::Ours(error)) => return Err(error),
        }
    }
}

/// The same tasks without what their items say, which may be megabytes.
pub(in crate::cli::verb) fn numbers(items: &Items) -> Items {
    match items {
        Items::List(_) | Items::Combined(_) => Items::Range { first: 1, last: items.count(), step: 1 },
        Items::Subset { numbers, .. } => Items::Numbers(numbers.clone()),
        numbered => numbered.clone(),
    }
}

struct Array<'a> {
    job: JobId,
    /// Which tasks there are.
    numbers: Items,
    /// Positions of tasks whose end has been dealt with; with `--keep-order` all but its printing.
    seen: IntervalSet,
    /// Failed tasks that have been named.
    named: usize,
    /// Bytes of output that nobody kept.
    missing: u64,
    /// Brings back what they leave.
    bringer: Option<&'a mut Bringer>,
    /// Where they are listed.
    log: Option<&'a mut JobLog>,
    /// Where their output goes; `None` when nobody wants it.
    output: Option<Output>,
}

/// Where output goes.
struct Output {
    writer: Writer,
    /// With `--keep-order` the position of the first task whose output has not been printed.
    next: Option<u64>,
}

impl<'a> Array<'a> {
    fn new(job: JobId, numbers: Items) -> Self {
        let (seen, named, missing) = (IntervalSet::new(), 0, 0);
        Self { job, numbers, seen, named, missing, bringer: None, log: None, output: None }
    }

    async fn over_one_link(&mut self, client: &Client, meter: &mut Meter) -> Result<JobView, Broken> {
        let mut watch = client.watch(vec![self.job]).await?;
        loop {
            let news = meter.meanwhile(watch.next()).await?;
            let Some(view) = news.and_then(|news| news.into_iter().find(|view| view.job == self.job)) else {
                return Err(ClientError::NoReply.into());
            };
            if view.tasks.ended() > self.seen.len() {
                meter.meanwhile(self.look(client)).await?;
            }
            meter.news(std::slice::from_ref(&view));
            if view.state.is_terminal() {
                // The news may be ahead of the store by a moment.
                while self.seen.len() < view.tasks.total {
                    let before = self.seen.len();
                    self.look(client).await?;
                    if self.seen.len() == before {
                        tokio::time::sleep(PATIENCE).await;
                    }
                }
                return Ok(view);
            }
        }
    }

    /// Deals with every task that has ended since the last look.
    ///
    /// A look costs what it finds and what still runs: tasks that others have overtaken are asked for by
    /// name, and the rest from the last one seen on.
    async fn look(&mut self, client: &Client) -> Result<(), Broken> {
        let overtaken = overtaken(&self.seen);
        for some in overtaken.chunks(AT_ONCE as usize) {
            let parts = some.iter().map(|position| Part::Task(self.task_at(*position))).collect();
            self.look_at_page(client, Selector::These(parts), None).await?;
        }
        let mut after = self.seen.ranges().last().map(|(_, last)| self.task_at(last));
        while let Some(last) = self.look_at_page(client, Selector::job(self.job), after).await? {
            after = Some(last);
        }
        self.print_in_order(client).await
    }

    /// Deals with those of one page that have ended; when it is full, says behind which task there may be more.
    async fn look_at_page(
        &mut self,
        client: &Client,
        of: Selector,
        after: Option<TaskId>,
    ) -> Result<Option<TaskId>, Broken> {
        let states = vec![TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];
        let page = client.tasks(TaskFilter { of, states, after, limit: AT_ONCE }).await?;
        let fresh: Vec<&TaskView> = page.iter().filter(|task| !self.is_seen(task.task)).collect();
        // Files first: bringing them again after a broken link changes nothing, and printing again would.
        if let Some(bringer) = &mut self.bringer {
            // What was cut short may have left half of a file, which must not replace a whole one.
            for task in fresh.iter().filter(|task| task.outcome.as_ref().is_some_and(Outcome::is_its_own)) {
                bringer.bring(client, task, |_| true).await?;
            }
        }
        if self.output.as_ref().is_some_and(|output| output.next.is_none()) {
            self.print(client, &fresh).await?;
        }
        // A row says that nothing is left to do for its task, except that earlier ones may hold back its output.
        if let Some(log) = &mut self.log {
            log.add(&fresh);
        }
        for position in fresh.iter().filter_map(|task| self.numbers.position_of(task.task.index)) {
            self.seen.insert(position);
        }
        for task in fresh {
            self.name_failure(client, task).await;
        }
        Ok(page.last().filter(|_| page.len() >= AT_ONCE as usize).map(|last| last.task))
    }

    /// With `--keep-order` prints the tasks before which none is missing.
    async fn print_in_order(&mut self, client: &Client) -> Result<(), Broken> {
        // All before the first that is missing.
        let ended = match self.seen.ranges().next() {
            Some((0, last)) => last + 1,
            _ => 0,
        };
        while let Some(next) = self.output.as_ref().and_then(|output| output.next).filter(|next| *next < ended) {
            let limit = (ended - next).min(AT_ONCE.into()) as u32;
            let after = next.checked_sub(1).map(|before| self.task_at(before));
            let filter = TaskFilter { of: Selector::job(self.job), states: Vec::new(), after, limit };
            let page = client.tasks(filter).await?;
            self.print(client, &page.iter().collect::<Vec<_>>()).await?;
            let Some(output) = self.output.as_mut().filter(|_| !page.is_empty()) else { break };
            output.next = Some(next + page.len() as u64);
        }
        Ok(())
    }

    fn task_at(&self, position: u64) -> TaskId {
        TaskId { job: self.job, index: self.numbers.index_at(position) }
    }

    fn is_seen(&self, task: TaskId) -> bool {
        self.numbers.position_of(task.index).is_none_or(|position| self.seen.contains(position))
    }

    async fn print(&mut self, client: &Client, tasks: &[&TaskView]) -> Result<(), Broken> {
        let Some(Output { writer, .. }) = &mut self.output else { return Ok(()) };
        let wrote = |task: &TaskView| task.decisive().is_some_and(|last| last.stdout_bytes + last.stderr_bytes > 0);
        let wrote: Vec<TaskId> = tasks.iter().filter(|task| wrote(task)).map(|task| task.task).collect();
        // The output of a single task comes without its name.
        let Some(mut task) = wrote.first().copied() else { return Ok(()) };
        let of = Selector::These(wrote.into_iter().map(Part::Task).collect());
        let mut stream = client.logs(of, false, None).await?;
        while let Some(frame) = stream.next().await? {
            match frame {
                DataFrame::TaskBegins(next) => {
                    writer.over(std::mem::replace(&mut task, next)).await.map_err(Broken::Ours)?;
                }
                DataFrame::Output { stream, bytes } => {
                    writer.write(task, stream, bytes.into_owned()).await.map_err(Broken::Ours)?;
                }
                DataFrame::Cut { omitted } => {
                    self.missing += omitted;
                    say::error(&format!("here {omitted} bytes of the output of task {task} are missing"), None);
                }
                _ => {}
            }
        }
        writer.over(task).await.map_err(Broken::Ours)
    }

    async fn name_failure(&mut self, client: &Client, task: &TaskView) {
        // Without output it is the job as a whole that is told about.
        if self.output.is_none() {
            return;
        }
        let Some(outcome) = task.outcome.as_ref().filter(|_| task.state == TaskState::Failed) else { return };
        self.named += 1;
        if self.named <= NAMED {
            // A link that breaks now costs the item's name, and nothing is done twice for it.
            let item = ItemNames::default().of(client, task.task).await.unwrap_or_default();
            say::error(&format!("task {} {outcome}", item::named(task.task, item.as_ref())), None);
        }
    }
}

/// Positions before the last one seen that have not been seen.
fn overtaken(seen: &IntervalSet) -> Vec<u64> {
    let mut next = 0;
    let mut positions = Vec::new();
    for (first, last) in seen.ranges() {
        positions.extend(next..first);
        next = last + 1;
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_that_others_have_overtaken_are_asked_for_by_name_and_no_others() {
        let mut seen = IntervalSet::new();
        assert!(overtaken(&seen).is_empty(), "before the first is seen there is only the rest");
        seen.insert_range(1, 50_000);
        seen.insert_range(50_003, 900_000);
        assert_eq!(overtaken(&seen), [0, 50_001, 50_002]);
        seen.insert(0);
        seen.insert_range(50_001, 50_002);
        assert!(overtaken(&seen).is_empty());
    }
}
