//! Demand classes and the line of jobs in each.
//!
//! Invariant: a class is in exactly one of `eager` and `blocked`, under the
//! turn of its first job, exactly when a job stands in its line.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pools::PoolId;
use super::room::Measure;
use super::{ClassId, Placement, Requirement, Turn, WorkerKey};

/// The tasks of equal requirements.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) requirement: Arc<Requirement>,
    /// Where its workers are ranked, and by what.
    pub(super) pool: PoolId,
    pub(super) measure: Measure,
    /// Jobs that belong to it, and classes that are based on it.
    users: u32,
    /// For tasks that keep away from a worker: the class of those that do not.
    base: Option<ClassId>,
    /// When it lost its last user, by number; a class that keeps coming back is not made anew each time.
    unused: Option<u64>,
    /// Jobs of it that have something ready.
    pub(super) line: BTreeSet<Turn>,
    pub(super) standing: Standing,
    /// Seated workers that could hold such a task if nothing else ran on them; kept by the base alone.
    pub(super) holders: BTreeSet<WorkerKey>,
}

/// Classes without users that are kept, the latest.
const KEPT_UNUSED: usize = 64;

/// Where a class stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody in line.
    Idle,
    /// To be decided.
    Eager,
    /// Fits nowhere.
    Blocked,
}

impl Placement {
    /// The class of tasks with this requirement, for one more user.
    pub(in super::super) fn join_class(&mut self, requirement: &Requirement) -> ClassId {
        if let Some(id) = self.by_requirement.get(requirement).copied() {
            let class = self.class_mut(id);
            class.users += 1;
            if let Some(since) = class.unused.take() {
                self.unused.remove(&since);
            }
            return id;
        }
        let base = requirement.avoid.map(|_| self.join_class(&requirement.anywhere()));
        let holders = if base.is_none() { self.holders_of(requirement) } else { BTreeSet::new() };
        self.issued_classes += 1;
        let id = ClassId(self.issued_classes);
        let requirement = Arc::new(requirement.clone());
        let measure = Measure::of(&requirement.demand);
        let pool = self.join_pool(&requirement.kind, &measure);
        let class = Class {
            requirement: Arc::clone(&requirement),
            pool,
            measure,
            users: 1,
            base,
            unused: None,
            line: BTreeSet::new(),
            standing: Standing::Idle,
            holders,
        };
        self.classes.insert(id, class);
        self.by_requirement.insert(requirement, id);
        id
    }

    /// One user of a class is gone; it must not stand in its line.
    pub(in super::super) fn leave_class(&mut self, id: ClassId) {
        let class = self.class_mut(id);
        class.users -= 1;
        if class.users > 0 {
            return;
        }
        assert!(class.line.is_empty(), "a class without users has jobs in line");
        self.retirements += 1;
        self.class_mut(id).unused = Some(self.retirements);
        self.unused.insert(self.retirements, id);
        let surplus = if self.unused.len() > KEPT_UNUSED { self.unused.pop_first() } else { None };
        if let Some((_, oldest)) = surplus {
            self.drop_class(oldest);
        }
    }

    fn drop_class(&mut self, id: ClassId) {
        let Some(class) = self.classes.remove(&id) else { unreachable!("no class {id:?}") };
        assert_eq!(class.users, 0, "a class is dropped that has users");
        self.by_requirement.remove(&class.requirement);
        self.leave_pool(class.pool, &class.measure);
        if let Some(base) = class.base {
            self.leave_class(base);
        }
    }

    /// Whether this seated worker could run such a task when nothing else runs there.
    pub(in super::super) fn could_hold(&self, id: ClassId, worker: WorkerKey) -> bool {
        let class = self.class(id);
        class.requirement.avoid != Some(worker)
            && self.base(class).holders.contains(&worker)
            && self.fault_of(class, worker).is_none()
    }

    /// Seated workers that could run such a task when nothing else runs there.
    pub(in super::super) fn holders(&self, id: ClassId) -> impl Iterator<Item = WorkerKey> {
        self.able(id).filter(move |worker| self.fault_of(self.class(id), *worker).is_none())
    }

    /// Seated workers that could ever run such a task, whether or not its directory was missing there when last tried.
    fn able(&self, id: ClassId) -> impl Iterator<Item = WorkerKey> {
        let class = self.class(id);
        let avoid = class.requirement.avoid;
        self.base(class).holders.iter().copied().filter(move |worker| avoid != Some(*worker))
    }

    fn base<'a>(&'a self, class: &'a Class) -> &'a Class {
        class.base.map_or(class, |base| self.class(base))
    }

