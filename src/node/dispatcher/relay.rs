//! The live side of a `run`: its client's stream joined to the streams of its
//! task's attempts, whichever of them breaks and comes back.
//!
//! The one invariant: the client gets every output byte of the last attempt once
//! and in order, and is told where an attempt begins. It says how much it has, a
//! worker's stream says where it begins, and what is between is left out. Frames
//! pass one at a time: a slow client holds back the worker through the windows of
//! QUIC, nothing is queued here. Absent: keeping what is unacknowledged (the
//! worker does), whether another attempt may follow (`repeat_mark`), and what
//! the client's absence means (the engine).

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::live::{News, Seat, WorkerStream};
use super::outlet::Outlet;
use super::pump::{self, Client, PumpEnd};
use super::repeat_mark::{Bounds, RepeatMark};
use super::requests::{Trouble, report};
use super::shell::{Asker, Inquiry, Shell};
use super::stored::{self, Sink, Stored, written};
use crate::engine::dispatcher::Call;
use crate::model::requests::{FailureCode, JobFilter, ReceivedOutput, Reply};
use crate::model::selector::Selector;
use crate::model::views::{AttemptView, decisive};
use crate::model::{AttemptId, ClientId, TaskId};
use crate::transport::{FrameRecv, FrameSend};
use crate::wire::data::DataFrame;

/// How long a task that has ended may take to open the stream of its last output.
const STREAM_PATIENCE: Duration = Duration::from_secs(3);

/// What the client of a `run` asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) task: TaskId,
    pub(super) client: ClientId,
    pub(super) takes_over: bool,
    /// Output that it has already.
    pub(super) received: Option<ReceivedOutput>,
    /// Stdin that it can send again to another attempt, in bytes from the start.
    pub(super) resends: u64,
}

/// Serves the client of a `run` until its task has ended and everything was passed on.
pub(super) async fn attach(shell: &Arc<Shell>, asker: &Asker, wish: Wish, send: FrameSend, recv: FrameRecv) {
    let mut outlet = Outlet::new(send);
    // From here on nothing new is missed; what happened before is in the store.
    let early = shell.live.follow(wish.task);
    let admitted = async {
        let consent = consent(shell, asker, wish.task).await?;
        let call = Call::Attach { job: wish.task.job, client: wish.client, takes_over: wish.takes_over };
        Ok((consent, attend(shell, asker, call).await?))
    };
    let ((ended, held), mut inquiry) = match admitted.await {
        Ok(admitted) => admitted,
        Err(trouble) => return report(trouble, &mut outlet).await,
    };
    // Only now is the client before this one replaced.
    let seat = shell.live.attach(wish.task);
    drop(early);
    let client = Client::new(outlet, recv, wish.received);
    let bounds = Bounds { held, resends: wish.resends };
    let is_late = ended && wish.takes_over && wish.received.is_none();
    let mut session = Session { shell, asker, task: wish.task, seat, client, bounds, ended, is_late, complete: None };
    let served = async {
        session.client.outlet.reply(&Reply::Streaming).await?;
        session.run().await
    };
    match served.await {
        Ok(()) => {
            let said = async {
                session.client.outlet.feed(&DataFrame::End).await?;
                session.client.outlet.finish().await
            };
            if let Err(error) = said.await {
                debug!(task = %wish.task, "The client of a run has gone: failed to {error}");
            }
        }
        Err(trouble) => {
            debug!(task = %wish.task, "A run's client and its task are parted: failed to {trouble}");
            // The engine said so before it let in the one that took over.
            if let Some(Reply::Failed(failure)) = inquiry.said() {
                report(Trouble::Refused(failure), &mut session.client.outlet).await;
            }
        }
    }
    inquiry.over(shell).await;
}

/// Becomes the client of a job by `call`, until the inquiry is over.
pub(super) async fn attend(shell: &Shell, asker: &Asker, call: Call) -> Result<Inquiry, Trouble> {
    let mut inquiry = shell.ask(asker, call.into()).await;
    match inquiry.reply().await {
        Some(Reply::Done { .. }) => Ok(inquiry),
        Some(Reply::Failed(failure)) => Err(Trouble::Refused(failure)),
        _ => Err(Trouble::CutOff),
    }
}

/// Is the client of a job until its stream ends, or another client takes over.
pub(super) async fn hold(
    shell: &Shell,
    asker: &Asker,
    call: Call,
    outlet: &mut Outlet,
    recv: &mut FrameRecv,
) -> Result<(), Trouble> {
    let mut inquiry = attend(shell, asker, call).await?;
    let held = async {
        outlet.reply(&Reply::Done { affected: 0 }).await?;
        tokio::select! {
            _ = recv.recv_data() => Ok(()),
            said = inquiry.reply() => match said {
                Some(Reply::Failed(failure)) => Err(Trouble::Refused(failure)),
                _ => Err(Trouble::CutOff),
            },
        }
    };
    let held = held.await;
    inquiry.over(shell).await;
    held
}

/// Whether this client may be the client of `task`; says whether it has ended, and how much of its output is held back.
async fn consent(shell: &Shell, asker: &Asker, task: TaskId) -> Result<(bool, u64), Trouble> {
    let viewer = asker.viewer();
    let only = Selector::task(task);
    let found = shell.history.read_fresh(move |reader| {
        let jobs =
            JobFilter { only: Some(Selector::job(task.job)), states: Vec::new(), limit: 1, ..JobFilter::default() };
        let job = reader.jobs(&jobs, viewer)?.into_iter().next();
        let tasks = crate::model::requests::TaskFilter { of: only, states: Vec::new(), after: None, limit: 1 };
        Ok(job.and_then(|job| job.spec).zip(reader.tasks(&tasks, viewer)?.into_iter().next()))
    });
    let Some((spec, view)) = found.await? else {
        return Err(Trouble::refused(FailureCode::NotFound, format!("there is no task {task}"), None));
    };
    if !spec.spec().streams_to_client() {
        return Err(Trouble::refused(
            FailureCode::Conflict,
            format!("task {task} was not submitted by a run; nobody can be attached to it"),
            Some(&format!("octaskly logs -f {task}")),
        ));
    }
    Ok((view.state.is_terminal(), spec.spec().held_output()))
}

