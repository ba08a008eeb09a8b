//! `run` over an array: the output of each task as it ends, whole and unmixed.
//!
//! The one invariant: each ended task is printed once. Those already printed
//! are an interval set, so a million of them cost nothing. Tasks that end
//! between two looks are printed in the order of their numbers.

use std::time::Duration;

use super::super::bring::{Bringer, Broken};
use super::writer::Writer;
use crate::cli::error::CliError;
use crate::cli::output::meter::Meter;
use crate::cli::output::say;
use crate::cli::session::Session;
use crate::client::{Client, ClientError};
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

/// Prints all of it; says how the job ended, and how many bytes of output nobody kept.
pub(super) async fn until_the_end(
    session: &mut Session,
    job: JobId,
    numbers: Items,
    bringer: Option<&mut Bringer>,
    (tag, quiet): (bool, bool),
) -> Result<(JobView, u64), CliError> {
    let writer = Writer::start(tag)?;
    let mut array = Array { job, numbers, printed: IntervalSet::new(), named: 0, missing: 0, bringer, writer };
    let mut meter = Meter::beside(quiet);
    let mut by = session.attacher(false);
    loop {
        let client = session.client();
        let attended = async {
            let mut attendance = client.attend(job, by).await?;
            // Who takes over later is not put out by a link of ours that breaks.
            by.takes_over = false;
            tokio::select! {
                shown = array.over_one_link(client, &mut meter) => shown,
                error = attendance.taken_over() => Err(Broken::Link(error)),
            }
        };
        match attended.await {
            Ok(view) => {
                array.writer.finish().await?;
                meter.end();
                return Ok((view, array.missing));
            }
            Err(Broken::Link(error)) => session.reopen(error).await?,
            Err(Broken::Ours(error)) => return Err(error),
        }
    }
}

/// The same tasks without what their items say, which may be megabytes.
pub(super) fn numbers(items: &Items) -> Items {
    match items {
        Items::List(_) | Items::Combined(_) => Items::Range { first: 1, last: items.count(), step: 1 },
        numbered => numbered.clone(),
    }
}

struct Array<'a> {
    job: JobId,
    /// Which tasks there are.
    numbers: Items,
    /// Positions of tasks that have been printed.
    printed: IntervalSet,
    /// Failed tasks that have been named.
    named: usize,
    /// Bytes of output that nobody kept.
    missing: u64,
    /// Brings back what they leave.
    bringer: Option<&'a mut Bringer>,
    writer: Writer,
}

