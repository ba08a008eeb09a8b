//! The way to the dispatcher and back again: dials until it is let in, carries
//! messages while the link lives, and starts over when it has gone.
//!
//! The one invariant: it never gives up by itself except where waiting cannot
//! help; a person reads one line about every change of the situation and none
//! about its lasting. Absent: what the messages mean (the engine's).

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::dial::{DialError, Dialler, Joined};
use super::logs::serve_reads;
use super::shell::{Event, Outgoing, Up};
use crate::exec::Executor;
use crate::model::InstanceId;
use crate::model::handshake::{Credential, Hello, Intent, Refusal};
use crate::model::limits::{MAX_FRAME, PROTOCOL_OLDEST, PROTOCOL_VERSION, SUSPECT_AFTER};
use crate::model::messages::DispatcherMessage;
use crate::model::node::WorkerProfile;
use crate::node::{NodeError, Shutdown};
use crate::transport::{CloseCode, FrameRecv, FrameSend, Link, LinkEnd, TransportError};

/// First pause after a dispatcher could not be reached; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Pause after a refusal that may pass (the cluster is full, the name is still taken).
const REFUSED_PAUSE: Duration = Duration::from_secs(3);
/// Batches of messages between the shell and its link: one being sent, one ready.
const OUTGOING_QUEUE: usize = 2;
/// A link that lived this long was a good one, however it ended.
const GOOD_LINK: Duration = Duration::from_secs(60);
/// Links in a row that another worker with the same key took the place of, after which this one gives way.
const MOST_SUPERSEDED: u32 = 3;
/// How long a worker that stops waits for the dispatcher to have read its last words.
const FAREWELL: Duration = Duration::from_millis(500);

/// Keeps a worker connected.
pub(super) struct Connector {
    pub(super) dialler: Dialler,
    pub(super) profile: WorkerProfile,
    pub(super) instance: InstanceId,
    pub(super) executor: Executor,
    /// To the shell.
    pub(super) events: mpsc::Sender<Event>,
    /// The current link, for those who open streams of their own on it.
    pub(super) live: watch::Sender<Option<Link>>,
    /// Raised when the shell has said its last: the link is closed in order then.
    pub(super) leave: Shutdown,
    /// The situation that a person was last told about.
    pub(super) told: Option<String>,
}

impl Connector {
    /// Runs until `leave` is raised, or until the dispatcher says that waiting will not help.
    pub(super) async fn run(mut self) {
        if let Some(error) = self.stay_connected().await {
            // The shell is gone already when nobody listens.
            let _ = self.events.send(Event::Fatal(error)).await;
        }
        self.live.send_replace(None);
        self.dialler.close("the worker stops").await;
    }

    /// Returns only with a reason not to go on, or `None` when the shell has left.
    async fn stay_connected(&mut self) -> Option<NodeError> {
        let leave = self.leave.clone();
        let mut pause = FIRST_PAUSE;
        let mut joined_before = false;
        let mut superseded = 0;
        loop {
            let (profile, instance) = (&self.profile, self.instance);
            let dial = self.dialler.dial(|access| hello(profile, instance, Credential::Access(access.secret)));
            let wait = match unless_left(&leave, dial).await? {
                Ok(joined) => {
                    (pause, joined_before, self.told) = (FIRST_PAUSE, true, None);
                    let since = Instant::now();
                    let end = self.serve(joined).await;
                    self.live.send_replace(None);
                    if leave.is_raised() {
                        return None;
                    }
                    tracing::warn!("Lost the dispatcher ({end}); what runs goes on, waiting for it to come back");
                    self.events.send(Event::Down).await.ok()?;
                    if since.elapsed() >= GOOD_LINK {
                        superseded = 0;
                    }
                    if matches!(end, LinkEnd::ByPeer { code: CloseCode::Superseded, .. }) {
                        superseded += 1;
                        if superseded >= MOST_SUPERSEDED {
                            return Some(NodeError::Superseded);
                        }
                        REFUSED_PAUSE
                    } else {
                        // Usually it is back at once; if not, the pauses grow.
                        FIRST_PAUSE
                    }
                }
                Err(DialError::Refused(refusal)) if refusal.code.is_temporary() => {
                    self.tell(&refused_for_now(&refusal));
                    REFUSED_PAUSE
                }
                Err(DialError::Refused(refusal)) => return Some(NodeError::Refused(refusal)),
                Err(DialError::Trust(error)) if !joined_before => return Some(error.into()),
                Err(DialError::NoSocket(error)) if !joined_before => return Some(error.into()),
                Err(other) => {
                    self.tell(&waiting_for(&other));
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    wait
                }
            };
            unless_left(&leave, tokio::time::sleep(wait)).await?;
        }
    }