    /// Whether any seated worker could ever run such a task.
    pub(in super::super) fn has_holder(&self, id: ClassId) -> bool {
        self.able(id).next().is_some()
    }

    /// A job of this class has something ready.
    pub(in super::super) fn line_up(&mut self, id: ClassId, turn: Turn) {
        // A new first job may stand before the reservation that its class was blocked by.
        let leads = self.class(id).line.first().is_none_or(|first| turn < *first);
        if leads {
            self.stand(id, Standing::Idle);
        }
        let new = self.class_mut(id).line.insert(turn);
        assert!(new, "a job lined up twice");
        if leads {
            self.stand(id, Standing::Eager);
        }
    }

    /// A job of this class has nothing ready any more.
    pub(in super::super) fn step_out(&mut self, id: ClassId, turn: Turn) {
        let standing = self.class(id).standing;
        let was_first = self.class(id).line.first() == Some(&turn);
        if !was_first {
            let there = self.class_mut(id).line.remove(&turn);
            assert!(there, "a job stepped out of a line it was not in");
            return;
        }
        self.stand(id, Standing::Idle);
        let class = self.class_mut(id);
        class.line.remove(&turn);
        if class.line.is_empty() {
            self.end_reservation_of(id);
        } else {
            self.stand(id, standing);
            self.move_reservation_of(id);
        }
    }

    /// Moves a class to where it now stands, under the turn of its first job.
    pub(super) fn stand(&mut self, id: ClassId, standing: Standing) {
        let Some(class) = self.classes.get_mut(&id) else { unreachable!("no class {id:?}") };
        if let Some(turn) = class.line.first().copied() {
            let wanted = class.measure.wanted(&class.requirement.demand);
            let listed = match class.standing {
                Standing::Idle => true,
                Standing::Eager => self.eager.remove(&(turn, id)),
                Standing::Blocked => {
                    self.pools.unblock(class.pool, &class.measure, turn, id, wanted);
                    self.blocked.remove(&(turn, id))
                }
            };
            assert!(listed, "a class was not where it stood");
            let unlisted = match standing {
                Standing::Idle => true,
                Standing::Eager => self.eager.insert((turn, id)),
                Standing::Blocked => {
                    self.pools.block(class.pool, &class.measure, turn, id, wanted);
                    self.blocked.insert((turn, id))
                }
            };
            assert!(unlisted, "a class stands in two places");
        }
        class.standing = standing;
    }

    /// The class of a known id.
    pub(super) fn class(&self, id: ClassId) -> &Class {
        match self.classes.get(&id) {
            Some(class) => class,
            None => unreachable!("no class {id:?}"),
        }
    }

    fn class_mut(&mut self, id: ClassId) -> &mut Class {
        match self.classes.get_mut(&id) {
            Some(class) => class,
            None => unreachable!("no class {id:?}"),
        }
    }

    /// Panics with what is broken about the classes.
    pub(super) fn check_classes(&self) {
        assert_eq!(self.classes.len(), self.by_requirement.len(), "classes and requirements are not as many");
        let mut listed = 0;
        for (id, class) in &self.classes {
            let listed_unused = class.unused.is_some_and(|since| self.unused.get(&since) == Some(id));
            assert_eq!(class.users == 0, listed_unused, "a class that nobody uses, or that is taken for one");
            assert_eq!(class.base.is_some(), class.requirement.avoid.is_some(), "a class with a base avoids nobody");
            // A job may stand there twice: for the tasks that wait, and for second attempts.
            assert!(class.line.len() <= 2 * class.users as usize, "more jobs in line than belong to the class");
            assert_eq!(self.by_requirement.get(&class.requirement), Some(id), "a class that cannot be found");
            // Costs as much as the roster is long, so those without users are left for when they have some.
            if class.users > 0 {
                let holders: BTreeSet<WorkerKey> = self.able(*id).collect();
                assert_eq!(holders, self.holders_of(&class.requirement), "holders are out of date");
            }
            let first = class.line.first().map(|turn| (*turn, *id));
            let eager = first.is_some_and(|key| self.eager.contains(&key));
            let blocked = first.is_some_and(|key| self.blocked.contains(&key));
            let stands = match class.standing {
                Standing::Idle => first.is_none(),
                Standing::Eager => eager && !blocked,
                Standing::Blocked => blocked && !eager,
            };
            assert!(stands, "a class does not stand where it is listed");
            listed += usize::from(first.is_some());
        }
        assert_eq!(listed, self.eager.len() + self.blocked.len(), "a listed class has nobody in line");
    }
}
