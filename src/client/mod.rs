//! A client's side of the conversation: connect, ask, watch, attach.
//!
//! One [`Client`] is one authenticated link; every request is a stream of its
//! own on it, so a slow listing never delays a submission. The one invariant:
//! a submission that is repeated after a broken link carries the same
//! idempotency key, so that it is never queued twice. Absent on purpose: any
//! output for people, exit codes, and the choice to start an embedded cluster
//! (all `cli/`).

mod connect;
pub mod error;
pub mod files;
pub mod heard;
pub mod members;
pub mod streams;
pub mod target;

use std::net::SocketAddr;
use std::sync::Arc;

pub use error::ClientError;
pub use members::CreatedToken;
pub use streams::{Attachment, AttendedJob, LogStream, OutputReceiver, StdinSender, Watch};
pub use target::{Expected, ExpectedBy, Target, find, remember, resolve};

use crate::model::examination::Examination;
use crate::model::handshake::Welcome;
use crate::model::limits::MAX_FRAME;
use crate::model::outcome::Cancellation;
use crate::model::requests::{Changes, JobFilter, LogRequest, ReceivedOutput, Reply, Request, Submission, TaskFilter};
use crate::model::selector::Selector;
use crate::model::views::{Explanation, JobView, PeerView, StatusView, TaskView, WorkerView};
use crate::model::{AttemptNo, ClientId, JobId, NodeId, TaskId};
use crate::transport::{CloseCode, Endpoint, FrameRecv, FrameSend, Link};

/// What the dispatcher answered to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The job's number; durable.
    pub job: JobId,
    /// No connected worker could ever run it, and why.
    pub unplaceable: Option<String>,
}

/// Who attaches to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attacher {
    /// This process.
    pub client: ClientId,
    /// Whether to take the place of another client that is attached.
    pub takes_over: bool,
}

/// One authenticated link to a dispatcher.
///
/// Dropping it closes the link. All methods may run at the same time.
pub struct Client {
    endpoint: Arc<Endpoint>,
    link: Link,
    welcome: Welcome,
    /// The control stream: nothing more is said on it, but its end would end the link.
    _control: (FrameSend, FrameRecv),
}

impl Client {
    /// What the dispatcher said when it let this client in.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The key that the dispatcher has proved.
    #[must_use]
    pub fn dispatcher(&self) -> NodeId {
        self.link.peer()
    }