    /// Carries messages both ways until the link ends.
    async fn serve(&mut self, joined: Joined) -> LinkEnd {
        let Joined { dispatcher, address, link, welcome, mut send, mut recv } = joined;
        let (outgoing, batches) = mpsc::channel(OUTGOING_QUEUE);
        self.live.send_replace(Some(link.clone()));
        let up = Up { dispatcher, address, welcome, outgoing };
        if self.events.send(Event::Up(Box::new(up))).await.is_err() {
            return LinkEnd::ByUs;
        }
        let end = tokio::select! {
            error = read(&mut recv, &self.events) => error,
            error = write(&mut send, batches, &link) => error,
            error = serve_reads(&link, &self.executor) => error,
        };
        let end = match end {
            TransportError::LinkLost(end) => end,
            // The stream broke alone: this link is of no more use, a new one may be.
            other => LinkEnd::Broken(error_text(&other)),
        };
        // Others may still hold it and would wait for it in vain.
        link.close(CloseCode::Done, "the link is of no more use");
        end
    }

    /// Says what the situation is, unless that was the last thing said.
    fn tell(&mut self, situation: &str) {
        if self.told.as_deref() != Some(situation) {
            tracing::info!("{situation}");
            self.told = Some(situation.to_owned());
        }
    }
}

/// Waits for `work`, but no longer than until the shell has left.
async fn unless_left<T>(leave: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = leave.raised() => None,
    }
}

/// What a worker says first.
pub(super) fn hello(profile: &WorkerProfile, instance: InstanceId, credential: Credential) -> Hello {
    Hello {
        protocol_oldest: PROTOCOL_OLDEST,
        protocol_newest: PROTOCOL_VERSION,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        instance,
        intent: Intent::Worker(profile.clone()),
        credential,
    }
}

/// Hands the dispatcher's messages to the shell until the stream ends or falls silent.
///
/// The dispatcher echoes every heartbeat, so silence of three intervals means
/// that it is gone, or has forgotten this link, long before QUIC notices.
async fn read(recv: &mut FrameRecv, events: &mpsc::Sender<Event>) -> TransportError {
    loop {
        let received = tokio::time::timeout(SUSPECT_AFTER.as_duration(), recv.recv::<DispatcherMessage>(MAX_FRAME));
        let event = match received.await {
            Ok(Ok(Some(message))) => Event::Said(message),
            Ok(Ok(None)) => return TransportError::StreamClosed,
            Ok(Err(error)) => return error,
            Err(_silence) => return TransportError::LinkLost(LinkEnd::TimedOut),
        };
        if events.send(event).await.is_err() {
            return TransportError::LinkLost(LinkEnd::ByUs);
        }
    }
}

/// Sends what the shell says; once the shell has said its last, ends the stream
/// in order and gives the dispatcher a moment to read it.
async fn write(send: &mut FrameSend, mut batches: mpsc::Receiver<Outgoing>, link: &Link) -> TransportError {
    while let Some(batch) = batches.recv().await {
        if let Err(error) = send.send_all(&batch).await {
            return error;
        }
    }
    if let Err(error) = send.finish().await {
        return error;
    }
    let end = tokio::time::timeout(FAREWELL, link.closed()).await;
    TransportError::LinkLost(end.unwrap_or(LinkEnd::ByUs))
}

fn refused_for_now(refusal: &Refusal) -> String {
    let hint = refusal.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("The dispatcher does not take this worker yet: {}{hint}; asking again every few seconds", refusal.text)
}

fn waiting_for(error: &DialError) -> String {
    match error {
        DialError::NoneKnown { access_file } => format!(
            "Waiting for a dispatcher: none has been started here yet ({} does not exist)",
            access_file.display()
        ),
        DialError::Unreachable { tried, .. } => {
            let places: Vec<String> = tried.iter().map(ToString::to_string).collect();
            format!("Waiting for the dispatcher at {}: it does not answer", places.join(" or "))
        }
        DialError::UnknownHost { host, source } => {
            format!("Waiting for the dispatcher: the host {host:?} cannot be found ({source})")
        }
        DialError::Forsaken => "Waiting for the dispatcher of this process".to_owned(),
        DialError::Trust(error) => format!("Waiting for the dispatcher: failed to {error}"),
        DialError::NoSocket(error) => format!("Waiting for the dispatcher: failed to {error}"),
        DialError::Refused(refusal) => refused_for_now(refusal),
    }
}

/// An error with its causes in one line.
pub(super) fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}
