//! The worker's shell: a process that joins a dispatcher and runs what it is
//! given.
//!
//! ```text
//! connector ── events ──▶ shell ──▶ engine ──▶ effects ──▶ executor, outbox, connector
//!    │                      ▲
//!    └── streams: attached, reads        executor, outbox, user
//! ```
//!
//! The connector asks `ways` whom to expect, `dial` to try, and `join` to wait
//! where nobody knows this worker yet. Direct links to other workers are kept by
//! `mesh`.
//!
//! The one invariant: a result that was reported is repeated until the
//! dispatcher has recorded it, across lost links and restarts of either side.
//! Deliberately absent: which task runs when and what is reported (the worker
//! engine's), and how a process is run and contained (`exec`'s).

mod attached;
mod connector;
mod dial;
mod effects;
mod examine;
mod files;
mod files_ahead;
mod files_turn;
mod gossip;
mod hand_over;
mod holding;
mod join;
pub mod last_words;
mod lease;
mod life;
mod logs;
mod mesh;
mod options;
mod outbox;
mod reads;
mod reports;
mod shell;
mod ways;
mod window;

use std::path::PathBuf;
use std::sync::Arc;

pub use join::ApprovalAsked;
pub use options::{DispatcherAddress, WorkerOptions};
use tokio::sync::watch;

use self::life::Setup;
use self::mesh::Door;
use self::shell::LoopEnd;
use self::ways::{AccessSource, FolderPath, Knowledge};
use super::hardware::Hardware;
use super::{Clock, EndSignal, EndSignals, NodeError, Shutdown};
use crate::discovery::{Announcement, Config, Discovery, Standing};
use crate::exec::DescriptorLimit;
use crate::model::Millis;
use crate::model::node::WorkerProfile;
use crate::model::{NodeName, Role};
use crate::trust::{AccessFile, Home, Identity};

