//! What `logs` sends: the output of tasks, stored or as it grows.
//!
//! The one invariant: of each task the output of the attempt that was asked for, or of the last one, in order and each
//! byte once; with `--follow` that of every later attempt behind it. Several
//! tasks are told apart by `TaskBegins`. Absent: lines, tails and colours (the
//! client's).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::live::Seat;
use super::outlet::Outlet;
use super::requests::{Trouble, resolve};
use super::shell::{Asker, Shell};
use super::skip::{Skip, advance};
use super::stored::{self, Sink, Stored};
use crate::model::messages::StreamPurpose;
use crate::model::outcome::KeptOutput;
use crate::model::requests::{FailureCode, LogRequest, Reply, TaskFilter};
use crate::model::selector::Selector;
use crate::model::views::{AttemptView, TaskView};
use crate::model::{AttemptId, AttemptNo, NodeName, RawString, TaskId};
use crate::store::{Reader, StoreError, Viewer};
use crate::transport::{Link, TransportError};
use crate::wire::data::DataFrame;

/// Tasks followed at once; the next ones follow when one of them has ended.
/// Each may hold a stream to its worker.
const FOLLOWED_AT_ONCE: usize = 64;

/// Tasks looked up at once, and with them what they have written and is kept in the store: 4 MiB at most.
const PAGE: u32 = 256;

/// A running task's stream that ended alone is opened again after this long.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Frames of all followed tasks on their way to the client.
const FRAMES: usize = 8;

/// Sends the output of the tasks asked for.
pub(super) async fn serve(
    shell: &Arc<Shell>,
    asker: &Asker,
    wish: LogRequest,
    outlet: &mut Outlet,
) -> Result<(), Trouble> {
    let viewer = asker.viewer();
    let of = Selector::These(resolve(shell, viewer, wish.of).await?);
    let are_several = are_several(shell, viewer, &of).await?;
    let attempt = wish.attempt;
    if let Some(wanted) = attempt {
        check_attempt(shell, viewer, &of, wanted).await?;
    }
    let mut tasks =
        Tasks { of, viewer, follow: wish.follow, attempt, page: VecDeque::new(), after: None, is_last: false };
    outlet.reply(&Reply::Streaming).await?;

    let at_once = if wish.follow { FOLLOWED_AT_ONCE } else { 1 };
    let (frames, mut read) = mpsc::channel(FRAMES);
    let mut readers = JoinSet::new();
    let mut page = Page { outlet, are_several, shown: None };
    loop {
        while readers.len() < at_once
            && let Some(task) = tasks.next(shell).await?
        {
            let task = match task {
                // Nobody else is being read now, or their frames may come in any order.
                Output::Here(id, log) => {
                    let mut sink = OnPage { page: &mut page, task: id.task };
                    stored::pass_on(Stored::Inline(log), id, 0, &mut sink).await?;
                    continue;
                }
                Output::Elsewhere(task) => task,
            };
            let (shell, frames, follow) = (Arc::clone(shell), frames.clone(), wish.follow);
            let reader = Reading { shell, task, attempt, frames, follow };
            drop(readers.spawn(reader.run()));
        }
        tokio::select! {
            biased;
            Some((task, frame)) = read.recv() => page.show(task, &frame).await?,
            ended = readers.join_next() => match ended {
                Some(ended) => {
                    // What it has read is in the queue before it ends.
                    while let Ok((task, frame)) = read.try_recv() {
                        page.show(task, &frame).await?;
                    }
                    ended.unwrap_or(Err(Trouble::CutOff))?;
                }
                None => break,
            },
        }
        if read.is_empty() {
            page.outlet.flush().await?;
        }
    }
    outlet.feed(&DataFrame::End).await?;
    Ok(outlet.finish().await?)
}

/// What the client is shown.
struct Page<'a> {
    outlet: &'a mut Outlet,
    are_several: bool,
    /// Whose output it was last.
    shown: Option<TaskId>,
}

impl Page<'_> {
    async fn show(&mut self, task: TaskId, frame: &DataFrame<'_>) -> Result<(), Trouble> {
        if self.are_several && self.shown != Some(task) {
            self.outlet.feed(&DataFrame::TaskBegins(task)).await?;
            self.shown = Some(task);
        }
        Ok(self.outlet.feed(frame).await?)
    }
}

/// Frames of one task on their way to the client.
struct OnPage<'a, 'b> {
    page: &'a mut Page<'b>,
    task: TaskId,
}

impl Sink for OnPage<'_, '_> {
    async fn take(&mut self, frame: DataFrame<'_>) -> Result<(), Trouble> {
        self.page.show(self.task, &frame).await
    }
}

