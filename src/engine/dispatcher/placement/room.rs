//! What is free on one worker.
//!
//! Invariant: free never exceeds the capacity and never goes below zero; a GPU
//! index is free or taken by exactly one. Absent: whether the worker may be
//! given anything at all ([`super::seats`]).

use std::collections::BTreeMap;

use crate::model::{Capacity, Demand, IntervalSet};

/// What is free on one worker, of what it has.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    capacity: Capacity,
    slots: u32,
    cpu: u32,
    memory_bytes: u64,
    /// Free indices. A set of ranges: a peer may claim any number of GPUs.
    gpus: IntervalSet,
    free_gpus: u32,
    resources: BTreeMap<String, u64>,
}

/// A component of a demand by which workers are ranked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    /// Job slots: for demands that ask for nothing else.
    Slots,
    /// Thousandths of a core.
    Cpu,
    /// Bytes.
    Memory,
    /// Whole GPUs.
    Gpus,
    /// A named resource.
    Resource(String),
}

impl Measure {
    /// The component of `demand` that fewest workers can be expected to have.
    pub(crate) fn of(demand: &Demand) -> Self {
        if demand.gpus > 0 {
            return Self::Gpus;
        }
        if let Some((name, _)) = demand.resources.iter().find(|(_, amount)| **amount > 0) {
            return Self::Resource(name.clone());
        }
        match (demand.memory_bytes, demand.cpu.0) {
            (0, 0) => Self::Slots,
            (0, _) => Self::Cpu,
            _ => Self::Memory,
        }
    }

    /// How much of it `demand` asks for; at least one slot.
    pub(crate) fn wanted(&self, demand: &Demand) -> u64 {
        match self {
            Self::Slots => 1,
            Self::Cpu => u64::from(demand.cpu.0),
            Self::Memory => demand.memory_bytes,
            Self::Gpus => u64::from(demand.gpus),
            Self::Resource(name) => demand.resources.get(name).copied().unwrap_or(0),
        }
    }
}

impl Room {
    /// All of `capacity`.
    pub(crate) fn of(capacity: &Capacity) -> Self {
        let gpus = match capacity.gpus.checked_sub(1) {
            Some(last) => IntervalSet::from_range(0, u64::from(last)),
            None => IntervalSet::new(),
        };
        Self {
            slots: capacity.slots,
            cpu: capacity.cpu.0,
            memory_bytes: capacity.memory_bytes,
            gpus,
            free_gpus: capacity.gpus,
            resources: capacity.resources.clone(),
            capacity: capacity.clone(),
        }
    }

    /// All that the worker has.
    pub(crate) fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Free slots.
    pub(crate) fn slots(&self) -> u32 {
        self.slots
    }

    /// How much is free of one component.
    pub(crate) fn free(&self, measure: &Measure) -> u64 {
        match measure {
            Measure::Slots => u64::from(self.slots),
            Measure::Cpu => u64::from(self.cpu),
            Measure::Memory => self.memory_bytes,
            Measure::Gpus => u64::from(self.free_gpus),
            Measure::Resource(name) => self.resources.get(name).copied().unwrap_or(0),
        }
    }

    /// Whether a task with `demand` fits now.
    pub(crate) fn fits(&self, demand: &Demand) -> bool {
        self.slots >= 1
            && self.cpu >= demand.cpu.0
            && self.memory_bytes >= demand.memory_bytes
            && self.free_gpus >= demand.gpus
            && demand.resources.iter().all(|(name, amount)| self.free_resource(name) >= *amount)
    }

    /// Whether it fits and still leaves untouched what is free of `reserved`,
    /// so that what comes free adds up until `reserved` fits as well.
    pub(crate) fn fits_beside(&self, demand: &Demand, reserved: &Demand) -> bool {
        let beside = |free: u64, wanted: u64, kept: u64| wanted == 0 || free.saturating_sub(kept) >= wanted;
        beside(u64::from(self.slots), 1, 1)
            && beside(u64::from(self.cpu), u64::from(demand.cpu.0), u64::from(reserved.cpu.0))
            && beside(self.memory_bytes, demand.memory_bytes, reserved.memory_bytes)
            && beside(u64::from(self.free_gpus), u64::from(demand.gpus), u64::from(reserved.gpus))
            && demand.resources.iter().all(|(name, amount)| {
                beside(self.free_resource(name), *amount, reserved.resources.get(name).copied().unwrap_or(0))
            })
    }

    fn free_resource(&self, name: &str) -> u64 {
        self.resources.get(name).copied().unwrap_or(0)
    }

    /// Takes what `demand` asks for; the GPU indices given out are the lowest free ones.
    pub(crate) fn take(&mut self, demand: &Demand) -> Vec<u32> {
        assert!(self.fits(demand), "took more than is free");
        self.subtract(demand);
        let lowest = std::iter::from_fn(|| self.gpus.pop_first());
        lowest.take(demand.gpus as usize).filter_map(|index| u32::try_from(index).ok()).collect()
    }

