//! One life of a worker, from its first process to its last: what is started
//! in which order, and what is ended in which.
//!
//! Invariant: whatever ends a life (a wish, an error, another dispatcher), its
//! tasks are gone before it returns. Absent: the loop in between (`shell`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::StopWishes;
use super::connector::{Connector, Pauses};
use super::dial::Dialler;
use super::files::{Giver, Stock, StockConfig};
use super::hand_over::Porter;
use super::join::{Applicant, ApprovalAsked};
use super::last_words::Briefer;
use super::mesh::{Door, Mesh, MeshConfig};
use super::outbox::{Reached, ResultKeeper};
use super::shell::{Event, Hands, Inbox, LoopEnd, Shell, Up, Wires};
use super::ways::Knowledge;
use crate::blob::BlobStore;
use crate::engine::worker::{WorkerConfig, WorkerEngine};
use crate::exec::{ExecConfig, ExecEvent, Executor, Guard, GuardConfig, KeptLogs, Presence};
use crate::model::limits::HEARTBEAT_INTERVAL;
use crate::model::messages::EndedAttempt;
use crate::model::node::WorkerProfile;
use crate::model::outcome::KeptOutput;
use crate::model::records::{DiskSpace, Unsettled};
use crate::model::{AttemptId, InstanceId, NodeId};
use crate::node::{Clock, NodeError, Shutdown};
use crate::store::{Outbox, Progress, StoreError};
use crate::transport::Link;
use crate::trust::{Identity, NodeDir, TrustError};

/// The folder of blobs in the worker's.
const FILES: &str = "files";
/// Events from the connector and from uploads between two turns of the loop;
/// beyond that the connector reads no more from its link.
const EVENTS: usize = 256;
/// Shims that a worker starts before anything else: more come as slots are used.
const READY_SHIMS: u32 = 2;
/// Those of an embedded worker, which mostly runs one task and is waited for.
const READY_SHIMS_EMBEDDED: u32 = 1;
/// How long a worker that stops waits for output that its clients have not read.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// How long it waits for its processes, which were killed: one that hangs in the kernel is not waited for.
const LAST_PROCESSES: Duration = Duration::from_secs(20);
/// How long it waits for its link to be closed in order.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Everything that outlives one life.
pub(super) struct Setup {
    pub(super) clock: Clock,
    pub(super) identity: Arc<Identity>,
    pub(super) knowledge: Knowledge,
    /// Where a code to be approved by is shown; `None` is the terminal.
    pub(super) show: Option<mpsc::Sender<ApprovalAsked>>,
    pub(super) profile: WorkerProfile,
    /// The binary that guard and shims are started from.
    pub(super) program: PathBuf,
    /// Scratch directories and spools.
    pub(super) work_root: PathBuf,
    /// Bytes of inputs and outputs that it keeps; `None` is what the disk has room for.
    pub(super) file_quota: Option<u64>,
    /// Where other workers come in.
    pub(super) door: Door,
    /// The worker's folder; an embedded worker has none, and neither guard nor outbox.
    pub(super) folder: Option<NodeDir>,
    pub(super) stop: StopWishes,
}

/// What a life is made of before its dispatcher is known.
struct Parts {
    guard: Option<Guard>,
    executor: Executor,
    instance: InstanceId,
    events: mpsc::Sender<Event>,
    live: watch::Receiver<Option<Link>>,
    /// Takes the files once they are open.
    files: watch::Sender<Option<Giver>>,
    leave: Shutdown,
    connector: JoinHandle<()>,
    mesh: Mesh,
}