/// Whether more than one task was asked for: only then are they named.
async fn are_several(shell: &Shell, viewer: Viewer, of: &Selector) -> Result<bool, Trouble> {
    let filter = TaskFilter { of: of.clone(), states: Vec::new(), after: None, limit: 2 };
    Ok(shell.history.read(move |reader| reader.tasks(&filter, viewer)).await?.len() > 1)
}

/// Refuses an attempt that none of the first tasks has had, and says which there are.
async fn check_attempt(shell: &Shell, viewer: Viewer, of: &Selector, wanted: AttemptNo) -> Result<(), Trouble> {
    let filter = TaskFilter { of: of.clone(), states: Vec::new(), after: None, limit: PAGE };
    let tried = shell.history.read_fresh(move |reader| reader.tried_tasks(&filter, viewer)).await?;
    let has = |view: &TaskView| view.attempts.iter().any(|attempt| attempt.id.attempt == wanted);
    if tried.iter().any(has) || tried.len() >= PAGE as usize {
        return Ok(());
    }
    let last = tried.iter().filter_map(|view| view.attempts.last()).map(|attempt| attempt.id.attempt.0).max();
    let text = match last {
        None => "nothing of it was started yet".to_owned(),
        Some(1) => format!("there is no attempt {}: there was only attempt 1", wanted.0),
        Some(last) => format!("there is no attempt {}: there were attempts 1 to {last}", wanted.0),
    };
    Err(Trouble::refused(FailureCode::NotFound, text, None))
}

/// Where the output of a task is to be found.
enum Output {
    /// Here, all that there will ever be.
    Here(AttemptId, RawString),
    /// In a file, or on a worker that runs it, or it is still to be written.
    Elsewhere(TaskId),
}

/// What is to be done about a task: nothing when it has ended without a word.
fn output(reader: &Reader, view: &TaskView, attempt: Option<AttemptNo>) -> Result<Option<Output>, StoreError> {
    let over = match attempt {
        None => view.decisive().filter(|last| view.state.is_terminal() && last.ended_at.is_some()),
        Some(wanted) => {
            let meant = view.attempts.iter().find(|attempt| attempt.id.attempt == wanted);
            let Some(meant) = meant else { return Ok(None) };
            Some(meant).filter(|meant| meant.ended_at.is_some())
        }
    };
    let Some(last) = over else {
        let unfinished = !view.state.is_terminal() || !view.attempts.is_empty();
        return Ok(unfinished.then_some(Output::Elsewhere(view.task)));
    };
    if last.stdout_bytes == 0 && last.stderr_bytes == 0 {
        return Ok(None);
    }
    Ok(match reader.kept_output(last.id)? {
        None | Some(KeptOutput::Nothing) => None,
        Some(KeptOutput::Inline(log)) => Some(Output::Here(last.id, log)),
        Some(KeptOutput::Uploaded(_)) => Some(Output::Elsewhere(view.task)),
    })
}

/// The tasks asked for, page by page; of those that nobody follows only the ones that were tried.
struct Tasks {
    of: Selector,
    viewer: Viewer,
    follow: bool,
    attempt: Option<AttemptNo>,
    page: VecDeque<Output>,
    after: Option<TaskId>,
    is_last: bool,
}

impl Tasks {
    async fn next(&mut self, shell: &Shell) -> Result<Option<Output>, Trouble> {
        while self.page.is_empty() && !self.is_last {
            self.refill(shell).await?;
        }
        Ok(self.page.pop_front())
    }

    async fn refill(&mut self, shell: &Shell) -> Result<(), Trouble> {
        let filter = TaskFilter { of: self.of.clone(), states: Vec::new(), after: self.after, limit: PAGE };
        let (viewer, follow, attempt) = (self.viewer, self.follow, self.attempt);
        let look = move |reader: &Reader| {
            let views = if follow { reader.tasks(&filter, viewer)? } else { reader.tried_tasks(&filter, viewer)? };
            let outputs: Vec<_> = views.iter().map(|view| output(reader, view, attempt)).collect::<Result<_, _>>()?;
            Ok((views.len(), views.last().map(|view| view.task), outputs))
        };
        let (found, last, outputs) = shell.history.read_fresh(look).await?;
        self.is_last = found < PAGE as usize;
        self.after = last;
        self.page.extend(outputs.into_iter().flatten());
        Ok(())
    }
}

