//! What waits on workers beyond what fits into their slots, as an index.
//!
//! A mirror of the queues that the workers keep: a worker starts what waits
//! there by itself as soon as it fits, in this same order. Invariant: one entry
//! for each live attempt that a seated worker holds in its backlog, all entries
//! of a worker with the same demand, so that none of them passes over another
//! for ever. Absent: which task goes into whose backlog (`ahead`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::placement::WorkerKey;
use crate::model::{Demand, Fence, Millis, TaskId};

/// Attempts that wait on one worker at once, at most: what it holds is named in one message, beside what it runs
/// and what it has not been thanked for.
const MOST_WAITING: usize = 1024;

/// Where an attempt waits on its worker: higher priority first, then in order of assignment.
pub(super) type Place = (Reverse<i32>, Fence);

/// One attempt that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Of this task.
    pub(super) task: TaskId,
    /// How long it is expected to keep a slot busy, as it was reckoned when it was handed out.
    pub(super) cost: Millis,
    /// Whether its worker was told to give it back.
    pub(super) retracting: bool,
}

/// All backlogs.
#[derive(Debug)]
pub(super) struct Backlogs {
    /// How much work waits for each slot, at most; without any, nothing does.
    depth: Millis,
    of: BTreeMap<WorkerKey, Backlog>,
    /// Workers with room for more, the one with least for its slots first.
    roomy: BTreeSet<(u64, WorkerKey)>,
    /// How many entries of each priority are not on their way back.
    priorities: BTreeMap<Reverse<i32>, usize>,
    /// Workers with anything that is not on its way back, likewise.
    laden: BTreeSet<(u64, WorkerKey)>,
}

/// One worker's.
#[derive(Debug)]
struct Backlog {
    slots: u32,
    entries: BTreeMap<Place, Entry>,
    /// What all entries ask for.
    demand: Option<Demand>,
    /// Entries that are not on their way back, and how long they are expected to take together.
    staying: usize,
    load: u64,
}

impl Backlogs {
    /// No worker.
    pub(super) fn new(depth: Millis) -> Self {
        Self { depth, of: BTreeMap::new(), roomy: BTreeSet::new(), priorities: BTreeMap::new(), laden: BTreeSet::new() }
    }

    /// A worker with so many slots is there.
    pub(super) fn seat(&mut self, worker: WorkerKey, slots: u32) {
        let backlog = Backlog { slots: slots.max(1), entries: BTreeMap::new(), demand: None, staying: 0, load: 0 };
        let before = self.of.insert(worker, backlog);
        assert!(before.is_none(), "a worker has two backlogs");
        self.list(worker);
    }

    /// A worker is gone.
    pub(super) fn unseat(&mut self, worker: WorkerKey) {
        self.unlist(worker);
        if let Some(backlog) = self.of.remove(&worker) {
            let staying = backlog.entries.iter().filter(|(_, entry)| !entry.retracting);
            staying.for_each(|((priority, _), _)| self.count(*priority, false));
        }
    }

    fn count(&mut self, priority: Reverse<i32>, more: bool) {
        let count = self.priorities.entry(priority).or_default();
        *count = if more { *count + 1 } else { *count - 1 };
        if *count == 0 {
            self.priorities.remove(&priority);
        }
    }

    /// Whether anything waits that is of lower priority than this, and not on its way back.
    pub(super) fn has_lower(&self, priority: i32) -> bool {
        self.priorities.last_key_value().is_some_and(|(lowest, _)| *lowest > Reverse(priority))
    }

    /// An attempt waits on a worker that is there.
    pub(super) fn add(&mut self, worker: WorkerKey, place: Place, entry: Entry, demand: &Demand) {
        self.change(worker, |backlog| {
            let before = backlog.entries.insert(place, entry);
            assert!(before.is_none(), "{} waits twice", entry.task);
            backlog.count(entry, true);
            backlog.demand.get_or_insert_with(|| demand.clone());
        });
        if !entry.retracting {
            self.count(place.0, true);
        }
    }

    /// It does not any more. `None` when its worker is not there.
    pub(super) fn remove(&mut self, worker: WorkerKey, place: Place) -> Option<Entry> {
        self.of.get(&worker)?;
        self.change(worker, |backlog| {
            let entry = backlog.entries.remove(&place)?;
            backlog.count(entry, false);
            if backlog.entries.is_empty() {
                backlog.demand = None;
            }
            Some(entry)
        })
        .inspect(|entry| {
            if !entry.retracting {
                self.count(place.0, false);
            }
        })
    }

    /// Its worker is told to give it back.
    pub(super) fn retract(&mut self, worker: WorkerKey, place: Place) {
        self.change(worker, |backlog| {
            let Some(entry) = backlog.entries.get_mut(&place) else { unreachable!("what does not wait is retracted") };
            let staying = *entry;
            assert!(!entry.retracting, "{} is retracted twice", entry.task);
            entry.retracting = true;
            backlog.count(staying, false);
        });
        self.count(place.0, false);
    }

