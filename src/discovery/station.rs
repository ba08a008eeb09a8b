//! What listens and speaks: one task a node, and what the node has of it.
//!
//! Invariant: nothing that happens here ends a node. A port that somebody else
//! has, a network that is gone, a table that is full: each is one warning, and
//! is tried again. Absent: what follows from a neighbour (`node/`, `client/`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::allowance::{Allowance, Bucket, LOG_LINES};
use super::hearing::Hearing;
use super::neighbours::{Heard, Neighbour, Scope, Screened};
use super::schedule::{Roll, Schedule};
use super::twin::Twin;
use super::voice::Voice;
use super::{interfaces, seal, sockets};
use crate::model::{MilliCpu, NodeId, NodeName, Role, Timestamp};
use crate::trust::Identity;
use crate::wire::beacon::{MAX_BEACON_BYTES, SealedBeacon};

/// How often interfaces are looked at anew, and a port that was taken is asked for again.
const RESCAN: Duration = Duration::from_secs(30);

/// What a node says of itself besides its name and cluster.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// What it is.
    pub role: Role,
    /// Processors.
    pub cpu: MilliCpu,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// GPUs.
    pub gpus: u32,
    /// Software version.
    pub software: String,
}

/// Where a node stands, which decides what it says and whom it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It takes no part: no socket is open.
    Off,
    /// It knows where to go, or waits: it says nothing, and keeps dispatchers.
    Listening,
    /// It looks for a dispatcher: it asks who is there, and keeps dispatchers.
    Seeking {
        /// What it would be called.
        name: Option<NodeName>,
    },
    /// It belongs to this dispatcher: it says so, and keeps those who do, too.
    Member {
        /// That dispatcher's key.
        cluster: NodeId,
        /// What it is called there.
        name: NodeName,
        /// Where it listens for links; `None` when it does not.
        listens: Option<SocketAddr>,
    },
}

/// What discovery is told at its start.
pub struct Config {
    /// Signs the beacons.
    pub identity: Arc<Identity>,
    /// `--discovery-port`.
    pub port: u16,
    /// Now, which is also what tells this start from earlier ones.
    pub started_at: Timestamp,
    /// What is said.
    pub announcement: Announcement,
    /// Where the node stands at first.
    pub standing: Standing,
    /// Whether a key is on the roster: such neighbours never give way to others.
    pub is_member: Box<dyn Fn(NodeId) -> bool + Send>,
}

/// Discovery as its node owns it. Dropping it ends it without a goodbye.
pub struct Discovery {
    hearing: Hearing,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Discovery {
    /// Starts to listen and to speak. Needs a tokio runtime. What does not work is said in the log and tried again.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let (me, scope) = (config.identity.id(), scope(&config.standing));
        let hearing = Hearing::start(me, scope, &config.standing, config.started_at);
        let (stop, stopped) = watch::channel(false);
        let mut station = Station::new(config, hearing.clone());
        station.tune();
        let task = tokio::spawn(station.run(stopped));
        Self { hearing, stop, task }
    }

    /// Who was heard.
    #[must_use]
    pub fn hearing(&self) -> Hearing {
        self.hearing.clone()
    }

    /// Says goodbye and ends. Takes no longer than a few datagrams do.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn scope(standing: &Standing) -> Scope {
    match standing {
        Standing::Member { cluster, .. } => Scope::Cluster(*cluster),
        Standing::Off | Standing::Listening | Standing::Seeking { .. } => Scope::Dispatchers,
    }
}

/// The task.
struct Station {
    hearing: Hearing,
    is_member: Box<dyn Fn(NodeId) -> bool + Send>,
    /// This node's key, and whether it is a dispatcher's.
    own: NodeId,
    is_dispatcher: bool,
    twin: Twin,
    standing: watch::Receiver<Standing>,
    wishes: watch::Receiver<u64>,
    voice: Voice,
    schedule: Schedule,
    allowance: Allowance,
    lines: Bucket,
    dice: fastrand::Rng,
    started_at: Timestamp,
    began: Instant,
    port: u16,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    /// It was said that the port is not to be had.
    complained: bool,
}

