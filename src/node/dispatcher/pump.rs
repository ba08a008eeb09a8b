//! Frames between one client's stream and one worker's stream, both ways at
//! once.
//!
//! The one invariant: nothing is read that cannot be passed on. Each direction
//! holds one frame, and what a slow side does not take stays with the other.
//! Absent: who is joined to whom, and what a broken stream means (`relay`).

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

use super::live::{News, WorkerStream};
use super::outlet::Outlet;
use super::skip::Skip;
use crate::model::AttemptId;
use crate::transport::{FrameRecv, FrameSend, TransportError};
use crate::wire::data::DataFrame;

/// A stream of an attempt that is over ends when it has brought nothing for
/// this long: its worker is lost, or cannot say its last word.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The client of a `run`.
pub(super) struct Client {
    pub(super) outlet: Outlet,
    pub(super) recv: FrameRecv,
    /// Output bytes it has, or will have once what was fed arrives; of all attempts.
    pub(super) total: u64,
    /// Output bytes it said it has. Told to every new stream: a worker that has nothing
    /// left to send but what is acknowledged would wait for this word forever.
    pub(super) acked: u64,
    /// Input that came while no stream was there to take it.
    pub(super) pending: Option<DataFrame<'static>>,
    /// It has sent input, to the stream of its time.
    pub(super) said_input: bool,
}

/// How two streams parted.
#[derive(Debug)]
pub(super) enum PumpEnd {
    /// All output of the attempt was passed on.
    Complete,
    /// The worker's stream broke, or had nothing more to bring.
    WorkerGone(Option<TransportError>),
    /// The client's stream broke.
    ClientGone(TransportError),
}

impl fmt::Display for PumpEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("all output was passed on"),
            Self::WorkerGone(None) => f.write_str("the worker said no last word"),
            Self::WorkerGone(Some(error)) => write!(f, "the worker's side failed to {error}"),
            Self::ClientGone(error) => write!(f, "the client's side failed to {error}"),
        }
    }
}

impl Client {
    /// Listens while no stream is there. Ends with an error when the client
    /// has gone; never ends once it has said something that only a stream can take.
    pub(super) async fn listen(&mut self) -> Result<(), TransportError> {
        if self.pending.is_some() {
            return std::future::pending().await;
        }
        match self.recv.recv_data().await? {
            Some(frame @ (DataFrame::Stdin(_) | DataFrame::StdinEnd)) => self.pending = Some(frame.into_owned()),
            Some(DataFrame::Ack { received }) => self.acked = self.acked.max(received),
            Some(_) => {}
            // Whoever still wants output has to acknowledge it.
            None => return Err(TransportError::StreamClosed),
        }
        Ok(())
    }
}

/// Joins `client` to `stream`, whose attempt begins at `base` of the client's count.
///
/// `watcher` is the client's number among those of its task, and the task's news;
/// `ended` says that the task had ended before that news began.
pub(super) async fn run(
    client: &mut Client,
    stream: WorkerStream,
    base: u64,
    watcher: (u64, watch::Receiver<News>),
    ended: bool,
) -> PumpEnd {
    let WorkerStream { id, from, mut send, mut recv } = stream;
    let Client { outlet, recv: said, total, acked, pending, said_input } = client;
    let skip = Skip::new(total.saturating_sub(base.saturating_add(from)));
    let task = Watch { id, client: watcher.0, news: watcher.1, ended };
    let end = {
        let down = down(&mut recv, outlet, total, skip, &task);
        let up = up(said, &mut send, base, acked, pending, said_input);
        tokio::pin!(down, up);
        let mut worker_listens = true;
        let end = loop {
            tokio::select! {
                end = &mut down => break end,
                end = &mut up, if worker_listens => match end {
                    UpEnd::ClientGone(error) => break PumpEnd::ClientGone(error),
                    // It takes nothing more; what it still brings is passed on.
                    UpEnd::WorkerGone => worker_listens = false,
                },
                () = task.has_another_client() => break PumpEnd::ClientGone(TransportError::StreamClosed),
            }
        };
        // A task may close its outputs and go on reading.
        if matches!(end, PumpEnd::Complete) && worker_listens {
            tokio::select! {
                _ = up => {}
                () = task.is_over() => {}
            }
        }
        end
    };
    match &end {
        // It has brought everything and needs no more acknowledgements.
        PumpEnd::Complete => drop(send.finish().await),
        // So that the worker opens another one and begins where its client is.
        PumpEnd::WorkerGone(_) | PumpEnd::ClientGone(_) => send.abandon(),
    }
    end
}

