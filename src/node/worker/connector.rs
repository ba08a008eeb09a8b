//! The way to the dispatcher and back again: dials until it is let in, carries
//! messages while the link lives, and starts over when it has gone.
//!
//! The one invariant: it never gives up by itself except where waiting cannot
//! help; a person reads one line about every change of the situation and none
//! about its lasting. Absent: what the messages mean (the engine's).

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::dial::{DialError, Dialled, Dialler, ExpectedBy, Found, Held, Joined};
use super::examine::Examiner;
use super::files::TrafficNews;
use super::gossip::Gossip;
use super::join::{Applicant, WaitEnd};
use super::mesh::{Mesh, MeshNews};
use super::reads::{FilesSlot, serve_reads};
use super::shell::{Event, Outgoing, Up};
use super::ways::FolderPath;
use crate::discovery::Standing;
use crate::exec::Executor;
use crate::model::Millis;
use crate::model::handshake::{Refusal, RefusalCode};
use crate::model::limits::{MAX_FRAME, SUSPECT_AFTER};
use crate::model::messages::{DispatcherMessage, WorkerMessage};
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
/// Dispatchers that are named when several are heard.
const MOST_NAMED: usize = 4;
/// How long a worker that stops waits for the dispatcher to have read its last words.
const FAREWELL: Duration = Duration::from_millis(500);

/// Keeps a worker connected.
pub(super) struct Connector {
    pub(super) dialler: Dialler,
    pub(super) applicant: Applicant,
    pub(super) executor: Executor,
    /// What the dispatcher may read of files.
    pub(super) files: FilesSlot,
    /// To the shell.
    pub(super) events: mpsc::Sender<Event>,
    /// The current link, for those who open streams of their own on it.
    pub(super) live: watch::Sender<Option<Link>>,
    /// Direct links, which are there when the dispatcher wants them.
    pub(super) mesh: Mesh,
    /// Raised when the shell has said its last: the link is closed in order then.
    pub(super) leave: Shutdown,
    pub(super) pauses: Pauses,
    /// The situation that a person was last told about.
    pub(super) told: Option<String>,
    /// Since the last link it was said that another dispatcher answers.
    pub(super) told_of_another: bool,
    /// Since when another process with this worker's key is said to be connected.
    pub(super) in_use_since: Option<Instant>,
}

