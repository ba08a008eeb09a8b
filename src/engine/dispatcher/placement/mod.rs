//! Which waiting task goes to which worker, now.
//!
//! Order: higher priority first, then the job submitted first. Tasks with equal
//! requirements form a *demand class* that is decided together: when the first
//! of them fits nowhere, none does, and the next class gets its turn, so a
//! blocked class never blocks others. The first blocked class in order has what
//! it needs *reserved* on one worker, so that small tasks behind it cannot
//! starve it.
//!
//! Invariant: what is taken from a worker never exceeds its capacity. The cost
//! of placing one task grows neither with the length of the queue (jobs queue in
//! their class by key alone) nor with the roster ([`pools`]). Deliberately
//! absent: time, links, and what a job or a task is; the engine says which jobs
//! have something ready, and takes each [`Grant`] to its task.

mod classes;
mod directories;
mod lacks;
mod pools;
mod requirement;
mod reservation;
mod room;
mod seats;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use classes::{Class, Standing};
use pools::Pools;
pub(super) use requirement::{Requirement, Traits};
use reservation::Reservation;
pub(super) use room::Room;
pub(super) use seats::Held;
use seats::Seat;

use crate::model::JobId;

/// One worker on the roster, by number in order of joining; not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkerKey(pub(super) u32);

/// One demand class, by number; not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassId(u32);

/// A job's turn: the smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// Behind all others, for what is left over: a second attempt at what runs already.
    pub(super) second: bool,
    priority: Reverse<i32>,
    /// The job.
    pub(super) job: JobId,
}

impl Turn {
    /// The turn of `job` with `priority`.
    pub(super) fn new(priority: i32, job: JobId) -> Self {
        Self { second: false, priority: Reverse(priority), job }
    }

    /// Its turn to start second attempts.
    pub(super) fn for_second(self) -> Self {
        Self { second: true, ..self }
    }
}

/// A decision: the next task of this job and class runs on this worker. What it needs is already taken there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The class whose turn it was.
    pub(super) class: ClassId,
    /// The job whose turn it was.
    pub(super) job: JobId,
    /// Whether it is a second attempt that is to be started.
    pub(super) second: bool,
    /// Where.
    pub(super) worker: WorkerKey,
    /// The GPU indices given out.
    pub(super) gpus: Vec<u32>,
}

/// Everything that placement knows.
#[derive(Debug, Default)]
pub(super) struct Placement {
    classes: BTreeMap<ClassId, Class>,
    by_requirement: BTreeMap<Arc<Requirement>, ClassId>,
    issued_classes: u32,
    /// Classes without users in the order in which they lost the last one.
    unused: BTreeMap<u64, ClassId>,
    retirements: u64,
    pools: Pools,
    seats: BTreeMap<WorkerKey, Seat>,
    /// How many seats are open and have a free slot: when none, nothing can be placed and nobody is asked.
    vacant: usize,
    /// Classes that may fit somewhere, by the turn of their first job.
    eager: BTreeSet<(Turn, ClassId)>,
    /// Classes that fit nowhere but perhaps on a worker in `grown`.
    blocked: BTreeSet<(Turn, ClassId)>,
    /// Workers that may take more than when the blocked classes were last
    /// decided. None of those before the given one fits there.
    grown: BTreeMap<WorkerKey, Option<(Turn, ClassId)>>,
    reservation: Option<Reservation>,
    /// Whether a reservation ended, or a worker opened, since it was last decided who needs one.
    unreserved: bool,
}

/// With more grown workers than this all blocked classes are decided anew;
/// with fewer, each of these workers looks for what it can take.
const TRIED_ONE_BY_ONE: usize = 8;

impl Placement {
    /// The next decision, or `None` when nothing that waits fits anywhere. `nearest` names workers that the next
    /// task of a job in a class is better off on: the first of them that has room is taken, and none is waited for.
    pub(super) fn next(&mut self, nearest: impl Fn(JobId, ClassId) -> Vec<WorkerKey>) -> Option<Grant> {
        self.renew_reservation();
        if self.grown.len() > TRIED_ONE_BY_ONE {
            self.wake_all();
        }
        while self.vacant > 0 {
            let eager = self.eager.first().copied();
            let regained = self.first_regained();
            match (eager, regained) {
                (Some(first), regained) if regained.is_none_or(|(blocked, _)| first < blocked) => {
                    let (_, id) = first;
                    if let Some(worker) = self.find(id) {
                        return Some(self.grant(first, worker, &nearest));
                    }
                    self.stand(id, Standing::Blocked);
                    self.reserve_for(id);
                }
                (_, Some((first, worker))) => return Some(self.grant(first, worker, &nearest)),
                (_, None) => return None,
            }
        }
        None
    }

    /// The first turn of all.
    pub(super) fn first_turn(&self) -> Option<Turn> {
        [self.eager.first(), self.blocked.first()].into_iter().flatten().min().map(|(turn, _)| *turn)
    }