/// Passes on what the task writes.
async fn down(recv: &mut FrameRecv, outlet: &mut Outlet, total: &mut u64, mut skip: Skip, task: &Watch) -> PumpEnd {
    let mut fed = false;
    loop {
        let frame = tokio::select! {
            biased;
            frame = recv.recv_data() => frame,
            // Nothing more is there at the moment: what was fed need not wait for it.
            () = std::future::ready(()), if fed => {
                if let Err(error) = outlet.flush().await {
                    return PumpEnd::ClientGone(error);
                }
                fed = false;
                continue;
            }
            () = task.keeps_silent() => return PumpEnd::WorkerGone(None),
        };
        let frame = match frame {
            Ok(Some(DataFrame::End)) => {
                return outlet.flush().await.map_or_else(PumpEnd::ClientGone, |()| PumpEnd::Complete);
            }
            Ok(Some(frame)) => frame,
            Ok(None) => return PumpEnd::WorkerGone(None),
            Err(error) => return PumpEnd::WorkerGone(Some(error)),
        };
        if let Some(frame) = skip.pass(frame) {
            *total = total.saturating_add(frame.output_bytes());
            if let Err(error) = outlet.feed(&frame).await {
                return PumpEnd::ClientGone(error);
            }
            fed = true;
        }
    }
}

/// How the client's direction ended, while the worker's may go on.
enum UpEnd {
    ClientGone(TransportError),
    WorkerGone,
}

/// Passes on what the client says: input as it is, acknowledgements in the attempt's own count.
async fn up(
    said: &mut FrameRecv,
    send: &mut FrameSend,
    base: u64,
    acked: &mut u64,
    pending: &mut Option<DataFrame<'static>>,
    said_input: &mut bool,
) -> UpEnd {
    if *acked > base && send.send_data(&DataFrame::Ack { received: *acked - base }).await.is_err() {
        return UpEnd::WorkerGone;
    }
    if let Some(frame) = pending.take() {
        *said_input = true;
        if send.send_data(&frame).await.is_err() {
            return UpEnd::WorkerGone;
        }
    }
    loop {
        let frame = match said.recv_data().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return UpEnd::ClientGone(TransportError::StreamClosed),
            Err(error) => return UpEnd::ClientGone(error),
        };
        let frame = match frame {
            DataFrame::Ack { received } => {
                *acked = received.max(*acked);
                if received <= base {
                    continue;
                }
                DataFrame::Ack { received: received - base }
            }
            frame @ (DataFrame::Stdin(_) | DataFrame::StdinEnd) => {
                *said_input = true;
                frame
            }
            // Nothing else has a meaning in this direction.
            _ => continue,
        };
        if send.send_data(&frame).await.is_err() {
            return UpEnd::WorkerGone;
        }
    }
}

/// What else may happen to a task while its streams are joined.
struct Watch {
    id: AttemptId,
    client: u64,
    news: watch::Receiver<News>,
    /// The task had ended before the news began, so the news never says it.
    ended: bool,
}

impl Watch {
    /// Waits until somebody else has become the client.
    async fn has_another_client(&self) {
        // Here and below: the sender lives as long as the client's seat.
        let _ = self.news.clone().wait_for(|news| news.client != self.client).await;
    }

    /// Waits until the attempt is over.
    async fn is_over(&self) {
        if self.ended {
            return;
        }
        let attempt = self.id.attempt;
        let is_over = |news: &News| news.ended || news.over >= Some(attempt) || news.assigned > Some(attempt);
        let _ = self.news.clone().wait_for(is_over).await;
    }

    /// Waits until the attempt is over, and then for a last word that does not come.
    async fn keeps_silent(&self) {
        self.is_over().await;
        tokio::time::sleep(LAST_WORDS).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttemptNo, TaskId};

    #[tokio::test]
    async fn a_task_that_ended_before_its_client_came_needs_no_news_of_that() {
        // The news of a seat taken after the end: it will never say anything more.
        let (_news, silent) = watch::channel(News::default());
        let id = AttemptId { task: TaskId::new(1, 0), attempt: AttemptNo(1) };
        let watch = |ended| Watch { id, client: 1, news: silent.clone(), ended };
        let moment = Duration::from_millis(50);
        assert!(tokio::time::timeout(moment, watch(true).is_over()).await.is_ok());
        assert!(tokio::time::timeout(moment, watch(false).is_over()).await.is_err());
    }
}
