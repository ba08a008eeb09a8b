//! The dispatcher's shell: a process that keeps the queue, hands tasks to
//! workers and answers clients.
//!
//! The one invariant: a message leaves only when the records of its batch are
//! written, and where the engine asks for it, synced; so a killed dispatcher
//! forgets nothing that it has said. Deliberately absent: which task goes where
//! and who may do what (the dispatcher engine's), and how rows are kept
//! (`store`'s).
//!
//! The files, along the way of a submission: `admission` lets a client in,
//! `client_link` takes its stream, `requests` reads it and puts it to the
//! engine, `turn` tells the engine and appends its records, `release` holds the
//! reply until they are synced, `ports` hands it out. `worker_link` carries
//! assignments and results; `relay`, `logs` and `log_files` carry output.
//! Who waits for approval is in `joining`, what admins ask in `administration`,
//! and what is told of those who were kept out in `refusals`. Who hears whom by
//! beacon is in `neighbourhood`; `roster` tells workers who their peers are.

mod administration;
mod admission;
mod bulk;
mod chronicle;
mod client_link;
mod directory;
mod event;
mod examine;
mod files;
mod granting;
mod history;
mod joining;
mod live;
mod log_files;
mod logs;
mod neighbourhood;
mod notary;
mod options;
mod outlet;
mod ports;
mod progress;
mod pump;
mod refusals;
mod relay;
mod release;
mod repeat_mark;
mod requests;
mod retention;
mod roster;
mod shell;
mod skip;
mod start;
mod stored;
mod turn;
mod worker_link;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use options::{DISCOVERY_PORT, DISPATCHER_PORT, DispatcherOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, info};

use self::event::{EVENT_QUEUE, Event};
use self::shell::Shell;
use super::{Clock, NodeError, Shutdown, addresses};
use crate::discovery::Discovery;
use crate::exec::DescriptorLimit;
use crate::model::NodeId;
use crate::store::Store;
use crate::transport::Endpoint;
use crate::trust::{AccessFile, Home, NodeDir, access};

/// How long a stop waits for the disk; then it fails instead of hanging.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// How long a stop waits until links have written their last words.
const LINK_PATIENCE: Duration = Duration::from_secs(1);

/// Runs a dispatcher until `shutdown` is raised or it cannot go on.
///
/// # Errors
/// When it cannot start (home, identity, store, port) or cannot go on (its store failed).
pub async fn run(options: DispatcherOptions, shutdown: Shutdown) -> Result<(), NodeError> {
    let mut running = start(options).await?;
    let failed = tokio::select! {
        () = shutdown.raised() => None,
        failed = running.failed() => Some(failed),
    };
    match failed {
        None => {
            info!("Stopping");
            running.stop().await
        }
        Some(failed) => {
            running.give_up().await;
            Err(failed)
        }
    }
}

/// Starts a dispatcher that runs on the tokio runtime of the caller until it is stopped.
///
/// # Errors
/// When it cannot start (home, identity, store, port).
pub async fn start(options: DispatcherOptions) -> Result<Running, NodeError> {
    DescriptorLimit::raise();
    let clock = Clock::anchored_now();
    let to_open = options.clone();
    let opening = tokio::task::spawn_blocking(move || start::open(&to_open, clock));
    let opened = opening.await.map_err(|_| NodeError::Crashed("the start of the dispatcher"))??;
    let start::Opened { folder, access_file, identity, access, endpoint, store, progress, engine, log_files, files } =
        opened;
    let node = identity.id();
    let identity = Arc::new(identity);

    let (events, queue) = mpsc::channel(EVENT_QUEUE);
    let has_links = options.p2p_enabled && !options.embedded;
    // The first roster names everybody: whoever is missing on one loses its links.
    let uptime = engine.uptime();
    let (epoch, members) = (engine.epoch(), watch::Sender::new(Arc::new(turn::enrolled(&engine))));
    let enrolled = members.subscribe();
    let shell = Arc::new(Shell {
        events,
        history: history::History::new(store.clone(), progress.barrier.clone()),
        live: live::Live::default(),
        directory: directory::Directory::new(),
        log_files: log_files.clone(),
        files: files.clone(),
        access: access.clone(),
        address: endpoint.local_addr(),
        stopping: Shutdown::new(),
        links: watch::Sender::new(0),
        numbers: shell::Numbers::default(),
        joiners: joining::Joiners::default(),
        neighbourhood: neighbourhood::Neighbourhood::new(node, clock),
        granter: granting::Granter::new(has_links.then(|| Arc::clone(&identity)), clock),
        enrolled: enrolled.clone(),
        examining: tokio::sync::Mutex::new(()),
        discovery_port: has_links.then_some(options.discovery_port),
        roster: Arc::new(roster::RosterDesk::new()),
        refusals: refusals::Refusals::new("connections were refused"),
        knocks: refusals::Refusals::new("workers asked to join"),
    });
    let turns = turn::Turns {
        clock,
        engine,
        store: store.clone(),
        progress,
        events: queue,
        live: shell.live.clone(),
        log_files,
        files,
        chronicle: chronicle::Chronicle::default(),
        release: release::Release::new(),
        ports: ports::Ports::default(),
        notary: notary::Notary::new(Arc::clone(&identity), Arc::clone(&shell.roster)),
        members,
    };
    let endpoint = Arc::new(endpoint);
    if !options.embedded {
        access::write(&access_file, &access)?;
        greet(&options, endpoint.local_addr());
    }
    let discovery = neighbourhood::listen(&options, Arc::clone(&identity), &shell);
    let rostering = has_links.then(|| tokio::spawn(roster::keep(Arc::clone(&shell), identity, clock, epoch, enrolled)));
    let turns = tokio::spawn(turns.run());
    let accepting = tokio::spawn(admission::accept_links(Arc::clone(&shell), Arc::clone(&endpoint)));
    let limits = retention::Retention { jobs: options.retention, log_bytes: options.log_space };
    let keeping = tokio::spawn(retention::keep(Arc::clone(&shell), clock, uptime, limits));
    let (embedded, store) = (options.embedded, Some(store));
    Ok(Running {
        node,
        access,
        access_file,
        shell,
        endpoint,
        embedded,
        store,
        turns,
        accepting,
        discovery,
        keeping,
        rostering,
        _folder: folder,
    })
}

