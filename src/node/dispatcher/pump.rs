//! Frames between one client's stream and one worker's stream, both ways at
//! once.
//!
//! The one invariant: nothing is read that cannot be passed on. Each direction
//! holds one frame, and what a slow side does not take stays with the other.
//! Absent: who is joined to whom, and what a broken stream means (`relay`).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::live::{News, WorkerStream};
use super::outlet::Outlet;
use super::repeat_mark::RepeatMark;
use super::requests::Trouble;
use super::skip::Skip;
use crate::model::requests::ReceivedOutput;
use crate::model::{AttemptId, AttemptNo};
use crate::transport::{FrameRecv, FrameSend, TransportError};
use crate::wire::data::DataFrame;

/// A stream of an attempt that is over ends when it has brought nothing for
/// this long: its worker is lost, or cannot say its last word.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The client of a `run`.
pub(super) struct Client {
    pub(super) outlet: Outlet,
    pub(super) recv: FrameRecv,
    /// The attempt whose output it was given last.
    pub(super) attempt: Option<AttemptNo>,
    /// Output bytes of that attempt that it has, or will have once what was fed arrives.
    pub(super) total: u64,
    /// Of those, the ones it said it has. Told to every new stream: a worker that has nothing
    /// left to send but what is acknowledged would wait for this word forever.
    acked: u64,
    /// It has sent input, to the stream of its time.
    pub(super) said_input: bool,
}

/// How two streams parted.
#[derive(Debug)]
pub(super) enum PumpEnd {
    /// All output of the attempt was passed on.
    Complete,
    /// The attempt is over and another one may follow: nothing more of it passes.
    Past,
    /// The worker's stream broke, or had nothing more to bring.
    WorkerGone(Option<TransportError>),
    /// The client's stream broke.
    ClientGone(TransportError),
    /// Nobody could say whether more may pass.
    CutOff(Trouble),
}

impl fmt::Display for PumpEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("all output was passed on"),
            Self::Past => f.write_str("another attempt may follow this one"),
            Self::WorkerGone(None) => f.write_str("the worker said no last word"),
            Self::WorkerGone(Some(error)) => write!(f, "the worker's side failed to {error}"),
            Self::ClientGone(error) => write!(f, "the client's side failed to {error}"),
            Self::CutOff(trouble) => write!(f, "this side failed to {trouble}"),
        }
    }
}

impl Client {
    /// One that has `received` already.
    pub(super) fn new(outlet: Outlet, recv: FrameRecv, received: Option<ReceivedOutput>) -> Self {
        let total = received.map_or(0, |received| received.bytes);
        let attempt = received.map(|received| received.attempt);
        Self { outlet, recv, attempt, total, acked: total, said_input: false }
    }

    /// Output of `attempt` follows, of which a client has acknowledged `from` bytes.
    pub(super) async fn begin(&mut self, attempt: AttemptNo, from: u64) -> Result<(), TransportError> {
        if self.attempt != Some(attempt) {
            (self.attempt, self.total, self.acked) = (Some(attempt), 0, 0);
        }
        self.total = self.total.max(from);
        self.outlet.feed(&DataFrame::AttemptBegins { attempt, from: self.total }).await
    }

    /// Listens while no stream is there; ends with an error when the client has gone.
    pub(super) async fn listen(&mut self) -> Result<(), TransportError> {
        match self.recv.recv_data().await? {
            // For a stream that is gone: it is sent again, from where the next one says.
            Some(DataFrame::Stdin(_) | DataFrame::StdinEnd) => self.said_input = true,
            Some(DataFrame::Ack { received }) => self.acked = self.acked.max(received.min(self.total)),
            Some(_) => {}
            // Whoever still wants output has to acknowledge it.
            None => return Err(TransportError::StreamClosed),
        }
        Ok(())
    }
}

/// Tells a worker that nobody wants the output of this attempt any more.
pub(super) async fn void(stream: WorkerStream) {
    let mut send = stream.send;
    if send.send_data(&DataFrame::Ack { received: u64::MAX }).await.is_ok() {
        let _ = send.finish().await;
    }
}