impl Array<'_> {
    async fn over_one_link(&mut self, client: &Client, meter: &mut Meter) -> Result<JobView, Broken> {
        let mut watch = client.watch(vec![self.job]).await?;
        loop {
            let news = meter.meanwhile(watch.next()).await?;
            let Some(view) = news.and_then(|news| news.into_iter().find(|view| view.job == self.job)) else {
                return Err(ClientError::NoReply.into());
            };
            if view.tasks.ended() > self.printed.len() {
                meter.meanwhile(self.print_ended(client)).await?;
            }
            meter.news(std::slice::from_ref(&view));
            if view.state.is_terminal() {
                // The news may be ahead of the store by a moment.
                while self.printed.len() < view.tasks.total {
                    let before = self.printed.len();
                    self.print_ended(client).await?;
                    if self.printed.len() == before {
                        tokio::time::sleep(PATIENCE).await;
                    }
                }
                return Ok(view);
            }
        }
    }

    /// Prints every task that has ended and has not been printed.
    ///
    /// A look costs what it finds and what still runs: tasks that others have overtaken are asked for by
    /// name, and the rest from the last one printed on.
    async fn print_ended(&mut self, client: &Client) -> Result<(), Broken> {
        let overtaken = overtaken(&self.printed);
        for some in overtaken.chunks(AT_ONCE as usize) {
            let parts = some.iter().map(|position| Part::Task(self.task_at(*position))).collect();
            self.print_page(client, Selector::These(parts), None).await?;
        }
        let mut after = self.printed.ranges().last().map(|(_, last)| self.task_at(last));
        loop {
            match self.print_page(client, Selector::job(self.job), after).await? {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Prints those of one page that have ended; when it is full, says behind which task there may be more.
    async fn print_page(
        &mut self,
        client: &Client,
        of: Selector,
        after: Option<TaskId>,
    ) -> Result<Option<TaskId>, Broken> {
        let states = vec![TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];
        let page = client.tasks(TaskFilter { of, states, after, limit: AT_ONCE }).await?;
        let fresh: Vec<&TaskView> = page.iter().filter(|task| !self.is_printed(task.task)).collect();
        // Files first: bringing them again after a broken link changes nothing, and printing again would.
        if let Some(bringer) = &mut self.bringer {
            // What was cut short may have left half of a file, which must not replace a whole one.
            for task in fresh.iter().filter(|task| task.outcome.as_ref().is_some_and(Outcome::is_its_own)) {
                bringer.bring(client, task, |_| true).await?;
            }
        }
        self.print(client, &fresh).await?;
        for task in fresh {
            self.name_failure(task);
            if let Some(position) = self.numbers.position_of(task.task.index) {
                self.printed.insert(position);
            }
        }
        Ok(page.last().filter(|_| page.len() >= AT_ONCE as usize).map(|last| last.task))
    }

    fn task_at(&self, position: u64) -> TaskId {
        TaskId { job: self.job, index: self.numbers.index_at(position) }
    }

    fn is_printed(&self, task: TaskId) -> bool {
        self.numbers.position_of(task.index).is_none_or(|position| self.printed.contains(position))
    }

    async fn print(&mut self, client: &Client, tasks: &[&TaskView]) -> Result<(), Broken> {
        let wrote = |task: &TaskView| task.decisive().is_some_and(|last| last.stdout_bytes + last.stderr_bytes > 0);
        let wrote: Vec<TaskId> = tasks.iter().filter(|task| wrote(task)).map(|task| task.task).collect();
        // The output of a single task comes without its name.
        let Some(mut task) = wrote.first().copied() else { return Ok(()) };
        let of = Selector::These(wrote.into_iter().map(Part::Task).collect());
        let mut stream = client.logs(of, false).await?;
        while let Some(frame) = stream.next().await? {
            match frame {
                DataFrame::TaskBegins(next) => {
                    self.writer.over(std::mem::replace(&mut task, next)).await.map_err(Broken::Ours)?;
                }
                DataFrame::Output { stream, bytes } => {
                    self.writer.write(task, stream, bytes.into_owned()).await.map_err(Broken::Ours)?;
                }
                DataFrame::Cut { omitted } => {
                    self.missing += omitted;
                    say::error(&format!("here {omitted} bytes of the output of task {task} are missing"), None);
                }
                _ => {}
            }
        }
        self.writer.over(task).await.map_err(Broken::Ours)
    }

    fn name_failure(&mut self, task: &TaskView) {
        let Some(outcome) = task.outcome.as_ref().filter(|_| task.state == TaskState::Failed) else { return };
        self.named += 1;
        if self.named <= NAMED {
            say::error(&format!("task {} {outcome}", task.task), None);
        }
    }
}

/// Positions before the last one printed that have not been printed.
fn overtaken(printed: &IntervalSet) -> Vec<u64> {
    let mut next = 0;
    let mut positions = Vec::new();
    for (first, last) in printed.ranges() {
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
        let mut printed = IntervalSet::new();
        assert!(overtaken(&printed).is_empty(), "before the first is printed there is only the rest");
        printed.insert_range(1, 50_000);
        printed.insert_range(50_003, 900_000);
        assert_eq!(overtaken(&printed), [0, 50_001, 50_002]);
        printed.insert(0);
        printed.insert_range(50_001, 50_002);
        assert!(overtaken(&printed).is_empty());
    }
}