/// One client's time with its task.
struct Session<'a> {
    shell: &'a Shell,
    asker: &'a Asker,
    task: TaskId,
    seat: Seat,
    client: Client,
    bounds: Bounds,
    /// The task is in a terminal state.
    ended: bool,
    /// It came in another one's place when that was so, and gets all of the output.
    is_late: bool,
    /// The attempt whose output was passed on to its end.
    complete: Option<AttemptId>,
}

impl Session<'_> {
    /// Runs until everything was passed on.
    async fn run(&mut self) -> Result<(), Trouble> {
        loop {
            let news: News = self.seat.news();
            self.ended |= news.ended;
            if self.seat.is_replaced() {
                return Err(Trouble::CutOff);
            }
            if self.is_through(news).await? {
                return Ok(());
            }
            if news.parked.is_some() {
                if self.client.said_input {
                    // What it said was for a stream that is gone. A new one begins with
                    // the worker's word on how much input it has, and so must the client.
                    return Err(Trouble::CutOff);
                }
                if let Some(stream) = self.seat.take_stream() {
                    self.join(stream).await?;
                }
                continue;
            }
            if self.ended {
                self.pass_on_the_rest().await?;
                continue;
            }
            tokio::select! {
                () = self.seat.changed() => {}
                gone = self.client.listen() => gone?,
            }
        }
    }

    /// Joins the client to one stream, until either breaks or the attempt's output is complete.
    async fn join(&mut self, stream: WorkerStream) -> Result<(), Trouble> {
        let id = stream.id;
        // A worker that was given up may come back with an attempt that others have followed.
        let is_past = match self.ended {
            true => self.last_attempt().await?.is_some_and(|last| last.id != id),
            false => self.client.attempt > Some(id.attempt),
        };
        // What another client has acknowledged is in the log alone.
        if is_past || self.is_late && stream.from > 0 {
            pump::void(stream).await;
            return Ok(());
        }
        self.client.begin(id.attempt, stream.from).await?;
        let mark = RepeatMark::new(self.shell, self.asker, &self.seat, id, self.bounds, self.ended);
        let end = pump::run(&mut self.client, stream, &mark, self.seat.watcher(), self.ended).await;
        debug!(task = %id, total = self.client.total, "A stream of a run has ended: {end}");
        match end {
            PumpEnd::Complete => {
                self.complete = Some(id);
                Ok(())
            }
            PumpEnd::WorkerGone(_) | PumpEnd::Past => Ok(()),
            PumpEnd::ClientGone(error) => Err(error.into()),
            PumpEnd::CutOff(trouble) => Err(trouble),
        }
    }

    /// Whether the task has ended and the client has all output of its last attempt.
    async fn is_through(&mut self, news: News) -> Result<bool, Trouble> {
        if !self.ended {
            return Ok(false);
        }
        if let Some(id) = self.complete
            && news.ended
            && news.over <= Some(id.attempt)
        {
            // No need to ask the store: its end was seen from here, and no later attempt was.
            return Ok(true);
        }
        let Some(last) = self.last_attempt().await? else { return Ok(true) };
        if self.complete != Some(last.id) && self.had(last.id) < written(&last) {
            return Ok(false);
        }
        // What it holds of an earlier attempt is void, also when the last one has written nothing.
        self.client.begin(last.id.attempt, 0).await?;
        Ok(true)
    }

    /// The task has ended: passes on what no stream brought, unless a stream comes for that.
    async fn pass_on_the_rest(&mut self) -> Result<(), Trouble> {
        let Some(last) = self.last_attempt().await? else { return Ok(()) };
        let mut kept = stored::find(self.shell, last.id).await?;
        if !matches!(kept, Stored::Inline(_)) && !self.is_late {
            // A long log may have gaps that the worker's stream has not.
            let coming = self.seat.until(|news| news.parked.is_some());
            if tokio::time::timeout(STREAM_PATIENCE, coming).await.is_ok() {
                return Ok(());
            }
            kept = stored::find(self.shell, last.id).await?;
        }
        self.client.begin(last.id.attempt, 0).await?;
        let had = self.had(last.id);
        stored::pass_on(kept, last.id, had, &mut self.client).await?;
        // Whatever is missing now is nowhere.
        self.complete = Some(last.id);
        Ok(())
    }

    async fn last_attempt(&self) -> Result<Option<AttemptView>, Trouble> {
        let task = self.task;
        let attempts = self.shell.history.read_fresh(move |reader| reader.attempts(task)).await?;
        Ok(decisive(&attempts).cloned())
    }

    /// Output bytes of attempt `id` that the client has.
    fn had(&self, id: AttemptId) -> u64 {
        if self.client.attempt == Some(id.attempt) { self.client.total } else { 0 }
    }
}

impl Sink for Client {
    async fn take(&mut self, frame: DataFrame<'_>) -> Result<(), Trouble> {
        self.total = self.total.saturating_add(frame.output_bytes());
        Ok(self.outlet.feed(&frame).await?)
    }
}
