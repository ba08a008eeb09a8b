//! Opening everything a dispatcher stands on, in an order in which whatever is
//! refused first costs nothing that came before.
//!
//! The one invariant: a dispatcher that did not get its folder's lock has not
//! touched anything in it, and one that did not get its port has taken no
//! epoch. Absent: what happens then (`turn`, `admission`).

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::DispatcherOptions;
use super::files::Files;
use super::log_files::LogFiles;
use super::progress::StoreProgress;
use crate::blob::BlobStore;
use crate::engine::dispatcher::{DispatcherConfig, DispatcherEngine};
use crate::model::limits::{BACKLOG, HEARTBEAT_INTERVAL, SUSPECT_AFTER};
use crate::model::selector::{Part, Selector};
use crate::model::{JobId, Millis, NodeId, NodeName};
use crate::node::{Clock, NodeError, addresses};
use crate::store::{self, Repair, Store, StoreError, Viewer};
use crate::transport::{Alpn, Endpoint};
use crate::trust::{AccessFile, Home, Identity, NodeDir, TrustError, boot};

/// The database's name in the dispatcher's folder.
const STORE: &str = "store.sqlite";
/// The log folder's name there.
const LOGS: &str = "logs";
/// The name of the folder of blobs there.
const FILES: &str = "files";
/// Lost jobs that are named one by one after a repair.
const LOST_NAMED: usize = 100;
/// Log folders that are looked up at once.
const LOOK_UP_AT_ONCE: usize = 1000;

/// What a dispatcher stands on.
pub(super) struct Opened {
    /// Holds the lock.
    pub(super) folder: NodeDir,
    pub(super) access_file: PathBuf,
    pub(super) identity: Identity,
    pub(super) access: AccessFile,
    pub(super) endpoint: Endpoint,
    pub(super) store: Store,
    pub(super) progress: StoreProgress,
    pub(super) engine: DispatcherEngine,
    pub(super) log_files: LogFiles,
    pub(super) files: Files,
}

/// Opens all of it. Blocks on disks.
pub(super) fn open(options: &DispatcherOptions, clock: Clock) -> Result<Opened, NodeError> {
    let home = Home::locate(Some(options.home.clone()))?;
    let folder = home.dispatcher().map_err(|error| match error {
        TrustError::Locked { .. } => NodeError::DispatcherRuns { home: options.home.clone() },
        other => NodeError::Trust(other),
    })?;
    // Who serves one run is nobody afterwards: neither its key nor its jobs have to outlive the process.
    let identity = if options.embedded { Identity::ephemeral()? } else { Identity::load_or_create(&folder)? };
    // Nobody joins what serves one run.
    let accepted: &[Alpn] = if options.embedded { &[Alpn::Worker, Alpn::Client] } else { &Alpn::OF_A_DISPATCHER };
    let endpoint = Endpoint::bind(&identity, options.address(), accepted)?;

    let path = options.store.clone().unwrap_or_else(|| folder.path().join(STORE));
    if options.repair {
        tell_of_repair(&path, store::repair(&path, clock.now())?);
    }
    let (progress, tell) = StoreProgress::new();
    let (store, state) = if options.embedded {
        store::open_scratch(&path, tell, clock.now())?
    } else {
        store::open(&path, tell, clock.now(), boot::id().as_deref())?
    };
    let logs = folder.path().join(LOGS);
    let log_files =
        LogFiles::open(logs.clone()).map_err(|source| NodeError::LogFolder { path: logs.clone(), source })?;
    remove_orphans(&store, &log_files, logs)?;
    let files = Files::new(BlobStore::open(&folder.path().join(FILES), options.file_quota.unwrap_or(u64::MAX))?);

    let engine = DispatcherEngine::restore(config(options, identity.id()), clock.now(), state);
    let access = AccessFile::new(identity.id(), endpoint.local_addr())?;
    // An embedded one leaves no file, and nobody is to look for it elsewhere.
    let access = match options.embedded {
        true => access,
        false => access.announced_at(&addresses::reachable_at(endpoint.local_addr()), boot::id()),
    };
    let access_file = home.access_file();
    Ok(Opened { folder, access_file, identity, access, endpoint, store, progress, engine, log_files, files })
}

/// Says what was saved of a damaged store, and what was not.
fn tell_of_repair(path: &Path, repair: Repair) {
    let saved = match repair {
        Repair::Sound => return info!("The store {} is sound: there is nothing to repair", path.display()),
        Repair::Done(saved) => saved,
    };
    warn!("The store was damaged; the file as it was is {}", saved.damaged.display());
    info!("Saved {} jobs with their tasks, and {} workers and clients", saved.jobs, saved.nodes);
    if !saved.lost_jobs.is_empty() {
        let named: Vec<String> = saved.lost_jobs.iter().take(LOST_NAMED).map(JobId::to_string).collect();
        let more = if saved.lost_jobs.len() > LOST_NAMED { " and others" } else { "" };
        warn!("Not saved, because parts were unreadable: {} jobs: {}{more}", saved.lost_jobs.len(), named.join(", "));
    }
    if !saved.incomplete.is_empty() {
        warn!("Some rows were unreadable in: {}", saved.incomplete.join(", "));
    }
}

fn config(options: &DispatcherOptions, node: NodeId) -> DispatcherConfig {
    // A timeout shorter than usual leaves room for a suspicion and some heartbeats all the same.
    let lost_after = options.heartbeat_timeout.max(Millis(60));
    let suspect_after = SUSPECT_AFTER.min(Millis(lost_after.0 / 2));
    DispatcherConfig {
        node,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        user: user_name(),
        max_workers: options.max_workers,
        task_timeout: options.task_timeout,
        task_retries: options.task_retries,
        p2p: options.p2p_enabled && !options.embedded,
        heartbeat_interval: HEARTBEAT_INTERVAL.min(Millis(suspect_after.0 / 3)),
        suspect_after,
        lost_after,
        restart_grace: lost_after,
        backlog: BACKLOG,
    }
}

/// What this process's user is called, as near as a client can be called that.
fn user_name() -> Option<NodeName> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten()?;
    NodeName::nearest(&user.name)
}

/// Removes logs of jobs that the store does not have: a crash came between forgetting a job and its logs.
fn remove_orphans(store: &Store, log_files: &LogFiles, folder: PathBuf) -> Result<(), NodeError> {
    let unusable = |source| NodeError::LogFolder { path: folder.clone(), source };
    let jobs = log_files.jobs().map_err(unusable)?;
    if jobs.is_empty() {
        return Ok(());
    }
    let reader = store.reader()?;
    for piece in jobs.chunks(LOOK_UP_AT_ONCE) {
        for job in missing(&reader, piece)? {
            log_files.forget(job).map_err(unusable)?;
        }
    }
    Ok(())
}

fn missing(reader: &store::Reader, jobs: &[JobId]) -> Result<Vec<JobId>, StoreError> {
    let everybody = Viewer { node: NodeId([0; 32]), sees_all: true };
    let parts = jobs.iter().map(|job| Part::Jobs(*job, *job)).collect();
    let found = reader.resolve(&Selector::These(parts), everybody)?;
    let jobs = found.missing.into_iter().filter_map(|part| match part {
        Part::Jobs(job, _) => Some(job),
        Part::Task(_) => None,
    });
    Ok(jobs.collect())
}