/// Joins `client` to `stream`, as far as `mark` lets anything pass.
///
/// `watcher` is the client's number among those of its task, and the task's news;
/// `ended` says that the task had ended before that news began.
pub(super) async fn run(
    client: &mut Client,
    stream: WorkerStream,
    mark: &RepeatMark<'_>,
    watcher: (u64, watch::Receiver<News>),
    ended: bool,
) -> PumpEnd {
    let WorkerStream { id, from, mut send, mut recv } = stream;
    let Client { outlet, recv: said, total, acked, said_input, .. } = client;
    let skip = Skip::new(total.saturating_sub(from));
    let task = Watch { id, client: watcher.0, news: watcher.1, ended };
    let (passed, given) = (AtomicU64::new(*total), AtomicU64::new(0));
    let end = {
        let down = Down { recv: &mut recv, outlet, skip, mark, passed: &passed, given: &given }.run(&task);
        let up = Up { said, send: &mut send, mark, passed: &passed, given: &given, acked, said_input }.run();
        tokio::pin!(down, up);
        let mut worker_listens = true;
        let end = loop {
            tokio::select! {
                end = &mut down => break end,
                end = &mut up, if worker_listens => match end {
                    PumpEnd::WorkerGone(_) => worker_listens = false,
                    // It takes nothing more; what it still brings is passed on.
                    end => break end,
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
    *total = passed.into_inner();
    match &end {
        // It has brought everything and needs no more acknowledgements.
        PumpEnd::Complete => drop(send.finish().await),
        PumpEnd::Past => void(WorkerStream { id, from, send, recv }).await,
        // So that the worker opens another one and begins where its client is.
        PumpEnd::WorkerGone(_) | PumpEnd::ClientGone(_) | PumpEnd::CutOff(_) => send.abandon(),
    }
    end
}

/// What the task writes, on its way to the client.
struct Down<'a> {
    recv: &'a mut FrameRecv,
    outlet: &'a mut Outlet,
    skip: Skip,
    mark: &'a RepeatMark<'a>,
    /// Output bytes of the attempt that were passed on, by any stream.
    passed: &'a AtomicU64,
    /// Stdin bytes that the attempt was given, by any stream.
    given: &'a AtomicU64,
}

impl Down<'_> {
    async fn run(mut self, task: &Watch) -> PumpEnd {
        let (mut fed, mut spoke) = (true, false);
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.recv.recv_data() => frame,
                // Nothing more is there at the moment: what was fed need not wait for it.
                () = std::future::ready(()), if fed => {
                    if let Err(error) = self.outlet.flush().await {
                        return PumpEnd::ClientGone(error);
                    }
                    fed = false;
                    continue;
                }
                () = task.keeps_silent() => return PumpEnd::WorkerGone(None),
            };
            let frame = match frame {
                Ok(Some(DataFrame::End)) => {
                    return self.outlet.flush().await.map_or_else(PumpEnd::ClientGone, |()| PumpEnd::Complete);
                }
                Ok(Some(frame)) => frame,
                Ok(None) => return PumpEnd::WorkerGone(None),
                Err(error) => return PumpEnd::WorkerGone(Some(error)),
            };
            let Some(frame) = self.skip.pass(frame) else { continue };
            let upto = self.passed.load(Ordering::Relaxed).saturating_add(frame.output_bytes());
            let passes = match &frame {
                // The worker's first word says how much stdin the attempt has.
                DataFrame::Ack { received } if !std::mem::replace(&mut spoke, true) => {
                    self.given.store(*received, Ordering::Relaxed);
                    self.mark.stdin(*received).await
                }
                DataFrame::Output { .. } => self.mark.output(upto).await,
                _ => Ok(true),
            };
            match passes {
                Ok(true) => {}
                Ok(false) => return PumpEnd::Past,
                Err(trouble) => return PumpEnd::CutOff(trouble),
            }
            self.passed.store(upto, Ordering::Relaxed);
            if let Err(error) = self.outlet.feed(&frame).await {
                return PumpEnd::ClientGone(error);
            }
            fed = true;
        }
    }
}

/// What the client says: input as it is, and acknowledgements.
struct Up<'a> {
    said: &'a mut FrameRecv,
    send: &'a mut FrameSend,
    mark: &'a RepeatMark<'a>,
    passed: &'a AtomicU64,
    given: &'a AtomicU64,
    acked: &'a mut u64,
    said_input: &'a mut bool,
}

impl Up<'_> {
    /// Runs until either stream breaks.
    async fn run(self) -> PumpEnd {
        if *self.acked > 0 && self.send.send_data(&DataFrame::Ack { received: *self.acked }).await.is_err() {
            return PumpEnd::WorkerGone(None);
        }
        loop {
            let frame = match self.said.recv_data().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return PumpEnd::ClientGone(TransportError::StreamClosed),
                Err(error) => return PumpEnd::ClientGone(error),
            };
            let frame = match frame {
                DataFrame::Ack { received } => {
                    *self.acked = received.min(self.passed.load(Ordering::Relaxed)).max(*self.acked);
                    DataFrame::Ack { received: *self.acked }
                }
                DataFrame::Stdin(bytes) => {
                    *self.said_input = true;
                    let upto = self.given.load(Ordering::Relaxed).saturating_add(bytes.len() as u64);
                    self.given.store(upto, Ordering::Relaxed);
                    match self.mark.stdin(upto).await {
                        Ok(true) => DataFrame::Stdin(bytes),
                        Ok(false) => return PumpEnd::Past,
                        Err(trouble) => return PumpEnd::CutOff(trouble),
                    }
                }
                DataFrame::StdinEnd => {
                    *self.said_input = true;
                    DataFrame::StdinEnd
                }
                // Nothing else has a meaning in this direction.
                _ => continue,
            };
            if self.send.send_data(&frame).await.is_err() {
                return PumpEnd::WorkerGone(None);
            }
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
    use crate::model::TaskId;

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