impl Setup {
    /// Starts everything, runs until stopped, and ends everything.
    pub(super) async fn live(&mut self) -> Result<LoopEnd, NodeError> {
        let instance = InstanceId(getrandom::u64().map_err(TrustError::Random)?);
        let (guard, executor, exec) = self.start_processes()?;
        let (events, inbox_events) = mpsc::channel(EVENTS);
        let (live_in, live) = watch::channel(None);
        let (files_in, files) = watch::channel(None);
        let leave = Shutdown::new();
        let mesh = Mesh::new(MeshConfig {
            identity: Arc::clone(&self.identity),
            instance,
            clock: self.clock,
            door: self.door.clone(),
            hearing: self.knowledge.hearing.clone(),
            events: events.clone(),
        });
        let connector = Connector {
            dialler: Dialler::new(Arc::clone(&self.identity), self.knowledge.clone(), self.profile.clone(), instance),
            applicant: Applicant::new(self.show.clone()),
            executor: executor.clone(),
            files,
            events: events.clone(),
            live: live_in,
            mesh: mesh.clone(),
            leave: leave.clone(),
            pauses: Pauses::new(),
            told: None,
            told_of_another: false,
            in_use_since: None,
        };
        let connector = tokio::spawn(connector.run());
        let parts = Parts { guard, executor, instance, events, live, files: files_in, leave, connector, mesh };
        let ended = self.wait_and_work(&parts, inbox_events, exec).await;
        parts.leave.raise();
        if self.folder.is_some() {
            let _ = tokio::time::timeout(LAST_WORDS, parts.connector).await;
        } else {
            // Its dispatcher ends with it, and nobody reads a goodbye.
            parts.connector.abort();
        }
        let processes = async {
            parts.executor.shutdown().await;
            if let Some(guard) = &parts.guard {
                guard.dismiss().await;
            }
        };
        let (processes, ()) =
            tokio::join!(tokio::time::timeout(LAST_PROCESSES, processes), parts.mesh.close("the worker stops"));
        if processes.is_err() {
            tracing::warn!("Some processes of this worker do not end; leaving them to its guard");
        }
        ended
    }

    /// Guard and shims first, while this process is small and has one thread or two.
    fn start_processes(&self) -> Result<(Option<Guard>, Executor, mpsc::Receiver<ExecEvent>), NodeError> {
        let (program, work_root) = (self.program.clone(), self.work_root.clone());
        let mut guard = None;
        let mut presence = None;
        if self.folder.is_some() {
            let shared = Presence::new()?;
            presence = Some(shared.clone());
            let config = GuardConfig { program: program.clone(), work_root: work_root.clone(), presence: shared };
            guard = Some(Guard::start(config)?);
        }
        let ready = if self.folder.is_some() { READY_SHIMS } else { READY_SHIMS_EMBEDDED };
        let ready_shims = self.profile.capacity.slots.min(ready) as usize;
        let config = ExecConfig { shim_program: program, work_root, ready_shims, presence, oom_counter: None };
        let (executor, exec) = Executor::start(config)?;
        Ok((guard, executor, exec))
    }