/// How long to wait before the next try.
pub(super) struct Pauses {
    /// After the next failure to reach anybody.
    next: Duration,
    /// Links in a row that another worker with the same key took the place of.
    superseded: u32,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { next: FIRST_PAUSE, superseded: 0 }
    }

    /// After a failure to reach anybody: a little longer every time.
    fn grow(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        pause
    }
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
        loop {
            let tried = unless_left(&leave, self.dialler.dial()).await?;
            let next = match tried {
                Ok(Dialled::Welcome(joined)) => self.work(joined).await?,
                Ok(Dialled::Waiting(held)) => unless_left(&leave, self.ask(held)).await?,
                Err(error) => self.failed(error),
            };
            match next {
                Ok(pause) => unless_left(&leave, tokio::time::sleep(pause)).await?,
                Err(error) => return Some(error),
            }
        }
    }

    /// Serves a link to its end, and says how long to wait for the next one; `None` when the shell has left.
    async fn work(&mut self, joined: Joined) -> Option<Result<Duration, NodeError>> {
        (self.pauses.next, self.told, self.told_of_another) = (FIRST_PAUSE, None, false);
        if let Err(error) = self.mesh.open(joined.dispatcher, &joined.welcome).await {
            return Some(Err(error));
        }
        self.stand_with(&joined);
        let since = Instant::now();
        let end = self.serve(joined).await;
        self.live.send_replace(None);
        if self.leave.is_raised() {
            return None;
        }
        if matches!(end, LinkEnd::ByPeer { code: CloseCode::Revoked, .. }) {
            return Some(Err(self.revoked()));
        }
        tracing::warn!("Lost the dispatcher ({end}); what runs goes on, waiting for it to come back");
        self.events.send(Event::Down).await.ok()?;
        if since.elapsed() >= GOOD_LINK {
            self.pauses.superseded = 0;
        }
        if !matches!(end, LinkEnd::ByPeer { code: CloseCode::Superseded, .. }) {
            // Usually it is back at once; if not, the pauses grow.
            return Some(Ok(FIRST_PAUSE));
        }
        self.pauses.superseded += 1;
        let gives_way = self.pauses.superseded >= MOST_SUPERSEDED;
        Some(if gives_way { Err(NodeError::Superseded) } else { Ok(REFUSED_PAUSE) })
    }

    /// Waits for approval, and says how long to wait for the next try.
    async fn ask(&mut self, held: Held) -> Result<Duration, NodeError> {
        self.pauses.next = FIRST_PAUSE;
        // There is somebody to wait for.
        self.dialler.knowledge.stand(Standing::Listening);
        let (address, found) = (held.address, held.found);
        self.tell(&match found {
            Found::Before => format!(
                "The dispatcher at {address} no longer knows this worker (was its store reset?); asking to join again"
            ),
            Found::There => format!("The dispatcher at {address} is not known here yet; asking to join it"),
            Found::Heard => format!("Heard a dispatcher at {address}, which is not known here yet; asking to join it"),
        });
        match self.applicant.wait(held, &self.dialler.knowledge).await {
            WaitEnd::Approved => {
                self.told = None;
                Ok(Duration::ZERO)
            }
            WaitEnd::AccessAppeared => Ok(Duration::ZERO),
            WaitEnd::Burnt => {
                self.told = None;
                Ok(REFUSED_PAUSE)
            }
            // Of one that was only heard this means nothing.
            WaitEnd::Lost(LinkEnd::ByPeer { code: CloseCode::Revoked, .. }) if found != Found::Heard => {
                Err(self.revoked())
            }
            WaitEnd::Lost(end) => {
                self.tell(&format!("Lost the dispatcher at {address} ({end}) while waiting for its approval"));
                Ok(FIRST_PAUSE)
            }
            WaitEnd::Failed(error) => Err(error.into()),
        }
    }

    /// What a failed try means.
    fn failed(&mut self, error: DialError) -> Result<Duration, NodeError> {
        let let_in = self.dialler.let_in;
        if !let_in {
            self.dialler.knowledge.stand(Standing::Seeking { name: self.dialler.name() });
        }
        match error {
            DialError::Refused(refusal) if refusal.code == RefusalCode::Revoked => Err(self.revoked()),
            // Somebody who starts a second worker of a name has made a mistake, and is to hear of it; one whose
            // tasks run already waits for its name.
            DialError::Refused(refusal) if refusal.code == RefusalCode::NameTaken && !let_in => {
                Err(NodeError::Refused(refusal))
            }
            // Whoever starts a copy of a key folder has to hear of it. A process whose predecessor was killed a moment
            // ago only looks like one, and until that is silent for long enough.
            DialError::Refused(refusal) if refusal.code == RefusalCode::KeyInUse && !let_in => {
                let since = *self.in_use_since.get_or_insert_with(Instant::now);
                if since.elapsed() > SUSPECT_AFTER.as_duration() {
                    return Err(self.key_in_use(refusal));
                }
                self.tell(&refused_for_now(&refusal));
                Ok(REFUSED_PAUSE)
            }
            DialError::Refused(refusal) if refusal.code == RefusalCode::KeyInUse => {
                let error = self.key_in_use(refusal);
                if !std::mem::replace(&mut self.told_of_another, true) {
                    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                    tracing::error!("Waiting for the dispatcher: failed to {error}{hint}");
                }
                Ok(REFUSED_PAUSE)
            }
            DialError::Refused(refusal) if refusal.code.is_temporary() => {
                self.tell(&refused_for_now(&refusal));
                Ok(REFUSED_PAUSE)
            }
            DialError::Refused(refusal) => Err(NodeError::Refused(refusal)),
            DialError::Trust(error) if !let_in => Err(error.into()),
            DialError::NoSocket(error) if !let_in => Err(error.into()),
            DialError::OtherKey { address, expected_by: ExpectedBy::Pin | ExpectedBy::Token } => {
                let other = NodeError::OtherDispatcher { address, pin: self.pin_to_remove(&error) };
                if !let_in {
                    return Err(other);
                }
                if !std::mem::replace(&mut self.told_of_another, true) {
                    let hint = other.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                    tracing::error!("Waiting for the dispatcher: failed to {other}{hint}");
                }
                Ok(self.pauses.grow())
            }
            other => {
                self.tell(&waiting_for(&other));
                Ok(self.pauses.grow())
            }
        }
    }

    /// Says by beacon where this worker belongs from now on, or nothing at all where that is not wanted.
    fn stand_with(&self, joined: &Joined) {
        let welcome = &joined.welcome;
        self.dialler.knowledge.stand(if welcome.p2p {
            let listens = self.mesh.listens();
            Standing::Member { cluster: joined.dispatcher, name: welcome.name.clone(), listens }
        } else {
            Standing::Off
        });
    }

    /// The file that has to go before another dispatcher is asked for approval.
    fn pin_to_remove(&self, error: &DialError) -> Option<PathBuf> {
        match error {
            DialError::OtherKey { expected_by: ExpectedBy::Pin, .. } => self.dialler.knowledge.pin_file(),
            _ => None,
        }
    }

    fn key_in_use(&self, refusal: Refusal) -> NodeError {
        NodeError::KeyInUse { text: refusal.text, folder: self.dialler.knowledge.folder.as_ref().map(FolderPath::get) }
    }

    fn revoked(&self) -> NodeError {
        NodeError::Revoked { folder: self.dialler.knowledge.folder.as_ref().map(FolderPath::get) }
    }

    /// Carries messages both ways until the link ends.
    async fn serve(&mut self, joined: Joined) -> LinkEnd {
        let Joined { dispatcher, address, link, welcome, mut send, mut recv } = joined;
        let silence = longest_silence(welcome.heartbeat_interval);
        let hearing = self.dialler.knowledge.hearing.clone().filter(|_| welcome.p2p);
        let examiner = Examiner { mesh: self.mesh.clone(), hearing: hearing.clone() };
        let news =
            welcome.p2p.then(|| News { heard: hearing.map(Gossip::new), mesh: MeshNews::new(self.mesh.clone()) });
        let traffic = TrafficNews::new(self.files.clone());
        let (outgoing, batches) = mpsc::channel(OUTGOING_QUEUE);
        self.live.send_replace(Some(link.clone()));
        let up = Up { dispatcher, address, welcome, outgoing };
        if self.events.send(Event::Up(Box::new(up))).await.is_err() {
            return LinkEnd::ByUs;
        }
        let end = tokio::select! {
            error = read(&mut recv, &self.events, &self.mesh, silence) => error,
            error = write(&mut send, batches, news, traffic, &link) => error,
            error = serve_reads(&link, &self.executor, &self.files, &examiner) => error,
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

/// What a worker tells by itself of the others of its cluster, on one link to the dispatcher.
struct News {
    /// `None` where no beacons are heard.
    heard: Option<Gossip>,
    mesh: MeshNews,
}

impl News {
    /// Waits for something to tell. May be dropped while it waits.
    async fn next(&mut self) -> WorkerMessage {
        let heard = async {
            match &mut self.heard {
                Some(gossip) => gossip.news().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = heard => WorkerMessage::Neighbours(heard),
            told = self.mesh.next() => told,
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

/// Silence of a dispatcher that asked for heartbeats at this interval, after which its link is given up: three
/// of them, and not less than those of the usual interval, because a busy dispatcher echoes late.
fn longest_silence(interval: Millis) -> Duration {
    Millis(interval.0.saturating_mul(3)).max(SUSPECT_AFTER).as_duration()
}

/// Hands the dispatcher's messages to the shell until the stream ends or falls silent.
///
/// The dispatcher echoes every heartbeat, so `silence` of several intervals means
/// that it is gone, or has forgotten this link, long before QUIC notices.
async fn read(recv: &mut FrameRecv, events: &mpsc::Sender<Event>, mesh: &Mesh, silence: Duration) -> TransportError {
    loop {
        let received = tokio::time::timeout(silence, recv.recv::<DispatcherMessage>(MAX_FRAME));
        let event = match received.await {
            Ok(Ok(Some(DispatcherMessage::Roster(signed)))) => {
                mesh.show(&signed);
                continue;
            }
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
async fn write(
    send: &mut FrameSend,
    mut batches: mpsc::Receiver<Outgoing>,
    mut news: Option<News>,
    mut traffic: TrafficNews,
    link: &Link,
) -> TransportError {
    // What the worker holds has to come first.
    let mut began = false;
    loop {
        let told = async {
            match &mut news {
                Some(news) if began => news.next().await,
                _ => std::future::pending().await,
            }
        };
        let sent = tokio::select! {
            batch = batches.recv() => match batch {
                Some(batch) => send.send_all(&batch).await,
                None => break,
            },
            told = told => send.send(&told).await,
            moved = traffic.next(), if began => send.send(&WorkerMessage::Moved(moved)).await,
        };
        if let Err(error) = sent {
            return error;
        }
        began = true;
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
            "Waiting for a dispatcher: none has been started here yet ({} does not exist), and none is heard by beacon",
            access_file.display()
        ),
        DialError::SeveralHeard(offers) => {
            let places = offers.iter().take(MOST_NAMED).filter_map(|offer| offer.addresses.first());
            let places: Vec<String> = places.map(|at| format!("--dispatcher {at}")).collect();
            format!("Waiting for a dispatcher: several are heard; choose one with {}", places.join(" or "))
        }
        DialError::HeardRefused { address, refusal } => {
            // Its words are those of a stranger.
            let text: String = refusal.text.chars().filter(|c| !c.is_control()).take(200).collect();
            format!("Heard a dispatcher at {address}, which does not take this worker: {text}")
        }
        DialError::Unreachable { tried } => {
            let places: Vec<String> = tried.iter().map(ToString::to_string).collect();
            format!("Waiting for the dispatcher at {}: it does not answer", places.join(" or "))
        }
        DialError::UnknownHost { host, source } => {
            format!("Waiting for the dispatcher: the host {host:?} cannot be found ({source})")
        }
        DialError::OtherKey { address, .. } => {
            format!("Waiting for the dispatcher: what answers at {address} is not the one of this home")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dispatcher_that_asks_for_rare_heartbeats_may_be_silent_for_three_of_them() {
        assert_eq!(longest_silence(Millis::from_secs(30)), Duration::from_secs(90));
        assert_eq!(longest_silence(Millis(1)), SUSPECT_AFTER.as_duration());
        assert!(longest_silence(Millis(u64::MAX)) > Duration::from_secs(1 << 40));
    }
}
