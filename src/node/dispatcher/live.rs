//! Where streams of running tasks meet: a worker's stream of an attached
//! attempt waits here for its client, and whoever follows a task learns here
//! that one of its attempts is over.
//!
//! The one invariant: an entry exists only while somebody is interested in its
//! task or a stream waits for that, so a cluster of plain submitted tasks keeps
//! nothing here. Absent: what is in the streams (`relay`, `logs`).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::engine::dispatcher::Notice;
use crate::model::{AttemptId, AttemptNo, TaskId, TaskIndex};
use crate::transport::{FrameRecv, FrameSend};

/// One worker's stream of an attached attempt.
pub(super) struct WorkerStream {
    /// Whose output it is.
    pub(super) id: AttemptId,
    /// Output bytes of the attempt that lie behind the start of this stream.
    pub(super) from: u64,
    pub(super) send: FrameSend,
    pub(super) recv: FrameRecv,
}

/// What is new about a task since somebody became interested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The newest attempt that was handed to a worker.
    pub(super) assigned: Option<AttemptNo>,
    /// The newest attempt that is not live any more.
    pub(super) over: Option<AttemptNo>,
    /// The task is in a terminal state.
    pub(super) ended: bool,
    /// Number of the stream that waits for a client; changes with every new one.
    pub(super) parked: Option<u64>,
    /// Number of the newest client: an older one has been replaced.
    pub(super) client: u64,
}

/// All entries. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Live {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: Mutex<BTreeMap<TaskId, Entry>>,
    /// Number of entries, so that the engine's loop need not lock to learn that there are none.
    count: AtomicUsize,
}

#[derive(Default)]
struct Entry {
    /// How many seats there are; the entry goes with the last of them and the parked stream.
    seats: usize,
    parked: Option<WorkerStream>,
    streams: u64,
    news: watch::Sender<News>,
}

impl Live {
    /// Becomes interested in `task`: its news is kept from here on.
    pub(super) fn follow(&self, task: TaskId) -> Seat {
        self.seat(task, |_| {})
    }

    /// Becomes the client of `task`; an earlier one is replaced.
    pub(super) fn attach(&self, task: TaskId) -> Seat {
        self.seat(task, |news| news.client += 1)
    }

    fn seat(&self, task: TaskId, change: impl FnOnce(&mut News)) -> Seat {
        let mut entries = self.entries();
        let entry = entries.entry(task).or_default();
        entry.seats += 1;
        entry.news.send_modify(change);
        let news = entry.news.subscribe();
        let client = news.borrow().client;
        self.recount(&entries);
        Seat { live: self.clone(), task, client, news }
    }

    /// Leaves a worker's stream for the client of its task. A stream that was
    /// left before it is dropped: its worker has opened a new one.
    pub(super) fn park(&self, stream: WorkerStream) -> Parking {
        let task = stream.id.task;
        let mut entries = self.entries();
        let entry = entries.entry(task).or_default();
        entry.streams += 1;
        let number = entry.streams;
        entry.parked = Some(stream);
        entry.news.send_modify(|news| news.parked = Some(number));
        let news = entry.news.subscribe();
        self.recount(&entries);
        Parking { live: self.clone(), task, number, news }
    }

    /// Whether anybody is interested in `task` now.
    pub(super) fn is_awaited(&self, task: TaskId) -> bool {
        self.entries().get(&task).is_some_and(|entry| entry.seats > 0)
    }

    /// Passes on what the engine noticed.
    pub(super) fn note(&self, notice: &Notice) {
        if self.inner.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        match notice {
            Notice::TaskAssigned { task, attempt, .. } => self.tell(*task, |news| news.assigned = Some(*attempt)),
            Notice::AttemptOver { id } => self.tell(id.task, |news| news.over = news.over.max(Some(id.attempt))),
            Notice::TaskEnded { task, .. } => self.end(*task..=*task),
            Notice::JobEnded { job, .. } | Notice::JobForgotten { job } => {
                let task = |index| TaskId { job: *job, index: TaskIndex(index) };
                self.end(task(0)..=task(u64::MAX));
            }
            _ => {}
        }
    }

    fn tell(&self, task: TaskId, change: impl FnOnce(&mut News)) {
        if let Some(entry) = self.entries().get(&task) {
            entry.news.send_modify(change);
        }
    }