    /// Waits for the first welcome, then works.
    async fn wait_and_work(
        &mut self,
        parts: &Parts,
        mut events: mpsc::Receiver<Event>,
        exec: mpsc::Receiver<ExecEvent>,
    ) -> Result<LoopEnd, NodeError> {
        let first = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Up(up)) => break up,
                    Some(Event::Fatal(error)) => return Err(error),
                    // Nothing else happens before a welcome.
                    _ => {}
                },
                () = self.stop.wanted.raised() => return Ok(LoopEnd::Stopped),
            }
        };
        let (reach, reached) = watch::channel(Reached::default());
        let (failed_in, failed) = mpsc::channel(1);
        let (outbox, unsettled) = self.open_outbox(&first, reach, failed_in)?;
        let (kept_logs, left_logs) = self.open_kept_logs(parts, first.dispatcher, &unsettled);
        let config = WorkerConfig { profile: self.profile.clone(), heartbeat_interval: HEARTBEAT_INTERVAL };
        let engine = WorkerEngine::restore(config, self.clock.now(), unsettled);
        let briefer = self.briefer(parts, first.dispatcher);
        let wires = Wires {
            events: parts.events.clone(),
            live: parts.live.clone(),
            mesh: parts.mesh.clone(),
            briefer,
            alone: self.folder.is_none(),
            folder: self.knowledge.folder.clone(),
            kept_logs,
        };
        let keeper = ResultKeeper::new(outbox);
        let hands = Hands {
            executor: parts.executor.clone(),
            stock: self.stock(parts)?,
            porter: Porter::new(Arc::clone(&self.identity), parts.instance),
        };
        let mut shell = Shell::new(self.clock, engine, hands, keeper, &first, wires);
        shell.upload_kept(left_logs);
        let links = parts.mesh.changes();
        let mut inbox = Inbox { events, exec, reached, links, failed, stop: self.stop.clone() };
        let ended = shell.run(&mut inbox, Event::Up(first)).await;
        if matches!(ended, Ok(LoopEnd::Stopped)) && !shell.hurried {
            let _ = tokio::time::timeout(LAST_OUTPUT, async { while shell.tasks.join_next().await.is_some() {} }).await;
        }
        match shell.engine.unrecorded() {
            0 => {}
            results if self.folder.is_some() => tracing::warn!(
                "{results} results have not reached the dispatcher; they are kept, and the next start of this worker \
                 delivers them"
            ),
            _ => {}
        }
        let closed = shell.keeper.close();
        let ended = ended?;
        closed?;
        Ok(ended)
    }

    /// The outbox of this dispatcher's results. Another dispatcher's are of no use to it, and its numbers may be
    /// the same.
    fn open_outbox(
        &mut self,
        up: &Up,
        reach: watch::Sender<Reached>,
        failed: mpsc::Sender<StoreError>,
    ) -> Result<(Option<Outbox>, Unsettled), NodeError> {
        let Some(folder) = &mut self.folder else { return Ok((None, Unsettled::default())) };
        if let Err(error) = folder.adopt_name(&up.welcome.name) {
            // The key is what counts; the folder's name is for people.
            tracing::warn!("The folder {} keeps its name: failed to {error}", folder.path().display());
        }
        if let Some(known) = &self.knowledge.folder {
            known.set(folder.path());
        }
        let path = folder.path().join(format!("outbox-{}.sqlite", up.dispatcher.short()));
        let progress = move |progress| match progress {
            Progress::Synced(upto) => reach.send_modify(|reached| reached.synced = upto),
            Progress::Disk(disk) => {
                match disk {
                    DiskSpace::Nothing => tracing::warn!("This worker's disk is full: results wait in memory"),
                    DiskSpace::Reserve => {}
                    DiskSpace::Enough => tracing::info!("This worker's disk has room again"),
                }
                reach.send_modify(|reached| reached.disk = disk);
            }
            // The first failure is the last word of an outbox.
            Progress::Failed(error) => drop(failed.try_send(error)),
            Progress::Written(_) => {}
        };
        let (outbox, unsettled) = Outbox::open(&path, Box::new(progress))?;
        Ok((Some(outbox), unsettled))
    }

    /// The stored output of this dispatcher's results that an earlier start has left: where it is, and what of it is to
    /// be uploaded. A result whose output is gone is reported without it.
    fn open_kept_logs(
        &self,
        parts: &Parts,
        dispatcher: NodeId,
        unsettled: &Unsettled,
    ) -> (Option<KeptLogs>, Vec<(AttemptId, u64)>) {
        if self.folder.is_none() {
            return (None, Vec::new());
        }
        let uploaded = |ended: &EndedAttempt| match ended.report.output.kept {
            KeptOutput::Uploaded(bytes) => Some((ended.id, bytes)),
            KeptOutput::Nothing | KeptOutput::Inline(_) => None,
        };
        let mut left: Vec<(AttemptId, u64)> = unsettled.results.iter().filter_map(uploaded).collect();
        // Beside the worker's folder, as its tasks are: that one may be renamed.
        let folder = self.work_root.join(format!("logs-{}-{}", self.identity.id().short(), dispatcher.short()));
        match KeptLogs::open(&folder, left.iter().map(|(id, _)| *id)) {
            Ok(kept) => {
                left.retain(|(id, _)| {
                    let restored = parts.executor.restore_log(*id, &kept);
                    restored.inspect_err(|error| tracing::warn!("The output of task {id} is lost: {error}")).is_ok()
                });
                (Some(kept), left)
            }
            Err(error) => {
                tracing::warn!("Output cannot be kept beyond this process in {}: {error}", folder.display());
                (None, Vec::new())
            }
        }
    }

    /// What this worker has of files. An embedded worker's go with its work directory.
    fn stock(&self, parts: &Parts) -> Result<Stock, NodeError> {
        let place = self.folder.as_ref().map_or(self.work_root.as_path(), |folder| folder.path());
        let store = BlobStore::open(&place.join(FILES), self.file_quota.unwrap_or(u64::MAX))?;
        let config = StockConfig {
            link: parts.live.clone(),
            lasts: self.folder.is_some(),
            clock: self.clock,
            own: self.identity.id(),
            mesh: parts.mesh.clone(),
        };
        let stock = Stock::new(store, config);
        parts.files.send_replace(Some(stock.giver()));
        parts.mesh.give_files(stock.giver());
        Ok(stock)
    }

    fn briefer(&self, parts: &Parts, dispatcher: NodeId) -> Option<Briefer> {
        let folder = self.folder.as_ref()?.path().to_owned();
        Some(Briefer { guard: parts.guard.clone()?, folder, instance: parts.instance, dispatcher })
    }
}
