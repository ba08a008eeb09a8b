//! Workers as placement sees them: what they are, what is free, whether they
//! may be given anything.
//!
//! Invariant: a seat is ranked in its pools exactly while it is open and has a
//! free slot.

use std::collections::{BTreeMap, BTreeSet};

use super::pools::{Candidate, PoolId};
use super::requirement::Kind;
use super::room::{Measure, Room};
use super::{Placement, Requirement, Traits, WorkerKey};
use crate::model::obstacle::DirectoryFault;
use crate::model::{Demand, RawString};

/// One worker that is there.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) traits: Traits,
    pub(super) room: Room,
    /// Whether it may be given work.
    pub(super) open: bool,
    /// The pools it belongs to.
    pub(super) pools: Vec<PoolId>,
    /// Directories that it could not use when it was last tried.
    pub(super) faults: BTreeMap<RawString, DirectoryFault>,
}

/// What one worker holds, each with its GPU indices in ascending order.
pub(in super::super) type Held<'a> = Vec<(&'a Demand, &'a [u32])>;

impl Seat {
    pub(super) fn is_vacant(&self) -> bool {
        self.open && self.room.slots() > 0
    }

    fn candidate(&self, worker: WorkerKey) -> Candidate<'_> {
        Candidate { worker, traits: &self.traits, room: self.is_vacant().then_some(&self.room) }
    }
}

impl Placement {
    /// A worker is there, with all its capacity free and closed at first.
    pub(in super::super) fn seat(&mut self, worker: WorkerKey, traits: Traits) {
        for class in self.classes.values_mut().filter(|class| class.requirement.avoid.is_none()) {
            if traits.could_hold(&class.requirement) {
                class.holders.insert(worker);
            }
        }
        let (room, pools) = (Room::of(&traits.capacity), self.pools.matching(&traits));
        let seat = Seat { room, open: false, pools, faults: BTreeMap::new(), traits };
        let before = self.seats.insert(worker, seat);
        assert!(before.is_none(), "a worker was seated twice");
    }

    /// A worker is gone, and all that was taken from it.
    pub(in super::super) fn unseat(&mut self, worker: WorkerKey) {
        self.set_open(worker, false);
        let seat = self.seats.remove(&worker);
        assert!(seat.is_some(), "a worker left a seat that it did not have");
        for class in self.classes.values_mut() {
            class.holders.remove(&worker);
        }
        self.end_reservation_on(worker);
    }

    /// Whether a worker is there.
    pub(in super::super) fn is_seated(&self, worker: WorkerKey) -> bool {
        self.seats.contains_key(&worker)
    }

    /// Whether a worker that is there may be given work.
    pub(in super::super) fn is_open(&self, worker: WorkerKey) -> bool {
        self.seats.get(&worker).is_some_and(|seat| seat.open)
    }

    /// Says whether a worker may be given work.
    pub(in super::super) fn set_open(&mut self, worker: WorkerKey, open: bool) {
        let Some(seat) = self.seats.get_mut(&worker) else { return };
        if seat.open == open {
            return;
        }
        if seat.is_vacant() {
            self.pools.unrank(&seat.pools, worker, &seat.room);
            self.vacant -= 1;
        }
        seat.open = open;
        if seat.is_vacant() {
            self.pools.rank(&seat.pools, worker, &seat.room);
            self.vacant += 1;
            self.grown.insert(worker, None);
        }
        if open {
            self.unreserved = true;
        } else {
            self.end_reservation_on(worker);
        }
    }

    /// Takes what an attempt that already runs there needs. Says whether it fitted.
    pub(in super::super) fn occupy(&mut self, worker: WorkerKey, demand: &Demand, gpus: &[u32]) -> bool {
        self.seats.contains_key(&worker) && self.with_room(worker, |room| room.take_these(demand, gpus))
    }

    /// Gives back what an attempt needed.
    pub(in super::super) fn vacate(&mut self, worker: WorkerKey, demand: &Demand, gpus: &[u32]) {
        self.with_room(worker, |room| room.give_back(demand, gpus));
        self.grown.insert(worker, None);
    }

    /// Whether any open worker has a free slot.
    pub(in super::super) fn has_vacancy(&self) -> bool {
        self.vacant > 0
    }

    /// Open workers with free slots, and how many each has.
    pub(in super::super) fn vacant(&self) -> impl Iterator<Item = (WorkerKey, u32)> {
        self.seats.iter().filter(|(_, seat)| seat.is_vacant()).map(|(worker, seat)| (*worker, seat.room.slots()))
    }

    /// Whether a task with this demand fits on a worker beside what it has.
    pub(in super::super) fn has_room(&self, worker: WorkerKey, demand: &Demand) -> bool {
        self.seats.get(&worker).is_some_and(|seat| seat.room.fits(demand))
    }

    /// Changes a worker's room and keeps its ranks in step.
    pub(super) fn with_room<T>(&mut self, worker: WorkerKey, change: impl FnOnce(&mut Room) -> T) -> T {
        let Some(seat) = self.seats.get_mut(&worker) else { unreachable!("no seat for worker {worker:?}") };
        if seat.is_vacant() {
            self.pools.unrank(&seat.pools, worker, &seat.room);
            self.vacant -= 1;
        }
        let changed = change(&mut seat.room);
        if seat.is_vacant() {
            self.pools.rank(&seat.pools, worker, &seat.room);
            self.vacant += 1;
        }
        changed
    }

    /// The pool where a new class finds its workers.
    pub(super) fn join_pool(&mut self, kind: &Kind, measure: &Measure) -> PoolId {
        let candidates = self.seats.iter().map(|(worker, seat)| seat.candidate(*worker));
        let (id, members) = self.pools.acquire(kind, measure, candidates);
        for worker in members {
            if let Some(seat) = self.seats.get_mut(&worker) {
                seat.pools.push(id);
            }
        }
        id
    }

    /// A class that looked into this pool is gone.
    pub(super) fn leave_pool(&mut self, id: PoolId, measure: &Measure) {
        if self.pools.release(id, measure) {
            for seat in self.seats.values_mut() {
                seat.pools.retain(|pool| *pool != id);
            }
        }
    }

    /// The seated workers that could hold a task with this requirement.
    pub(super) fn holders_of(&self, requirement: &Requirement) -> BTreeSet<WorkerKey> {
        let could =
            |worker: &WorkerKey, seat: &Seat| requirement.avoid != Some(*worker) && seat.traits.could_hold(requirement);
        self.seats.iter().filter(|(worker, seat)| could(worker, seat)).map(|(worker, _)| *worker).collect()
    }

    /// Panics with what is broken about the seats.
    pub(super) fn check_seats<'a>(&self, held: impl Fn(WorkerKey) -> Held<'a>) {
        for (worker, seat) in &self.seats {
            seat.room.check(held(*worker).into_iter());
            let mut pools = seat.pools.clone();
            pools.sort_unstable();
            assert_eq!(pools, self.pools.matching(&seat.traits), "a worker is in pools it does not belong to");
        }
        let vacant = self.seats.values().filter(|seat| seat.is_vacant()).count();
        assert_eq!(self.vacant, vacant, "workers with a free slot are miscounted");
        self.pools.check(self.seats.iter().map(|(worker, seat)| seat.candidate(*worker)), &self.blocked);
    }
}
