//! What of the worker's capacity is taken by attempts that the executor has.
//!
//! Invariant: nothing is ever taken beyond the capacity, and no GPU is with two
//! attempts. Absent: who took it (the attempts themselves know).

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Capacity, Demand, MilliCpu};

/// A capacity and how much of it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    capacity: Capacity,
    slots: u32,
    cpu: u32,
    memory_bytes: u64,
    gpus: BTreeSet<u32>,
    /// Only names that are taken at all, so that an empty room equals a fresh one.
    resources: BTreeMap<String, u64>,
}

impl Room {
    /// All of `capacity`, free.
    pub(super) fn new(capacity: Capacity) -> Self {
        Self { capacity, slots: 0, cpu: 0, memory_bytes: 0, gpus: BTreeSet::new(), resources: BTreeMap::new() }
    }

    /// The same capacity with nothing taken.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.capacity.clone())
    }

    /// Whether any attempt at all could start.
    pub(super) fn has_slot(&self) -> bool {
        self.slots < self.capacity.slots
    }

    /// Slots that nothing takes.
    pub(super) fn free_slots(&self) -> u32 {
        assert!(self.slots <= self.capacity.slots, "more slots are taken than there are");
        self.capacity.slots - self.slots
    }

    /// Why a task with `demand`, given these GPUs, could not even run here alone.
    pub(super) fn never_fits(&self, demand: &Demand, gpus: &[u32]) -> Option<&'static str> {
        if !self.capacity.could_hold(demand) {
            return Some("it asks for more than this worker has");
        }
        let distinct: BTreeSet<_> = gpus.iter().collect();
        let proper = distinct.len() == gpus.len() && gpus.iter().all(|gpu| *gpu < self.capacity.gpus);
        if !proper || gpus.len() != demand.gpus as usize {
            return Some("it was given other GPUs than it asked for or this worker has");
        }
        None
    }

    /// Whether a task with `demand`, given these GPUs, fits beside what is taken.
    pub(super) fn fits(&self, demand: &Demand, gpus: &[u32]) -> bool {
        self.has_slot()
            && u64::from(self.cpu) + u64::from(demand.cpu.0) <= u64::from(self.capacity.cpu.0)
            && self.memory_bytes.checked_add(demand.memory_bytes).is_some_and(|sum| sum <= self.capacity.memory_bytes)
            && gpus.iter().all(|gpu| !self.gpus.contains(gpu))
            && demand.resources.iter().all(|(name, amount)| {
                let taken = self.resources.get(name).copied().unwrap_or(0);
                let whole = self.capacity.resources.get(name).copied().unwrap_or(0);
                taken.checked_add(*amount).is_some_and(|sum| sum <= whole)
            })
    }

    /// Takes what [`Room::fits`] has found free.
    pub(super) fn take(&mut self, demand: &Demand, gpus: &[u32]) {
        assert!(self.fits(demand, gpus), "room is taken that is not there");
        self.slots += 1;
        self.cpu += demand.cpu.0;
        self.memory_bytes += demand.memory_bytes;
        self.gpus.extend(gpus);
        for (name, amount) in demand.resources.iter().filter(|(_, amount)| **amount > 0) {
            *self.resources.entry(name.clone()).or_default() += amount;
        }
    }

    /// Gives back what [`Room::take`] took.
    pub(super) fn release(&mut self, demand: &Demand, gpus: &[u32]) {
        assert!(self.slots > 0 && self.cpu >= demand.cpu.0, "room is given back that was not taken");
        assert!(self.memory_bytes >= demand.memory_bytes, "memory is given back that was not taken");
        self.slots -= 1;
        self.cpu -= demand.cpu.0;
        self.memory_bytes -= demand.memory_bytes;
        for gpu in gpus {
            assert!(self.gpus.remove(gpu), "GPU {gpu} is given back twice");
        }
        for (name, amount) in demand.resources.iter().filter(|(_, amount)| **amount > 0) {
            let left = self.resources.get(name).copied().unwrap_or(0).checked_sub(*amount);
            match left {
                Some(0) => _ = self.resources.remove(name),
                Some(left) => _ = self.resources.insert(name.clone(), left),
                None => panic!("resource {name} is given back that was not taken"),
            }
        }
    }

    /// Panics when more is taken than there is.
    pub(super) fn check(&self) {
        assert!(self.slots <= self.capacity.slots, "{} of {} slots taken", self.slots, self.capacity.slots);
        assert!(MilliCpu(self.cpu) <= self.capacity.cpu, "more CPU is taken than there is");
        assert!(self.memory_bytes <= self.capacity.memory_bytes, "more memory is taken than there is");
        assert!(self.gpus.last().is_none_or(|gpu| *gpu < self.capacity.gpus), "a GPU is taken that is not there");
        for (name, taken) in &self.resources {
            let whole = self.capacity.resources.get(name).copied().unwrap_or(0);
            assert!((1..=whole).contains(taken), "{taken} of {whole} {name} taken");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(cpu: u32, gpus: u32, licences: u64) -> Demand {
        let resources = BTreeMap::from([("licence".to_owned(), licences)]);
        Demand { cpu: MilliCpu(cpu), memory_bytes: 0, gpus, resources }
    }

    fn room() -> Room {
        let resources = BTreeMap::from([("licence".to_owned(), 2)]);
        Room::new(Capacity { slots: 3, cpu: MilliCpu(1500), memory_bytes: 10, gpus: 2, resources })
    }

    #[test]
    fn what_was_given_back_is_as_if_never_taken() {
        let mut room = room();
        room.take(&demand(1000, 1, 2), &[1]);
        room.check();
        assert!(!room.fits(&demand(600, 0, 0), &[]), "CPU is never oversubscribed");
        assert!(!room.fits(&demand(0, 0, 1), &[]), "neither is a named resource");
        assert!(!room.fits(&demand(0, 1, 0), &[1]), "nor a GPU");
        assert!(room.fits(&demand(500, 1, 0), &[0]));
        room.release(&demand(1000, 1, 2), &[1]);
        assert_eq!(room, self::room());
    }

    #[test]
    fn gpus_have_to_be_those_asked_for() {
        let room = room();
        assert!(room.never_fits(&demand(0, 2, 0), &[0, 1]).is_none());
        for wrong in [&[0][..], &[0, 0], &[0, 2]] {
            assert!(room.never_fits(&demand(0, 2, 0), wrong).is_some(), "{wrong:?} are no two GPUs of two");
        }
        assert!(room.never_fits(&demand(1501, 0, 0), &[]).is_some());
    }
}