    /// Where the dispatcher was reached.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.link.remote_addr()
    }

    /// Says goodbye and waits until the other side can have heard it.
    pub async fn close(self) {
        self.link.close(CloseCode::Done, "done");
        self.endpoint.close("done").await;
    }

    /// Queues a job; returns once it is durable.
    ///
    /// # Errors
    /// When it is refused, or the link breaks before the answer: then the same
    /// submission may be sent again, over a new link.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, ClientError> {
        match self.ask(&Request::Submit(submission)).await? {
            Reply::Submitted { job, unplaceable } => Ok(Submitted { job, unplaceable }),
            other => Err(unexpected("submit", other)),
        }
    }

    /// Follows `jobs` until all have ended.
    ///
    /// # Errors
    /// When one of them is unknown or somebody else's, or the link breaks.
    pub async fn watch(&self, jobs: Vec<JobId>) -> Result<Watch, ClientError> {
        let (send, recv) = self.open(&Request::Watch(jobs)).await?;
        Ok(Watch::new(send, recv))
    }

    /// Becomes the client of the only task of a `run`: it has `received` of the output, and can send the first
    /// `resends` bytes of stdin again to another attempt.
    ///
    /// # Errors
    /// When the task is unknown or not attached to a client, another client is attached, or the link breaks.
    pub async fn attach(
        &self,
        task: TaskId,
        by: Attacher,
        received: Option<ReceivedOutput>,
        resends: u64,
    ) -> Result<Attachment, ClientError> {
        let Attacher { client, takes_over } = by;
        let request = Request::Attach { task, client, takes_over, received, resends };
        let (send, mut recv) = self.open(&request).await?;
        streaming(&mut recv, "attach").await?;
        Ok(Attachment::new(send, recv, received.map_or(0, |received| received.bytes)))
    }

    /// Becomes the client of a job, for as long as what is returned lives.
    ///
    /// # Errors
    /// When the job is somebody else's, another client is attached, or the link breaks.
    pub async fn attend(&self, job: JobId, by: Attacher) -> Result<AttendedJob, ClientError> {
        let Attacher { client, takes_over } = by;
        let (send, mut recv) = self.open(&Request::Attend { job, client, takes_over }).await?;
        match recv.recv(MAX_FRAME).await?.ok_or(ClientError::NoReply)? {
            Reply::Done { .. } => Ok(AttendedJob::new(send, recv)),
            other => Err(unexpected("attend", other)),
        }
    }

    /// Output of tasks, stored or live.
    ///
    /// # Errors
    /// When a task is unknown or somebody else's, or the link breaks.
    pub async fn logs(&self, of: Selector, follow: bool, attempt: Option<AttemptNo>) -> Result<LogStream, ClientError> {
        let (send, mut recv) = self.open(&Request::Logs(LogRequest { of, follow, attempt })).await?;
        streaming(&mut recv, "logs").await?;
        Ok(LogStream::new(send, recv))
    }

    /// Ends jobs or tasks: of `all` this client's own, of `Everyone` those of every owner.
    ///
    /// # Errors
    /// When one is unknown or another owner's, everyone's are meant by a client that is no admin, or the link breaks.
    pub async fn cancel(&self, what: Selector, why: Cancellation) -> Result<Changes, ClientError> {
        self.ask_changes("cancel", &Request::Cancel { what, why }).await
    }

    /// Queues failed (and, unless `failed_only`, cancelled) tasks again; means jobs as [`Client::cancel`] does.
    ///
    /// # Errors
    /// As for [`Client::cancel`].
    pub async fn retry(&self, what: Selector, failed_only: bool) -> Result<Changes, ClientError> {
        self.ask_changes("retry", &Request::Retry { what, failed_only }).await
    }

    /// Removes ended jobs with their tasks and logs; means jobs as [`Client::cancel`] does.
    ///
    /// # Errors
    /// As for [`Client::cancel`], and when one has not ended.
    pub async fn forget(&self, what: Selector) -> Result<Changes, ClientError> {
        self.ask_changes("forget", &Request::Forget(what)).await
    }

    /// Jobs by `filter`, newest first.
    ///
    /// # Errors
    /// When a selected job is unknown, or the link breaks.
    pub async fn jobs(&self, filter: JobFilter) -> Result<Vec<JobView>, ClientError> {
        match self.ask(&Request::Jobs(filter)).await? {
            Reply::Jobs(jobs) => Ok(jobs),
            other => Err(unexpected("jobs", other)),
        }
    }

    /// Tasks by `filter`, in order, at most `MAX_ROWS` a call: page by `TaskFilter::after`.
    ///
    /// # Errors
    /// When a selected job or task is unknown, or the link breaks.
    pub async fn tasks(&self, filter: TaskFilter) -> Result<Vec<TaskView>, ClientError> {
        match self.ask(&Request::Tasks(filter)).await? {
            Reply::Tasks(tasks) => Ok(tasks),
            other => Err(unexpected("tasks", other)),
        }
    }

    /// Why tasks do not run.
    ///
    /// # Errors
    /// When one is unknown or somebody else's, or the link breaks.
    pub async fn explain(&self, what: Selector) -> Result<Vec<Explanation>, ClientError> {
        match self.ask(&Request::Explain(what)).await? {
            Reply::Explained(explanations) => Ok(explanations),
            other => Err(unexpected("explain", other)),
        }
    }

    /// The roster.
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn workers(&self) -> Result<Vec<WorkerView>, ClientError> {
        match self.ask(&Request::Workers).await? {
            Reply::Workers(workers) => Ok(workers),
            other => Err(unexpected("workers", other)),
        }
    }

    /// Who hears whom by beacon.
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn peers(&self) -> Result<Vec<PeerView>, ClientError> {
        match self.ask(&Request::Peers).await? {
            Reply::Peers(peers) => Ok(peers),
            other => Err(unexpected("peers", other)),
        }
    }

    /// How every node reaches and hears every other one; takes a few seconds.
    ///
    /// # Errors
    /// When another examination is under way, or the link breaks.
    pub async fn examine(&self) -> Result<Examination, ClientError> {
        match self.ask(&Request::Examine).await? {
            Reply::Examined(found) => Ok(*found),
            other => Err(unexpected("an examination", other)),
        }
    }

    /// The cluster on one screen.
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        match self.ask(&Request::Status).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected("status", other)),
        }
    }

    async fn ask_done(&self, what: &'static str, request: &Request) -> Result<u64, ClientError> {
        match self.ask(request).await? {
            Reply::Done { affected } => Ok(affected),
            other => Err(unexpected(what, other)),
        }
    }

    async fn ask_changes(&self, what: &'static str, request: &Request) -> Result<Changes, ClientError> {
        match self.ask(request).await? {
            Reply::Changed(changes) => Ok(changes),
            other => Err(unexpected(what, other)),
        }
    }

    /// One request, one reply.
    async fn ask(&self, request: &Request) -> Result<Reply, ClientError> {
        let (_send, mut recv) = self.open(request).await?;
        recv.recv(MAX_FRAME).await?.ok_or(ClientError::NoReply)
    }

    async fn open(&self, request: &Request) -> Result<(FrameSend, FrameRecv), ClientError> {
        let (mut send, recv) = self.link.open_bi().await?;
        send.send(request).await?;
        Ok((send, recv))
    }
}

/// Waits for the word that data frames follow.
async fn streaming(recv: &mut FrameRecv, what: &'static str) -> Result<(), ClientError> {
    match recv.recv::<Reply>(MAX_FRAME).await? {
        Some(Reply::Streaming) => Ok(()),
        Some(other) => Err(unexpected(what, other)),
        None => Err(ClientError::NoReply),
    }
}

fn unexpected(what: &'static str, reply: Reply) -> ClientError {
    match reply {
        Reply::Failed(failure) => ClientError::Failed(failure),
        _ => ClientError::UnexpectedReply(what),
    }
}