    /// What waits on a worker, in the order in which it will start.
    pub(super) fn of(&self, worker: WorkerKey) -> impl DoubleEndedIterator<Item = (Place, Entry)> + '_ {
        self.of.get(&worker).into_iter().flat_map(|backlog| &backlog.entries).map(|(place, entry)| (*place, *entry))
    }

    /// What starts next on a worker, of what is not on its way back.
    pub(super) fn first(&self, worker: WorkerKey) -> Option<(Place, Entry)> {
        self.of(worker).find(|(_, entry)| !entry.retracting)
    }

    /// Whether anybody could be given more.
    pub(super) fn has_room(&self) -> bool {
        self.depth > Millis(0) && !self.roomy.is_empty()
    }

    /// Whether anything waits that is not on its way back.
    pub(super) fn is_laden(&self) -> bool {
        !self.laden.is_empty()
    }

    /// Workers that could be given more, the one with least first.
    pub(super) fn roomiest(&self) -> impl Iterator<Item = WorkerKey> + '_ {
        self.roomy.iter().map(|(_, worker)| *worker)
    }

    /// Workers on which something waits, the one with most first.
    pub(super) fn most_laden(&self) -> impl Iterator<Item = WorkerKey> + '_ {
        self.laden.iter().rev().map(|(_, worker)| *worker)
    }

    /// Whether an attempt that costs so much and asks for this may wait on a worker as well.
    pub(super) fn takes(&self, worker: WorkerKey, cost: Millis, demand: &Demand) -> bool {
        let Some(backlog) = self.of.get(&worker) else { return false };
        let fits = backlog.load == 0 || backlog.load + cost.0 <= backlog.bound(self.depth);
        backlog.has_room(self.depth) && fits && backlog.agrees(demand)
    }

    /// Whether all that waits on a worker asks for this and nothing else.
    pub(super) fn agrees(&self, worker: WorkerKey, demand: &Demand) -> bool {
        self.of.get(&worker).is_some_and(|backlog| backlog.agrees(demand))
    }

    /// Workers that are there.
    pub(super) fn workers(&self) -> usize {
        self.of.len()
    }

    /// How many wait on a worker.
    pub(super) fn len(&self, worker: WorkerKey) -> usize {
        self.of.get(&worker).map_or(0, |backlog| backlog.entries.len())
    }

    fn change<T>(&mut self, worker: WorkerKey, change: impl FnOnce(&mut Backlog) -> T) -> T {
        self.unlist(worker);
        let Some(backlog) = self.of.get_mut(&worker) else { unreachable!("no backlog of worker {worker:?}") };
        let changed = change(backlog);
        self.list(worker);
        changed
    }

    fn list(&mut self, worker: WorkerKey) {
        let Some(backlog) = self.of.get(&worker) else { return };
        let rank = (backlog.load / u64::from(backlog.slots), worker);
        if backlog.has_room(self.depth) {
            self.roomy.insert(rank);
        }
        if backlog.staying > 0 {
            self.laden.insert(rank);
        }
    }

    fn unlist(&mut self, worker: WorkerKey) {
        let Some(backlog) = self.of.get(&worker) else { return };
        let rank = (backlog.load / u64::from(backlog.slots), worker);
        self.roomy.remove(&rank);
        self.laden.remove(&rank);
    }

    /// Panics unless what waits on each worker is exactly what the jobs say.
    pub(super) fn check(&self, waiting: &BTreeMap<WorkerKey, BTreeMap<Place, (TaskId, &Demand)>>) {
        let none = BTreeMap::new();
        for (worker, backlog) in &self.of {
            let expected = waiting.get(worker).unwrap_or(&none);
            let listed: BTreeMap<Place, TaskId> = backlog.entries.iter().map(|(at, entry)| (*at, entry.task)).collect();
            let known: BTreeMap<Place, TaskId> = expected.iter().map(|(at, (task, _))| (*at, *task)).collect();
            assert_eq!(listed, known, "what waits on {worker:?} is not what was handed out to wait");
            let staying = || backlog.entries.values().filter(|entry| !entry.retracting);
            assert_eq!(backlog.staying, staying().count(), "what stays on {worker:?} is miscounted");
            assert_eq!(backlog.load, staying().map(|entry| entry.cost.0).sum::<u64>(), "the load is miscounted");
            let rank = (backlog.load / u64::from(backlog.slots), *worker);
            assert_eq!(self.roomy.contains(&rank), backlog.has_room(self.depth), "{worker:?} has room or not");
            assert_eq!(self.laden.contains(&rank), backlog.staying > 0, "{worker:?} is laden or not");
        }
        let staying: usize = self.of.values().map(|backlog| backlog.staying).sum();
        assert_eq!(self.priorities.values().sum::<usize>(), staying, "priorities are miscounted");
        let laden = self.of.values().filter(|backlog| backlog.staying > 0).count();
        assert_eq!(self.laden.len(), laden, "a worker is listed twice");
    }
}

impl Backlog {
    fn bound(&self, depth: Millis) -> u64 {
        depth.0.saturating_mul(u64::from(self.slots))
    }

    fn has_room(&self, depth: Millis) -> bool {
        self.entries.len() < MOST_WAITING && self.load < self.bound(depth)
    }

    fn agrees(&self, demand: &Demand) -> bool {
        self.demand.as_ref().is_none_or(|known| known == demand)
    }

    fn count(&mut self, entry: Entry, more: bool) {
        match (entry.retracting, more) {
            (true, _) => {}
            (false, true) => (self.staying, self.load) = (self.staying + 1, self.load + entry.cost.0),
            (false, false) => (self.staying, self.load) = (self.staying - 1, self.load - entry.cost.0),
        }
    }
}
