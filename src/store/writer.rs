//! The writer thread: group commit.
//!
//! Everything that is queued goes into one transaction. Only when a batch of it
//! has to be durable is the transaction synced, and that sync covers every
//! earlier one too, because all of them lie in the same write-ahead log.
//! Invariant: after the first error nothing is written any more, unless it was
//! that the disk is full: then nothing of the transaction is there, and all of
//! it is tried again until it is. A failed sync is never tried again: the system
//! may have dropped the pages it failed on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::StoreError;
use super::checkpoint::Checkpointer;
use super::file::{Safety, StoreFile};
use super::reserve::Reserve;
use super::stop::{Handle, Stop};
use crate::model::records::{BatchNo, DiskSpace};

/// Batches that may wait for the writer; beyond it `append` blocks, which
/// slows its caller down to the speed of the disk.
const QUEUE: usize = 1024;
/// Records after which a group is closed: some 100 ms of work, so that a
/// backlog neither delays its first waiter nor grows the log in one leap.
const GROUP_RECORDS: usize = 16 * 1024;

/// Between two syncs for batches that have a moment: under load one sync then serves all results of this time,
/// and whoever waits for one result waits no longer than a person or a worker's outbox (25 ms) would notice.
const PACE: Duration = Duration::from_millis(5);

/// Between two tries to write to a disk that is full.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// Between two looks whether a disk that was full has room to set aside.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How durable a batch has to become before anybody is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Visible to readers; a power loss may take it, a crash of the process does not.
    Written,
    /// On the disk as soon as that costs little: at once, unless something was synced less than 5 ms ago.
    Soon,
    /// On the disk, and every batch before it.
    Synced,
}

/// What the writer says, from its own thread.
#[derive(Debug)]
pub enum Progress {
    /// Every batch up to this one is committed and visible to readers.
    Written(BatchNo),
    /// Every batch up to this one is on the disk. Follows its `Written`.
    Synced(BatchNo),
    /// The disk has become full, or has room again. Said when it changes; a store begins with [`DiskSpace::Enough`].
    Disk(DiskSpace),
    /// The store failed; nothing further is written and later appends are refused.
    Failed(StoreError),
}

/// Who is told of the writer's progress. Called on the writer's thread: must not block for long.
pub type OnProgress = Box<dyn FnMut(Progress) + Send>;

/// What turns records of one kind into rows.
pub(super) trait Apply: Send + 'static {
    /// The records.
    type Record: Send + 'static;

    /// Writes one record, inside a transaction.
    fn apply(&mut self, connection: &Connection, record: &Self::Record) -> Result<(), StoreError>;

    /// Writes what was put off to the end of the transaction.
    fn finish(&mut self, connection: &Connection) -> Result<(), StoreError>;

    /// The transaction was undone, with all that was remembered of it.
    fn undone(&mut self, connection: &Connection) -> Result<(), StoreError>;

    /// Whether there is work that can wait until nothing else is queued.
    fn is_untidy(&self) -> bool;

    /// Does a bounded piece of it, in a transaction of its own.
    fn tidy(&mut self, connection: &Connection) -> Result<(), StoreError>;

    /// Writes that the file is being closed, in the last transaction, which is synced.
    fn close(&mut self, connection: &Connection) -> Result<(), StoreError>;
}

enum Command<R> {
    Append {
        batch: BatchNo,
        records: Vec<R>,
        durability: Durability,
    },
    /// Answered once everything before it is written.
    Flush(SyncSender<()>),
    Close,
}

/// A handle to a writer thread for records `R`.
pub(super) struct Writer<R> {
    queue: SyncSender<Command<R>>,
    handle: Arc<Handle>,
}

impl<R> Clone for Writer<R> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), handle: Arc::clone(&self.handle) }
    }
}