    /// Takes what `demand` asks for with exactly these GPU indices, unless that cannot be.
    pub(crate) fn take_these(&mut self, demand: &Demand, gpus: &[u32]) -> bool {
        let free = |index: &u32| self.gpus.contains(u64::from(*index));
        let distinct = gpus.windows(2).all(|pair| pair[0] < pair[1]);
        if !self.fits(demand) || gpus.len() != demand.gpus as usize || !distinct || !gpus.iter().all(free) {
            return false;
        }
        self.subtract(demand);
        for index in gpus {
            let was_free = self.gpus.remove(u64::from(*index));
            assert!(was_free, "a GPU was given out twice");
        }
        true
    }

    fn subtract(&mut self, demand: &Demand) {
        self.slots -= 1;
        self.cpu -= demand.cpu.0;
        self.memory_bytes -= demand.memory_bytes;
        self.free_gpus -= demand.gpus;
        for (name, amount) in &demand.resources {
            if let Some(free) = self.resources.get_mut(name) {
                *free -= amount;
            }
        }
    }

    /// Gives back what was taken for `demand` with these GPU indices.
    pub(crate) fn give_back(&mut self, demand: &Demand, gpus: &[u32]) {
        self.slots += 1;
        self.cpu += demand.cpu.0;
        self.memory_bytes += demand.memory_bytes;
        self.free_gpus += demand.gpus;
        for (name, amount) in &demand.resources {
            if let Some(free) = self.resources.get_mut(name) {
                *free += amount;
            }
        }
        for index in gpus {
            let was_taken = self.gpus.insert(u64::from(*index));
            assert!(was_taken, "a GPU came back that was free");
        }
        assert!(self.slots <= self.capacity.slots, "more slots came back than there are");
        assert!(self.memory_bytes <= self.capacity.memory_bytes, "more memory came back than there is");
        assert!(self.cpu <= self.capacity.cpu.0, "more CPU came back than there is");
    }

    /// Panics unless exactly `taken` is missing from the capacity.
    pub(crate) fn check<'a>(&self, taken: impl Iterator<Item = (&'a Demand, &'a [u32])>) {
        let mut expected = Self::of(&self.capacity);
        for (demand, gpus) in taken {
            let fitted = expected.take_these(demand, gpus);
            assert!(fitted, "a worker is oversubscribed");
        }
        assert_eq!(self.slots, expected.slots, "free slots are miscounted");
        assert_eq!(self.cpu, expected.cpu, "free CPU is miscounted");
        assert_eq!(self.memory_bytes, expected.memory_bytes, "free memory is miscounted");
        assert_eq!(self.gpus, expected.gpus, "free GPUs are miscounted");
        assert_eq!(self.gpus.len(), u64::from(self.free_gpus), "free GPUs are not as many as counted");
        assert_eq!(self.resources, expected.resources, "free named resources are miscounted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MilliCpu;

    fn capacity() -> Capacity {
        Capacity { slots: 2, cpu: MilliCpu::from_cores(4), memory_bytes: 1000, gpus: 3, resources: BTreeMap::new() }
    }

    #[test]
    fn gpus_are_handed_out_by_lowest_index_and_come_back() {
        let mut room = Room::of(&capacity());
        let two = Demand { gpus: 2, ..Demand::default() };
        assert_eq!(room.take(&two), [0, 1]);
        assert!(!room.fits(&two));
        room.give_back(&two, &[0, 1]);
        assert!(room.take_these(&two, &[1, 2]));
        assert_eq!(room.take(&Demand { gpus: 1, ..Demand::default() }), [0]);
    }

    #[test]
    fn gpus_that_are_taken_unknown_or_named_twice_cannot_be_taken() {
        let mut room = Room::of(&capacity());
        let one = Demand { gpus: 1, ..Demand::default() };
        let two = Demand { gpus: 2, ..Demand::default() };
        assert!(!room.take_these(&one, &[3]), "there is no such GPU");
        assert!(!room.take_these(&two, &[1, 1]), "named twice");
        assert!(!room.take_these(&two, &[1]), "too few");
        assert!(room.take_these(&one, &[1]) && !room.take_these(&one, &[1]), "taken");
    }

    #[test]
    fn what_is_reserved_stays_free_for_whom_it_is_reserved() {
        let mut room = Room::of(&capacity());
        let big = Demand { memory_bytes: 900, ..Demand::default() };
        let small = Demand { memory_bytes: 200, ..Demand::default() };
        assert!(room.fits(&small) && !room.fits_beside(&small, &big));
        assert!(room.fits_beside(&Demand { memory_bytes: 100, ..Demand::default() }, &big));
        room.take(&Demand::default());
        assert!(!room.fits_beside(&Demand::default(), &big), "the last slot is kept as well");
    }
}