impl Station {
    fn new(config: Config, hearing: Hearing) -> Self {
        let Config { identity, port, started_at, announcement, standing, is_member } = config;
        let seed = getrandom::u64().unwrap_or(started_at.0);
        Self {
            standing: hearing.shared.standing.subscribe(),
            wishes: hearing.shared.wishes.subscribe(),
            began: hearing.shared.began,
            hearing,
            is_member,
            own: identity.id(),
            is_dispatcher: announcement.role == Role::Dispatcher,
            twin: Twin::default(),
            voice: Voice::new(identity, port, started_at, announcement, standing),
            schedule: Schedule::new(started_at),
            allowance: Allowance::new(started_at),
            lines: Bucket::full(LOG_LINES, started_at),
            dice: fastrand::Rng::with_seed(seed),
            started_at,
            port,
            v4: None,
            v6: None,
            complained: false,
        }
    }

    fn now(&self) -> Timestamp {
        self.hearing.now()
    }

    fn deadline(&self, at: Timestamp) -> Instant {
        self.began + Duration::from_micros(at.0.saturating_sub(self.started_at.0))
    }

    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut rescan = tokio::time::interval_at(Instant::now() + RESCAN, RESCAN);
        let (mut buffer_v4, mut buffer_v6) = ([0; MAX_BEACON_BYTES + 1], [0; MAX_BEACON_BYTES + 1]);
        loop {
            let (is_on, speaks) = (self.voice.is_on(), self.voice.speaks());
            let speak = self.deadline(self.schedule.next());
            let expiry = self.hearing.table().next_expiry().map(|at| self.deadline(at));
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break,
                Ok(()) = self.standing.changed() => self.restand(),
                Ok(()) = self.wishes.changed() => self.speak_now(),
                _ = rescan.tick(), if is_on => self.tune(),
                () = tokio::time::sleep_until(speak), if speaks => self.speak(),
                () = sleep_until(expiry) => self.expire(),
                (length, source) = receive(self.v4.as_ref(), &mut buffer_v4) => self.hear(&buffer_v4[..length], source),
                (length, source) = receive(self.v6.as_ref(), &mut buffer_v6) => self.hear(&buffer_v6[..length], source),
            }
        }
        self.voice.say_goodbye();
    }

    /// Opens what is not open yet, and follows the interfaces as they come and go.
    fn tune(&mut self) {
        if !self.voice.is_on() {
            return;
        }
        let found = interfaces::scan();
        if self.v4.is_none() {
            match sockets::listen_v4(self.port).and_then(UdpSocket::from_std) {
                Ok(socket) => {
                    self.v4 = Some(socket);
                    self.complained = false;
                }
                Err(error) if !std::mem::replace(&mut self.complained, true) => tracing::warn!(
                    "This node hears no beacons: failed to listen on UDP {} ({error}); trying again every {} s. \
                     If another program has that port, choose another with --discovery-port on every node",
                    self.port,
                    RESCAN.as_secs(),
                ),
                Err(_) => {}
            }
        }
        if self.v6.is_none() && self.v4.is_some() && found.iter().any(|interface| !interface.v6.is_empty()) {
            // A machine without IPv6 is no news.
            self.v6 = sockets::listen_v6(self.port).and_then(UdpSocket::from_std).ok();
        }
        for interface in &found {
            let by_v4 = self.v4.as_ref().filter(|_| !interface.v4.is_empty());
            let by_v6 = self.v6.as_ref().filter(|_| !interface.v6.is_empty() && !interface.is_loopback);
            let joined = by_v4.map_or(Ok(()), |socket| sockets::join_v4(&socket2::SockRef::from(socket), interface));
            let joined_v6 = by_v6.map_or(Ok(()), |socket| sockets::join_v6(&socket2::SockRef::from(socket), interface));
            if let Err(error) = joined.and(joined_v6) {
                tracing::debug!(interface = interface.index, "Beacons of one network are not heard: {error}");
            }
        }
        self.hearing.shared.is_listening.send_replace(self.v4.is_some());
        self.voice.follow(found);
    }

    /// The node stands elsewhere from now on.
    fn restand(&mut self) {
        let standing = self.standing.borrow_and_update().clone();
        self.hearing.table().set_scope(scope(&standing));
        self.voice.stand(standing);
        if self.voice.is_on() {
            self.tune();
        } else {
            (self.v4, self.v6) = (None, None);
            self.hearing.shared.is_listening.send_replace(false);
        }
        self.schedule = Schedule::new(self.now());
        self.hearing.changed();
    }

    fn speak(&mut self) {
        let (now, roll) = (self.now(), self.roll());
        if let Some(due) = self.schedule.take(now, roll) {
            self.voice.speak(due);
        }
    }

    /// Somebody examines the network: what has changed about it counts at once.
    fn speak_now(&mut self) {
        self.tune();
        if self.voice.speaks() {
            self.schedule.wanted(self.now());
        }
    }

    fn expire(&mut self) {
        let now = self.now();
        if self.hearing.table().expire(now) {
            self.hearing.changed();
        }
    }

    /// Takes one datagram, cheapest question first.
    fn hear(&mut self, datagram: &[u8], source: SocketAddr) {
        let now = self.now();
        let is_neighbour = self.hearing.table().knows_source(source.ip());
        if !self.allowance.take(now, source.ip(), is_neighbour) {
            return;
        }
        let Ok(sealed) = SealedBeacon::decode(datagram) else { return };
        let Ok(claimed) = sealed.content() else { return };
        if sealed.key == self.own && self.is_dispatcher {
            return self.hear_twin(now, source, &sealed);
        }
        if self.hearing.table().screen(source, sealed.key, &claimed) == Screened::Drop {
            return;
        }
        let Ok((key, beacon)) = seal::open(&sealed) else { return };
        let is_member = (self.is_member)(key);
        let mut table = self.hearing.table();
        let heard = table.hear(now, source, key, &beacon, is_member);
        let (answers, neighbour) = (table.answers(&beacon), table.find(key).cloned());
        drop(table);
        if answers {
            let roll = self.roll();
            self.schedule.asked(now, roll);
        }
        if matches!(heard, Heard::Discovered | Heard::Moved | Heard::Gone) {
            self.hearing.changed();
        }
        if let Some(neighbour) = neighbour {
            self.tell(now, heard, &neighbour);
        }
    }

    /// Somebody speaks with this dispatcher's key: itself, by a loop of the network, or a copy of it.
    fn hear_twin(&mut self, now: Timestamp, source: SocketAddr, sealed: &SealedBeacon) {
        let Ok((_, beacon)) = seal::open(sealed) else { return };
        if self.twin.hears(now, self.started_at, &beacon) {
            tracing::warn!(
                "Another dispatcher with this one's key is heard from {}: its home was copied, and workers and clients \
                 take either for the other. Stop one of them; for a key of its own remove the folder dispatcher/ of its \
                 home",
                source.ip()
            );
        }
    }

    /// The lines that people look for.
    fn tell(&mut self, now: Timestamp, heard: Heard, neighbour: &Neighbour) {
        let told = match heard {
            Heard::Discovered | Heard::Moved | Heard::Refreshed => self.lines.take(now),
            Heard::Gone | Heard::Passed => false,
        };
        if !told {
            return;
        }
        let title = neighbour.title();
        if heard == Heard::Discovered {
            let (cores, memory) = (neighbour.cpu.0 / 1000, neighbour.memory_mb);
            tracing::debug!("[P2P] Discovered peer: {title} (CPU: {cores}, RAM: {memory} MB)");
        } else {
            tracing::debug!(peer = title, "[P2P] Peer resource announcement received");
        }
    }

    fn roll(&mut self) -> Roll {
        Roll(self.dice.u64(0..=Roll::MOST))
    }
}

/// The next datagram; never returns where there is no socket.
async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> (usize, SocketAddr) {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        match socket.recv_from(buffer).await {
            Ok(received) => return received,
            // What the system says here is about earlier datagrams of others; a short pause keeps it from being
            // said in a loop.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