impl<R: Send + 'static> Writer<R> {
    /// Starts the thread; it owns `file`, and so the lock, until it ends.
    pub(super) fn start<A: Apply<Record = R>>(
        file: StoreFile,
        connection: Connection,
        apply: A,
        on_progress: OnProgress,
        reserve: Reserve,
    ) -> Result<Self, StoreError> {
        let checkpointer = Checkpointer::start(&file)?;
        let (queue, commands) = sync_channel(QUEUE);
        let builder = std::thread::Builder::new().name("store-writer".to_owned());
        let path = file.path.clone();
        let stop = Arc::new(Stop::default());
        let thread = Thread {
            connection,
            apply,
            on_progress,
            checkpointer,
            reserve,
            disk: DiskSpace::Enough,
            look_at: now(),
            stop: Arc::clone(&stop),
            syncing: true,
            unsynced: false,
            latest: BatchNo(0),
            owed: false,
            rested_at: now(),
            file,
        };
        let thread =
            builder.spawn(move || thread.run(&commands)).map_err(|source| StoreError::Open { path, source })?;
        Ok(Self { queue, handle: Arc::new(Handle::new(stop, thread)) })
    }

    pub(super) fn append(&self, batch: BatchNo, records: Vec<R>, durability: Durability) -> Result<(), StoreError> {
        self.queue.send(Command::Append { batch, records, durability }).map_err(|_| StoreError::Stopped)
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let (answer, answered) = sync_channel(1);
        self.queue.send(Command::Flush(answer)).map_err(|_| StoreError::Stopped)?;
        answered.recv().map_err(|_| StoreError::Stopped)
    }

    pub(super) fn close(self) -> Result<(), StoreError> {
        self.handle.stop.raise();
        // A writer that has stopped already does not take it; joining tells why it stopped.
        let _ = self.queue.send(Command::Close);
        self.handle.join()
    }
}

/// What the writer thread owns.
struct Thread<A: Apply> {
    connection: Connection,
    apply: A,
    on_progress: OnProgress,
    checkpointer: Checkpointer,
    reserve: Reserve,
    /// What was last said of the disk.
    disk: DiskSpace,
    /// When the reserve is looked after next, if it does not stand.
    look_at: Instant,
    /// Raised when nobody waits for a full disk any more.
    stop: Arc<Stop>,
    /// Whether the connection's commits sync.
    syncing: bool,
    /// Whether records were committed without a sync since the last one.
    unsynced: bool,
    /// The last batch that was committed.
    latest: BatchNo,
    /// Whether a batch up to it was promised a sync soon.
    owed: bool,
    /// From when on a batch that is to be synced soon is synced at once: [`PACE`] after the last sync.
    rested_at: Instant,
    /// Dropped last: it holds the lock.
    file: StoreFile,
}

/// What one transaction will hold.
struct Group<R> {
    records: Vec<Vec<R>>,
    count: usize,
    last: Option<BatchNo>,
    durability: Durability,
    waiting: Vec<SyncSender<()>>,
    closing: bool,
}

impl<R> Default for Group<R> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            count: 0,
            last: None,
            durability: Durability::Written,
            waiting: Vec::new(),
            closing: false,
        }
    }
}

impl<R> Group<R> {
    fn add(&mut self, command: Command<R>) {
        match command {
            Command::Append { batch, records, durability } => {
                assert!(self.last.is_none_or(|last| last < batch), "batches are numbered upwards");
                self.count += records.len();
                self.records.push(records);
                self.last = Some(batch);
                self.durability = self.durability.max(durability);
            }
            Command::Flush(answer) => self.waiting.push(answer),
            Command::Close => self.closing = true,
        }
    }

    fn is_empty(&self) -> bool {
        self.last.is_none() && self.waiting.is_empty() && !self.closing
    }

    /// Takes along what is queued behind its first command.
    fn fill(&mut self, commands: &Receiver<Command<R>>) {
        while !self.closing && self.count < GROUP_RECORDS {
            match commands.try_recv() {
                Ok(command) => self.add(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.closing = true,
            }
        }
    }
}

impl<A: Apply> Thread<A> {
    fn run(mut self, commands: &Receiver<Command<A::Record>>) -> Result<(), StoreError> {
        let ended = self.serve(commands);
        if let Err(error) = ended {
            // Closing must not try again what has just failed. That it could not be told so changes nothing.
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            (self.on_progress)(Progress::Failed(error));
            return Err(StoreError::Stopped);
        }
        Ok(())
    }