/// Runs a worker until `shutdown` is raised or it cannot go on. Needs a tokio runtime.
///
/// A worker without a dispatcher waits for one; one that no dispatcher knows
/// shows a code and waits until it is approved; a lost dispatcher is waited for
/// while the tasks keep running. Once `shutdown` is raised it gives back what it
/// has not started, ends its tasks, reports them, and returns; a further SIGINT
/// or SIGTERM meanwhile takes away the tasks' time to end by themselves.
///
/// # Errors
/// When it cannot start (home, identity, guard, shim, outbox, an unknown host),
/// the dispatcher refuses it for good or throws it out, or another dispatcher
/// than the one that enrolled it answers.
pub async fn run(options: WorkerOptions, shutdown: Shutdown) -> Result<(), NodeError> {
    ways::check_host(&options.dispatcher).await?;
    let home = Home::locate(Some(options.home.clone()))?;
    let folder = match &options.name {
        Some(name) => home.worker(name)?,
        None => home.unnamed_worker()?,
    };
    let clock = Clock::anchored_now();
    let identity = Arc::new(Identity::load_or_create(&folder)?);
    let profile = WorkerProfile { place: folder.place(), ..options.profile(&Hardware::detect()) };
    let discovery = discover(&options, Arc::clone(&identity), &profile, clock);
    let mut setup = Setup {
        clock,
        identity,
        knowledge: Knowledge {
            source: AccessSource::File(home.access_file()),
            address: options.dispatcher.clone(),
            token: options.token.clone(),
            folder: Some(FolderPath::new(folder.path())),
            hearing: Some(discovery.hearing()),
        },
        show: options.show_approval.clone(),
        profile: within_descriptors(profile),
        program: program(options.program),
        // Beside the worker's folder and not in it: that one may be renamed while tasks run.
        work_root: home.root().join("work"),
        file_quota: options.file_quota,
        door: Door { listen: options.listen, advertise: options.advertise },
        folder: Some(folder),
        stop: StopWishes::by_signals(shutdown, options.stop_grace),
    };
    let ended = loop {
        match setup.live().await {
            Ok(LoopEnd::OtherDispatcher) => {
                tracing::warn!("Another dispatcher has taken the place of the one before; starting over with it");
            }
            Ok(LoopEnd::Stopped) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    discovery.stop().await;
    ended
}

/// Listens for beacons from the start, and says something only once it is known whether that is wanted.
fn discover(options: &WorkerOptions, identity: Arc<Identity>, profile: &WorkerProfile, clock: Clock) -> Discovery {
    let capacity = &profile.capacity;
    Discovery::start(Config {
        identity,
        port: options.discovery_port,
        started_at: clock.now(),
        announcement: Announcement {
            role: Role::Worker,
            cpu: capacity.cpu,
            memory_bytes: capacity.memory_bytes,
            gpus: capacity.gpus,
            software: env!("CARGO_PKG_VERSION").to_owned(),
        },
        standing: Standing::Listening,
        is_member: Box::new(|_| false),
    })
}

/// Runs a worker for the dispatcher of this same process, which tells its
/// `access` once it listens. It has no folder: nothing of it is meant to outlive
/// the process. Ends at once when `shutdown` is raised.
///
/// # Errors
/// As [`run`].
pub(super) async fn run_embedded(
    access: watch::Receiver<Option<AccessFile>>,
    name: NodeName,
    slots: u32,
    work_root: PathBuf,
    binary: Option<PathBuf>,
    shutdown: Shutdown,
) -> Result<(), NodeError> {
    let mut options = WorkerOptions::new(work_root.clone());
    options.name = Some(name);
    options.max_jobs = Some(slots);
    let mut setup = Setup {
        clock: Clock::anchored_now(),
        identity: Arc::new(Identity::ephemeral()?),
        knowledge: Knowledge {
            source: AccessSource::Promised(access),
            address: DispatcherAddress::default(),
            token: None,
            folder: None,
            hearing: None,
        },
        show: None,
        profile: within_descriptors(options.profile(&Hardware::detect())),
        program: program(binary),
        work_root,
        file_quota: None,
        door: Door::default(),
        folder: None,
        stop: StopWishes { wanted: shutdown.clone(), hurry: shutdown, grace: Millis(0) },
    };
    setup.live().await.map(|_| ())
}

/// What a worker offers, with no more slots than it may have files open for.
fn within_descriptors(mut profile: WorkerProfile) -> WorkerProfile {
    let (slots, limit) = (&mut profile.capacity.slots, DescriptorLimit::raise());
    if *slots > limit.tasks() {
        tracing::warn!(
            "--max-jobs {slots} needs more than the {} open files that this process may have: offering {} of them \
             (`ulimit -Hn`, or LimitNOFILE= of a unit, allows more)",
            limit.now,
            limit.tasks()
        );
        *slots = limit.tasks();
    }
    profile
}

/// What a user may want of a worker that runs.
#[derive(Clone)]
struct StopWishes {
    /// To stop.
    wanted: Shutdown,
    /// To stop now.
    hurry: Shutdown,
    /// How long what runs may go on after the first of these.
    grace: Millis,
}

impl StopWishes {
    /// A SIGINT or SIGTERM that comes after `shutdown` was raised hurries.
    fn by_signals(shutdown: Shutdown, grace: Millis) -> Self {
        let wishes = Self { wanted: shutdown, hurry: Shutdown::new(), grace };
        let watched = wishes.clone();
        tokio::spawn(async move {
            watched.wanted.raised().await;
            // Listens for new signals only: the one that raised the flag is over.
            let Ok(mut signals) = EndSignals::listen() else { return };
            // A terminal that closes sends SIGHUP more than once, and nobody is in a hurry for that.
            while signals.next().await == EndSignal::HangUp {}
            watched.hurry.raise();
        });
        wishes
    }
}

/// The binary that guard and shims are started from: this one, also after its file was replaced by a newer version.
fn program(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| {
        if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().unwrap_or_else(|_| PathBuf::from("octaskly"))
        }
    })
}