/// Says where it listens and how to add a worker.
fn greet(options: &DispatcherOptions, address: SocketAddr) {
    info!("Dispatcher listening on {address}");
    // The worker finds key, port and secret in the home's access file.
    let is_default = Home::locate(None).is_ok_and(|home| home.root() == options.home);
    let home = if is_default { String::new() } else { format!(" --home {}", options.home.display()) };
    info!("Add a worker on this machine with: octaskly worker{home}");
    match addresses::reachable_at(address).first() {
        Some(host) => {
            let port =
                if address.port() == DISPATCHER_PORT { String::new() } else { format!(" --port {}", address.port()) };
            info!("Add one on another machine with: octaskly worker --dispatcher {host}{port}");
            info!("It asks to be approved here, once; with what octaskly token create{home} prints it need not ask");
        }
        None => info!("Other machines cannot reach it; --bind 0.0.0.0 lets them"),
    }
}

/// A dispatcher that runs in this process. Dropping it kills it: nothing is flushed, as by `kill -9`.
pub struct Running {
    node: NodeId,
    access: AccessFile,
    access_file: PathBuf,
    shell: Arc<Shell>,
    endpoint: Arc<Endpoint>,
    embedded: bool,
    /// Taken by whoever closes it.
    store: Option<Store>,
    turns: JoinHandle<Result<(), NodeError>>,
    accepting: JoinHandle<()>,
    /// `None` where it is off, and once it has ended.
    discovery: Option<Discovery>,
    keeping: JoinHandle<()>,
    /// `None` where there are no direct links.
    rostering: Option<JoinHandle<()>>,
    /// Its lock goes last.
    _folder: NodeDir,
}

impl Running {
    /// Where it listens, with the port that was really given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    /// Its key.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// What it wrote into its access file.
    #[must_use]
    pub fn access(&self) -> &AccessFile {
        &self.access
    }

    /// Waits until it cannot go on and says why; never returns while all is well.
    pub async fn failed(&mut self) -> NodeError {
        match (&mut self.turns).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => NodeError::Crashed("the engine's loop"),
        }
    }

    /// Stops it cleanly: refuses newcomers, tells its links, syncs the store, removes the access file.
    /// Takes a few seconds at most, whatever its peers do.
    ///
    /// # Errors
    /// When the store failed before or while it was closed.
    pub async fn stop(mut self) -> Result<(), NodeError> {
        self.shell.stopping.raise();
        self.keeping.abort();
        self.rostering.iter().for_each(JoinHandle::abort);
        let removed = access::remove(&self.access_file);
        if let Some(discovery) = self.discovery.take() {
            discovery.stop().await;
        }
        let written = self.wind_up().await;
        let mut links = self.shell.links.subscribe();
        let _ = timeout(LINK_PATIENCE, links.wait_for(|links| *links == 0)).await;
        // An embedded one has no peers outside its process.
        let farewell = if self.embedded { Duration::from_millis(5) } else { LINK_PATIENCE };
        let _ = timeout(farewell, self.endpoint.close("the dispatcher is stopping")).await;
        self.accepting.abort();
        written?;
        if let Some(store) = self.store.take() {
            self.shell.history.close_idle();
            let closing = tokio::task::spawn_blocking(move || store.close());
            match timeout(DISK_PATIENCE, closing).await {
                Ok(Ok(closed)) => closed?,
                Ok(Err(_)) => return Err(NodeError::Crashed("the store")),
                Err(_) => return Err(NodeError::DiskStuck),
            }
        }
        Ok(removed?)
    }

    /// Lets the engine's loop finish what it has taken.
    async fn wind_up(&mut self) -> Result<(), NodeError> {
        let (done, finished) = oneshot::channel();
        let winding_up = async {
            self.shell.tell(Event::Stop(done)).await;
            let _ = finished.await;
            match (&mut self.turns).await {
                Ok(result) => result,
                Err(_) => Err(NodeError::Crashed("the engine's loop")),
            }
        };
        timeout(DISK_PATIENCE, winding_up).await.unwrap_or(Err(NodeError::DiskStuck))
    }

    /// After a failure: tells the links and removes the access file. The store is left as it is.
    async fn give_up(mut self) {
        self.shell.stopping.raise();
        if let Some(discovery) = self.discovery.take() {
            discovery.stop().await;
        }
        if let Err(error) = access::remove(&self.access_file) {
            error!("The access file stays behind: failed to {error}");
        }
        self.endpoint.close("the dispatcher cannot go on").await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.turns.abort();
        self.accepting.abort();
        self.keeping.abort();
        self.rostering.iter().for_each(JoinHandle::abort);
    }
}