    /// Classes with jobs in line, in the order of their turns: at most so many.
    pub(super) fn in_line(&self, most: usize) -> Vec<ClassId> {
        let mut standing: Vec<(Turn, ClassId)> = self.eager.iter().take(most).copied().collect();
        standing.extend(self.blocked.iter().take(most));
        standing.sort_unstable();
        standing.truncate(most);
        standing.into_iter().map(|(_, id)| id).collect()
    }

    /// Whether a task of this class may wait on this worker for what comes free: not where it is kept from that.
    pub(super) fn may_wait_on(&self, id: ClassId, worker: WorkerKey) -> bool {
        let open = self.seats.get(&worker).is_some_and(|seat| seat.open);
        open && self.could_hold(id, worker) && self.reserved_from(id, worker).is_none()
    }

    fn grant(
        &mut self,
        (turn, id): (Turn, ClassId),
        worker: WorkerKey,
        nearest: impl Fn(JobId, ClassId) -> Vec<WorkerKey>,
    ) -> Grant {
        let has_room = |near: &WorkerKey| self.seats.get(near).is_some_and(Seat::is_vacant) && self.suits(id, *near);
        // A second attempt is in a hurry, and goes where there is most room.
        let near = if turn.second { Vec::new() } else { nearest(turn.job, id) };
        let worker = near.into_iter().find(has_room).unwrap_or(worker);
        let requirement = Arc::clone(&self.class(id).requirement);
        let gpus = self.with_room(worker, |room| room.take(&requirement.demand));
        self.end_reservation_of(id);
        Grant { class: id, job: turn.job, second: turn.second, worker, gpus }
    }

    /// The first blocked class in order that fits on a worker that has grown, and that worker.
    fn first_regained(&mut self) -> Option<((Turn, ClassId), WorkerKey)> {
        let mut first: Option<((Turn, ClassId), WorkerKey)> = None;
        let grown: Vec<(WorkerKey, Option<(Turn, ClassId)>)> =
            self.grown.iter().map(|(worker, from)| (*worker, *from)).collect();
        for (worker, from) in grown {
            let seat = self.seats.get(&worker).filter(|seat| seat.is_vacant());
            let fitting = seat
                .and_then(|seat| self.pools.first_fitting(&seat.pools, &seat.room, from, |id| self.fits(id, worker)));
            match fitting {
                Some(found) => {
                    self.grown.insert(worker, Some(found));
                    if first.is_none_or(|(before, _)| found < before) {
                        first = Some((found, worker));
                    }
                }
                None => {
                    self.grown.remove(&worker);
                }
            }
        }
        first
    }

    /// The worker with most room for a class, if it fits on any.
    fn find(&self, id: ClassId) -> Option<WorkerKey> {
        let class = self.class(id);
        let wanted = class.measure.wanted(&class.requirement.demand);
        self.pools
            .roomiest(class.pool, &class.measure)
            .take_while(|rank| rank.free >= wanted)
            .map(pools::Rank::worker)
            .find(|worker| self.fits(id, *worker))
    }

    /// Whether a worker could ever run a class's tasks, and can take one now.
    fn suits(&self, id: ClassId, worker: WorkerKey) -> bool {
        self.could_hold(id, worker) && self.fits(id, worker)
    }

    /// Whether a class's next task can be given to this worker now, which is one of its pool.
    fn fits(&self, id: ClassId, worker: WorkerKey) -> bool {
        let class = self.class(id);
        let Some(seat) = self.seats.get(&worker) else { return false };
        if !seat.open || class.requirement.avoid == Some(worker) || self.fault_of(class, worker).is_some() {
            return false;
        }
        match self.reserved_from(id, worker) {
            Some(reserved) => seat.room.fits_beside(&class.requirement.demand, reserved),
            None => seat.room.fits(&class.requirement.demand),
        }
    }

    /// Lets all blocked classes be decided anew.
    fn wake_all(&mut self) {
        self.grown.clear();
        let woken: Vec<ClassId> = self.blocked.iter().map(|(_, id)| *id).collect();
        for id in woken {
            self.stand(id, Standing::Eager);
        }
    }

    /// Panics with what is broken, or with what could run and does not; `held`
    /// is what each seated worker holds. `is_decided` when [`Self::next`] has said `None`, and not when nothing is to
    /// be placed at present.
    pub(super) fn check<'a>(&self, held: impl Fn(WorkerKey) -> Held<'a>, is_decided: bool) {
        self.check_seats(held);
        self.check_classes();
        self.check_reservation();
        if is_decided && self.vacant > 0 {
            assert!(self.eager.is_empty() && self.grown.is_empty(), "something was left undecided");
            for (_, id) in &self.blocked {
                assert!(self.find(*id).is_none(), "a task waits that fits on a worker");
            }
        }
    }
}