    fn serve(&mut self, commands: &Receiver<Command<A::Record>>) -> Result<(), StoreError> {
        loop {
            let mut group = Group::default();
            self.look_after_reserve();
            if !self.apply.is_untidy() {
                self.await_first(commands, &mut group);
            }
            group.fill(commands);
            let soon = self.owed || group.durability == Durability::Soon;
            if group.closing || soon && self.rested_at <= now() {
                group.durability = Durability::Synced;
            }
            if group.is_empty() && group.durability != Durability::Synced {
                self.until_it_fits(Self::tidy)?;
            } else {
                self.until_it_fits(|thread| thread.commit(&mut group))?;
            }
            self.checkpoint()?;
            if group.closing {
                return self.until_it_fits(Self::end);
            }
        }
    }

    /// Waits for a command, at most until a sync is due that was promised, or another look at the disk.
    fn await_first(&self, commands: &Receiver<Command<A::Record>>, group: &mut Group<A::Record>) {
        let until = |at: Instant| at.saturating_duration_since(now());
        let mut patience = if self.owed { until(self.rested_at) } else { Duration::MAX };
        if !self.reserve.stands() {
            patience = patience.min(until(self.look_at));
        }
        match commands.recv_timeout(patience) {
            Ok(command) => group.add(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => group.closing = true,
        }
    }

    /// One transaction, and everything that is to be said when it stands.
    fn commit(&mut self, group: &mut Group<A::Record>) -> Result<(), StoreError> {
        let sync = group.durability == Durability::Synced;
        if group.count > 0 || sync && self.unsynced {
            self.set_syncing(sync)?;
            let transaction = self.connection.unchecked_transaction()?;
            for record in group.records.iter().flatten() {
                self.apply.apply(&transaction, record)?;
            }
            self.apply.finish(&transaction)?;
            if sync && self.unsynced {
                touch(&transaction)?;
            }
            transaction.commit()?;
            self.unsynced = !sync;
        }
        self.latest = group.last.unwrap_or(self.latest);
        self.owed = !sync && (self.owed || group.durability == Durability::Soon);
        if let Some(last) = group.last {
            (self.on_progress)(Progress::Written(last));
        }
        if sync {
            (self.on_progress)(Progress::Synced(self.latest));
            if self.file.safety == Safety::Full {
                self.rested_at = now() + PACE;
            }
        }
        for answer in group.waiting.drain(..) {
            // Whoever asked may have gone.
            let _ = answer.try_send(());
        }
        Ok(())
    }

    /// Need not be synced: what a power loss takes of it is done again.
    fn tidy(&mut self) -> Result<(), StoreError> {
        self.set_syncing(false)?;
        let transaction = self.connection.unchecked_transaction()?;
        self.apply.tidy(&transaction)?;
        Ok(transaction.commit()?)
    }

    /// Does `work`, which leaves nothing behind where it fails; while the disk is full, again and again.
    fn until_it_fits(&mut self, mut work: impl FnMut(&mut Self) -> Result<(), StoreError>) -> Result<(), StoreError> {
        loop {
            let done = work(self);
            let Err(error) = done else {
                if self.disk == DiskSpace::Nothing {
                    self.say(DiskSpace::Reserve);
                }
                return Ok(());
            };
            if self.file.safety == Safety::Scratch || !self.reserve.is_for(&error) {
                return Err(error);
            }
            self.apply.undone(&self.connection)?;
            self.look_at = now() + LOOK_EVERY;
            if self.reserve.give_up() {
                self.say(DiskSpace::Reserve);
                continue;
            }
            self.say(DiskSpace::Nothing);
            if self.stop.wait(FULL_PAUSE) {
                return Err(error);
            }
        }
    }

    /// Moves the log into the database. That waits for no room: as long as commits find some, nobody minds.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        match self.checkpointer.after_commit(&self.connection) {
            Err(error) if self.file.safety == Safety::Full && self.reserve.is_for(&error) => {
                self.look_at = now() + LOOK_EVERY;
                self.reserve.give_up();
                self.say(DiskSpace::Reserve);
                Ok(())
            }
            other => other,
        }
    }

