//! Room kept for one task that is too big for what is free now.
//!
//! Without it, small tasks behind a big one would take every slot that comes
//! free, for ever. Invariant: at most one reservation, for a blocked class that
//! asks for more than a slot, on an open worker that could hold it; only classes
//! behind it in order are kept from what it needs.

use super::classes::Standing;
use super::room::Measure;
use super::{ClassId, Placement, Turn, WorkerKey};
use crate::model::{Demand, RawString};

/// What is kept, where, for whom.
#[derive(Debug, Clone)]
pub(super) struct Reservation {
    class: ClassId,
    worker: WorkerKey,
    demand: Demand,
}

/// The roomiest workers that are looked at before any that could hold the task
/// is taken. Bounds the search on big rosters.
const LOOKED_AT: usize = 32;

impl Placement {
    /// Considers a class that was just found blocked; the first one in order gets the reservation.
    pub(super) fn reserve_for(&mut self, id: ClassId) {
        if self.class(id).measure == Measure::Slots {
            return; // The first slot that comes free is its own anyway.
        }
        let ahead = |kept: &Reservation| kept.class == id || self.turn_of(kept.class) < self.turn_of(id);
        if self.reservation.as_ref().is_some_and(ahead) {
            return;
        }
        let Some(worker) = self.most_promising(id) else { return };
        self.end_reservation();
        let demand = self.class(id).requirement.demand.clone();
        self.reservation = Some(Reservation { class: id, worker, demand });
        self.unreserved = false;
    }

    /// After a reservation ended or a worker opened: the first blocked class in order that needs one gets it.
    pub(super) fn renew_reservation(&mut self) {
        if !std::mem::take(&mut self.unreserved) {
            return;
        }
        if let Some(id) = self.first_in_need() {
            self.reserve_for(id);
        }
    }

    fn first_in_need(&self) -> Option<ClassId> {
        let needs = |id: &ClassId| self.class(*id).measure != Measure::Slots && self.most_promising(*id).is_some();
        self.blocked.iter().map(|(_, id)| *id).find(needs)
    }

    /// The worker where a class is likely to fit first: the roomiest that could hold it.
    fn most_promising(&self, id: ClassId) -> Option<WorkerKey> {
        let class = self.class(id);
        let roomiest = self.pools.roomiest(class.pool, &class.measure).take(LOOKED_AT).map(super::pools::Rank::worker);
        let open = |worker: &WorkerKey| self.seats.get(worker).is_some_and(|seat| seat.open);
        let holders = self.holders(id).filter(open);
        roomiest.filter(|worker| self.could_hold(id, *worker)).chain(holders).next()
    }

    /// The turn of the first job in line.
    pub(in super::super) fn turn_of(&self, id: ClassId) -> Option<Turn> {
        self.class(id).line.first().copied()
    }

    /// What is kept from this class on this worker.
    pub(super) fn reserved_from(&self, id: ClassId, worker: WorkerKey) -> Option<&Demand> {
        let reservation = self.reservation.as_ref()?;
        let behind = reservation.class != id && self.turn_of(reservation.class) < self.turn_of(id);
        (behind && reservation.worker == worker).then_some(&reservation.demand)
    }

    /// This class got its room, or no longer needs it.
    pub(super) fn end_reservation_of(&mut self, id: ClassId) {
        if self.reservation.as_ref().is_some_and(|reservation| reservation.class == id) {
            self.end_reservation();
        }
    }

    /// The class has another first job: what it kept from classes that are now before it is theirs.
    pub(super) fn move_reservation_of(&mut self, id: ClassId) {
        if let Some(reservation) = self.reservation.as_ref().filter(|reservation| reservation.class == id) {
            self.grown.insert(reservation.worker, None);
        }
    }

    /// This worker is no longer to be given work.
    pub(super) fn end_reservation_on(&mut self, worker: WorkerKey) {
        if self.reservation.as_ref().is_some_and(|reservation| reservation.worker == worker) {
            self.end_reservation();
        }
    }

    /// This worker does not have this directory: tasks that run in it will not run there.
    pub(super) fn end_reservations_without(&mut self, worker: WorkerKey, directory: &RawString) {
        let wants_it = |kept: &Reservation| self.class(kept.class).requirement.directory.as_ref() == Some(directory);
        if self.reservation.as_ref().is_some_and(|kept| kept.worker == worker && wants_it(kept)) {
            self.end_reservation();
        }
    }

    fn end_reservation(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.grown.insert(reservation.worker, None);
            self.unreserved = true;
        }
    }

    /// Panics with what is broken about the reservation.
    pub(super) fn check_reservation(&self) {
        let Some(reservation) = &self.reservation else {
            let undecided = self.vacant == 0 || self.unreserved;
            assert!(undecided || self.first_in_need().is_none(), "no room is reserved for a task that needs it");
            return;
        };
        let class = self.class(reservation.class);
        assert!(class.standing != Standing::Idle, "room is reserved for a class with nobody in line");
        assert_eq!(class.requirement.demand, reservation.demand, "room of another size is reserved");
        assert!(self.could_hold(reservation.class, reservation.worker), "room is reserved where it can never suffice");
        let open = self.seats.get(&reservation.worker).is_some_and(|seat| seat.open);
        assert!(open, "room is reserved on a worker that gets no work");
    }
}