    fn end(&self, tasks: RangeInclusive<TaskId>) {
        let mut entries = self.entries();
        let ended: Vec<TaskId> = entries.range(tasks).map(|(task, _)| *task).collect();
        for task in ended {
            if let Some(entry) = entries.get(&task) {
                entry.news.send_modify(|news| news.ended = true);
            }
            self.drop_if_idle(&mut entries, task);
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<TaskId, Entry>> {
        self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recount(&self, entries: &BTreeMap<TaskId, Entry>) {
        // The other half of this order is in `progress::Barrier`.
        self.inner.count.store(entries.len(), Ordering::SeqCst);
    }

    fn drop_if_idle(&self, entries: &mut BTreeMap<TaskId, Entry>, task: TaskId) {
        let Some(entry) = entries.get(&task) else { return };
        if entry.seats == 0 && entry.parked.is_none() {
            entries.remove(&task);
            self.recount(entries);
        }
    }
}

/// Somebody's interest in one task; ends when dropped.
pub(super) struct Seat {
    live: Live,
    task: TaskId,
    client: u64,
    news: watch::Receiver<News>,
}

impl Seat {
    /// What is new by now.
    pub(super) fn news(&mut self) -> News {
        *self.news.borrow_and_update()
    }

    /// Waits for something newer than the last [`Seat::news`].
    pub(super) async fn changed(&mut self) {
        // The sender stays while this seat does.
        let _ = self.news.changed().await;
    }

    /// Waits until the news satisfies `wanted`; at once when it already does.
    pub(super) async fn until(&mut self, wanted: impl FnMut(&News) -> bool) {
        let _ = self.news.wait_for(wanted).await;
    }

    /// Whether the task has ended since the seat was taken. Marks nothing as seen.
    pub(super) fn has_ended(&self) -> bool {
        self.news.borrow().ended
    }

    /// This client's number, and the same news for somebody else to wait for.
    pub(super) fn watcher(&self) -> (u64, watch::Receiver<News>) {
        (self.client, self.news.clone())
    }

    /// Whether another client has taken this one's place.
    ///
    /// Marks nothing as seen: whoever asks this is about to wait for what [`Seat::news`] did not say.
    pub(super) fn is_replaced(&self) -> bool {
        self.news.borrow().client != self.client
    }

    /// Takes the stream that waits, if one does.
    pub(super) fn take_stream(&self) -> Option<WorkerStream> {
        let mut entries = self.live.entries();
        let entry = entries.get_mut(&self.task)?;
        let stream = entry.parked.take()?;
        entry.news.send_modify(|news| news.parked = None);
        Some(stream)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut entries = self.live.entries();
        if let Some(entry) = entries.get_mut(&self.task) {
            entry.seats -= 1;
        }
        self.live.drop_if_idle(&mut entries, self.task);
    }
}

/// A stream's place in waiting; dropping it withdraws the stream.
pub(super) struct Parking {
    live: Live,
    task: TaskId,
    number: u64,
    news: watch::Receiver<News>,
}

impl Parking {
    /// Waits until a client has taken the stream, or a newer one took its place.
    pub(super) async fn taken(&self) {
        let number = self.number;
        let _ = self.news.clone().wait_for(|news| news.parked != Some(number)).await;
    }

    /// Waits until the task has ended.
    pub(super) async fn ended(&self) {
        let _ = self.news.clone().wait_for(|news| news.ended).await;
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        let mut entries = self.live.entries();
        if let Some(entry) = entries.get_mut(&self.task) {
            let still_here = entry.news.borrow().parked == Some(self.number);
            if still_here {
                entry.parked = None;
                entry.news.send_modify(|news| news.parked = None);
            }
        }
        self.live.drop_if_idle(&mut entries, self.task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobId, JobState, Millis, Outcome};

    fn ended(task: TaskId) -> Notice {
        Notice::TaskEnded { task, worker: None, outcome: Outcome::Exited(0), elapsed: Millis(0) }
    }

    #[test]
    fn nothing_is_kept_of_a_task_that_nobody_cares_for() {
        let live = Live::default();
        live.note(&ended(TaskId::new(1, 0)));
        let seat = live.follow(TaskId::new(2, 0));
        assert_eq!(live.entries().len(), 1);
        drop(seat);
        assert!(live.entries().is_empty());
        assert_eq!(live.inner.count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_follower_learns_of_the_end_of_its_task_and_of_its_job() {
        let live = Live::default();
        let (mut of_task, mut of_job) = (live.follow(TaskId::new(1, 3)), live.follow(TaskId::new(2, 5)));
        live.note(&ended(TaskId::new(1, 3)));
        live.note(&Notice::JobEnded { job: JobId(2), state: JobState::Cancelled });
        assert!(of_task.news().ended && of_job.news().ended);
    }

    #[test]
    fn a_second_client_of_a_run_replaces_the_first() {
        let live = Live::default();
        let first = live.attach(TaskId::new(1, 0));
        assert!(!first.is_replaced());
        let second = live.attach(TaskId::new(1, 0));
        assert!(first.is_replaced() && !second.is_replaced());
    }
}