    /// Sets room aside where none stands, and says so when that makes a difference.
    fn look_after_reserve(&mut self) {
        if self.reserve.stands() && self.disk == DiskSpace::Enough || self.file.safety == Safety::Scratch {
            return;
        }
        if self.look_at > now() {
            return;
        }
        self.look_at = now() + LOOK_EVERY;
        let stands = self.reserve.set_aside();
        self.say(if stands { DiskSpace::Enough } else { DiskSpace::Reserve });
    }

    fn say(&mut self, disk: DiskSpace) {
        if self.disk != disk {
            self.disk = disk;
            (self.on_progress)(Progress::Disk(disk));
        }
    }

    /// Makes everything durable and leaves one file behind where nobody reads it now.
    fn end(&mut self) -> Result<(), StoreError> {
        self.set_syncing(true)?;
        let transaction = self.connection.unchecked_transaction()?;
        self.apply.close(&transaction)?;
        touch(&transaction)?;
        transaction.commit()?;
        self.checkpointer.finish(&self.connection)
    }

    /// Chooses whether the next commit syncs. SQLite takes this between transactions only.
    fn set_syncing(&mut self, syncing: bool) -> Result<(), StoreError> {
        if self.syncing != syncing && self.file.safety == Safety::Full {
            self.connection.pragma_update(None, "synchronous", if syncing { "FULL" } else { "NORMAL" })?;
            self.syncing = syncing;
        }
        Ok(())
    }
}

/// For the pace of syncs alone: nothing that is written depends on it.
#[expect(clippy::disallowed_methods, reason = "the one place of this room that asks the time, to space out syncs")]
fn now() -> Instant {
    Instant::now()
}

/// Gives a transaction something to commit: one that changes no page is not synced,
/// and what was written before it would not be either.
fn touch(connection: &Connection) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE meta SET value = value + 1 WHERE name = 'syncs'")?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::apply::Records;
    use super::super::{file, schema};
    use super::*;
    use crate::model::records::Record;
    use crate::model::{NodeId, Role, Timestamp};

    #[test]
    fn a_writer_closed_on_a_full_disk_ends_with_its_last_group_undone() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, connection) =
            file::open(&directory.path().join("jobs.db"), &schema::DISPATCHER, Safety::Full).expect("opens");
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("counts");
        connection.pragma_update(None, "max_page_count", pages + 10).expect("takes it");
        let looking = file::connect(&file.path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opens");
        let apply = Records::new(&connection).expect("reads");
        let (said, progress) = channel();
        let on_progress = Box::new(move |news| said.send(news).expect("somebody listens"));
        let reserve = Reserve::none(&file);
        let writer = Writer::start(file, connection, apply, on_progress, reserve).expect("starts");
        let mut heard: Vec<Progress> = Vec::new();
        // A hundred nodes a batch, each under a name of its own.
        for batch in 1.. {
            let enrolled = |n: u64| Record::NodeEnrolled {
                node: NodeId(std::array::from_fn(|at| ((batch * 100 + n) >> (at % 8 * 8)) as u8)),
                role: Role::Worker,
                name: format!("worker-{}", batch * 100 + n).parse().expect("a name"),
                at: Timestamp(1),
            };
            let records = (0..100).map(enrolled).collect();
            writer.append(BatchNo(batch), records, Durability::Synced).expect("takes it");
            let until = |wanted: &Progress| match wanted {
                Progress::Synced(BatchNo(upto)) => *upto == batch,
                other => matches!(other, Progress::Disk(DiskSpace::Nothing)),
            };
            while heard.last().is_none_or(|news| !until(news)) {
                heard.push(progress.recv().expect("the writer lives"));
            }
            if matches!(heard.last(), Some(Progress::Disk(_))) {
                break;
            }
        }
        assert!(matches!(writer.close(), Err(StoreError::Stopped)));
        heard.extend(progress.iter());
        let [.., Progress::Synced(last), Progress::Disk(DiskSpace::Nothing), Progress::Failed(StoreError::Full(_))] =
            &heard[..]
        else {
            panic!("not stopped by a full disk: {heard:?}")
        };
        let rows: i64 = looking.query_row("SELECT count(*) FROM nodes", [], |row| row.get(0)).expect("counts");
        assert_eq!(rows, (last.0 * 100) as i64);
    }
}
