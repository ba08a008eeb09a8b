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
    /// Input that came while no stream was there to take it.
    pub(super) pending: Option<DataFrame<'static>>,
    /// It has sent input, to the stream of its time.
    pub(super) said_input: bool,
    /// It has nothing more to say, which does not mean that it has gone.
    pub(super) silent: bool,
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
        if self.pending.is_some() || self.silent {
            return std::future::pending().await;
        }
        match self.recv.recv_data().await? {
            Some(frame @ (DataFrame::Stdin(_) | DataFrame::StdinEnd)) => self.pending = Some(frame.into_owned()),
            // What it has of an earlier stream is of no interest to the next one, which asks.
            Some(_) => {}
            None => self.silent = true,
        }
        Ok(())
    }
}

/// Joins `client` to `stream`, whose attempt begins at `base` of the client's count.
pub(super) async fn run(client: &mut Client, stream: WorkerStream, base: u64, news: watch::Receiver<News>) -> PumpEnd {
    let WorkerStream { id, from, mut send, mut recv } = stream;
    let Client { outlet, recv: said, total, pending, said_input, silent } = client;
    let skip = Skip::new(total.saturating_sub(base + from));
    let over = Over { id, news };
    let end = {
        let up = up(said, &mut send, base, pending, said_input, silent);
        tokio::pin!(up);
        let mut up_ended = false;
        let end = {
            let down = down(&mut recv, outlet, total, skip, &over);
            tokio::pin!(down);
            tokio::select! {
                end = &mut down => end,
                end = &mut up => match end {
                    UpEnd::ClientGone(error) => PumpEnd::ClientGone(error),
                    // The worker takes nothing more, or the client has nothing more; the output goes on.
                    UpEnd::WorkerGone | UpEnd::Silent => {
                        up_ended = true;
                        down.await
                    }
                },
            }
        };
        // A task may close its outputs and go on reading.
        if matches!(end, PumpEnd::Complete) && !up_ended {
            tokio::select! {
                _ = up => {}
                () = over.comes() => {}
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
async fn down(recv: &mut FrameRecv, outlet: &mut Outlet, total: &mut u64, mut skip: Skip, over: &Over) -> PumpEnd {
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
            () = over.last_words() => return PumpEnd::WorkerGone(None),
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
            *total += frame.output_bytes();
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
    Silent,
}

/// Passes on what the client says: input as it is, acknowledgements in the attempt's own count.
async fn up(
    said: &mut FrameRecv,
    send: &mut FrameSend,
    base: u64,
    pending: &mut Option<DataFrame<'static>>,
    said_input: &mut bool,
    silent: &mut bool,
) -> UpEnd {
    if let Some(frame) = pending.take() {
        *said_input = true;
        if send.send_data(&frame).await.is_err() {
            return UpEnd::WorkerGone;
        }
    }
    if *silent {
        return UpEnd::Silent;
    }
    loop {
        let frame = match said.recv_data().await {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                *silent = true;
                return UpEnd::Silent;
            }
            Err(error) => return UpEnd::ClientGone(error),
        };
        let frame = match frame {
            DataFrame::Ack { received } if received < base => continue,
            DataFrame::Ack { received } => DataFrame::Ack { received: received - base },
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

/// Knows when an attempt is over.
struct Over {
    id: AttemptId,
    news: watch::Receiver<News>,
}

impl Over {
    async fn comes(&self) {
        let attempt = self.id.attempt;
        // The sender lives as long as the client's seat.
        let _ = self.news.clone().wait_for(|news| news.ended || news.over >= Some(attempt)).await;
    }

    /// Waits until the attempt is over, and then for a last word that does not come.
    async fn last_words(&self) {
        self.comes().await;
        tokio::time::sleep(LAST_WORDS).await;
    }
}