/// One task's output on its way into the queue.
struct Reading {
    shell: Arc<Shell>,
    task: TaskId,
    attempt: Option<AttemptNo>,
    frames: mpsc::Sender<(TaskId, DataFrame<'static>)>,
    follow: bool,
}

/// How far one attempt was read.
#[derive(Debug, Clone, Copy)]
struct Place {
    id: AttemptId,
    read: u64,
    /// Its stored output was read to its end.
    complete: bool,
}

impl Reading {
    async fn run(mut self) -> Result<(), Trouble> {
        let mut seat = self.shell.live.follow(self.task);
        let mut place: Option<Place> = None;
        loop {
            let news = seat.news();
            let mut joins = self.shell.directory.changes();
            let Some((last, has_ended)) = self.look_up().await? else { return Ok(()) };
            if let Some(last) = &last {
                let mut here = match place {
                    Some(place) if place.id == last.id => place,
                    _ => Place { id: last.id, read: 0, complete: false },
                };
                if last.ended_at.is_none() {
                    self.read_live(last, &mut here, &mut seat).await;
                } else if !here.complete {
                    let stored = stored::find(&self.shell, last.id).await?;
                    stored::pass_on(stored, last.id, here.read, &mut self).await?;
                    here.complete = true;
                }
                place = Some(here);
            }
            if !self.follow || has_ended {
                return Ok(());
            }
            if seat.news() == news {
                let is_running = last.is_some_and(|last| last.ended_at.is_none());
                tokio::select! {
                    () = seat.changed() => {}
                    // Its worker may be back.
                    _ = joins.changed() => {}
                    () = tokio::time::sleep(READ_AGAIN), if is_running => {}
                    () = self.frames.closed() => return Ok(()),
                }
            }
        }
    }

    /// The task's attempt that is meant, and whether the task had ended then; `None` when it has been forgotten.
    async fn look_up(&self) -> Result<Option<(Option<AttemptView>, bool)>, Trouble> {
        let (task, attempt) = (self.task, self.attempt);
        let filter = TaskFilter { of: Selector::task(task), states: Vec::new(), after: None, limit: 1 };
        // Who asked was allowed to see the task when it was listed.
        let found = self.shell.history.read_fresh(move |reader| {
            let everybody = Viewer { node: crate::model::NodeId([0; 32]), sees_all: true };
            let view = reader.tasks(&filter, everybody)?.into_iter().next();
            let mut attempts = reader.attempts(task)?;
            let meant = match attempt {
                None => attempts.pop(),
                Some(wanted) => attempts.into_iter().find(|attempt| attempt.id.attempt == wanted),
            };
            Ok(view.map(|view| view.state.is_terminal()).zip(Some(meant)))
        });
        Ok(found.await?.map(|(ended, last)| (last, ended)))
    }

    /// Passes on what a running attempt has written, and when following what it writes until it ends.
    async fn read_live(&mut self, attempt: &AttemptView, here: &mut Place, seat: &mut Seat) {
        let Some(link) = self.shell.directory.link_of(&attempt.worker) else { return };
        let read = tokio::select! {
            read = self.read_from(&link, &attempt.worker, here) => read,
            // The result says what the stream may have had no time to; the rest is in the store.
            () = seat.until(|news| news.ended || news.over >= Some(attempt.id.attempt)), if self.follow => Ok(()),
            () = self.frames.closed() => Ok(()),
        };
        if let Err(error) = read {
            tracing::debug!(task = %attempt.id, "A running task's output could not be read on: failed to {error}");
        }
    }

    async fn read_from(&self, link: &Link, worker: &NodeName, here: &mut Place) -> Result<(), TransportError> {
        let (mut send, mut recv) = link.open_bi().await?;
        send.send(&StreamPurpose::LogRead { id: here.id, follow: self.follow }).await?;
        send.finish().await?;
        let mut skip = Skip::new(here.read);
        while let Some(frame) = recv.recv_data().await? {
            match frame {
                DataFrame::End => return Ok(()),
                DataFrame::Output { .. } | DataFrame::Cut { .. } => {}
                _ => {
                    tracing::warn!("Worker {worker} sends something else than a log for task {}", here.id);
                    return Ok(());
                }
            }
            let Some(frame) = skip.pass(frame) else { continue };
            let (bytes, frame) = (advance(&frame), frame.into_owned());
            if self.frames.send((self.task, frame)).await.is_err() {
                return Ok(());
            }
            // After the wait, so that a reading that is broken off there does not count what was not sent.
            here.read += bytes;
        }
        Ok(())
    }
}

impl Sink for Reading {
    async fn take(&mut self, frame: DataFrame<'_>) -> Result<(), Trouble> {
        self.frames.send((self.task, frame.into_owned())).await.map_err(|_| Trouble::CutOff)
    }
}
