//! The index of workers: for every kind of worker that some task asks for, the
//! ones with a free slot, ranked by what is free.
//!
//! Invariant: a worker is ranked in a pool exactly when it is of the pool's
//! kind, open, and has a free slot; its rank is what is free now. Finding the
//! roomiest one costs the same for ten workers and for ten thousand.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::WorkerKey;
use super::requirement::{Kind, Traits};
use super::room::{Measure, Room};

/// One pool, by number; not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolId(u32);

/// A worker's place in a ranking; the greatest has most room. Of equals the one that joined first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Free amount of the measure.
    pub(crate) free: u64,
    /// Free slots: spreads tasks over machines.
    slots: u32,
    worker: Reverse<WorkerKey>,
}

impl Rank {
    fn of(worker: WorkerKey, room: &Room, measure: &Measure) -> Self {
        Self { free: room.free(measure), slots: room.slots(), worker: Reverse(worker) }
    }

    /// Whose rank it is.
    pub(crate) fn worker(&self) -> WorkerKey {
        self.worker.0
    }
}

/// The workers of one kind.
#[derive(Debug)]
struct Pool {
    kind: Kind,
    /// One ranking a measure that some demand class asks by, with the number of those classes.
    rankings: BTreeMap<Measure, (u32, BTreeSet<Rank>)>,
}

/// All pools.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pools: BTreeMap<PoolId, Pool>,
    by_kind: BTreeMap<Kind, PoolId>,
    issued: u32,
}

/// A worker as a new pool gets to see it.
pub(crate) struct Candidate<'a> {
    pub(crate) worker: WorkerKey,
    pub(crate) traits: &'a Traits,
    /// What is free, when it may be given work and has a free slot.
    pub(crate) room: Option<&'a Room>,
}

impl Pools {
    /// The pool for `kind` with a ranking by `measure` for one more class. When
    /// the pool is new, also says which of `candidates` belong to it.
    pub(crate) fn acquire<'a>(
        &mut self,
        kind: &Kind,
        measure: &Measure,
        candidates: impl Iterator<Item = Candidate<'a>>,
    ) -> (PoolId, Vec<WorkerKey>) {
        let id = *self.by_kind.entry(kind.clone()).or_insert_with(|| {
            self.issued += 1;
            PoolId(self.issued)
        });
        let new = !self.pools.contains_key(&id);
        let pool = self.pools.entry(id).or_insert_with(|| Pool { kind: kind.clone(), rankings: BTreeMap::new() });
        let ranked = pool.rankings.contains_key(measure);
        let (users, ranking) = pool.rankings.entry(measure.clone()).or_default();
        *users += 1;
        let mut members = Vec::new();
        if !ranked {
            for candidate in candidates.filter(|candidate| candidate.traits.is(kind)) {
                members.push(candidate.worker);
                ranking.extend(candidate.room.map(|room| Rank::of(candidate.worker, room, measure)));
            }
        }
        assert!(!new || !ranked, "a new pool was ranked already");
        (id, if new { members } else { Vec::new() })
    }

    /// A class that looked for `measure` in this pool is gone. Says whether the pool went with it.
    pub(crate) fn release(&mut self, id: PoolId, measure: &Measure) -> bool {
        let Some(pool) = self.pools.get_mut(&id) else { unreachable!("a class looks into a pool that is not there") };
        if let Some((users, _)) = pool.rankings.get_mut(measure) {
            *users -= 1;
            if *users == 0 {
                pool.rankings.remove(measure);
            }
        }
        if !pool.rankings.is_empty() {
            return false;
        }
        self.by_kind.remove(&pool.kind);
        self.pools.remove(&id);
        true
    }

    /// The pools that a worker with these traits belongs to.
    pub(crate) fn matching(&self, traits: &Traits) -> Vec<PoolId> {
        self.pools.iter().filter(|(_, pool)| traits.is(&pool.kind)).map(|(id, _)| *id).collect()
    }

    /// Enters a worker with a free slot into the rankings of its pools.
    pub(crate) fn rank(&mut self, pools: &[PoolId], worker: WorkerKey, room: &Room) {
        for id in pools {
            for (measure, (_, ranking)) in self.pools.get_mut(id).into_iter().flat_map(|pool| &mut pool.rankings) {
                let new = ranking.insert(Rank::of(worker, room, measure));
                assert!(new, "a worker was ranked twice");
            }
        }
    }

    /// Takes a worker out of the rankings of its pools; `room` is what it was ranked with.
    pub(crate) fn unrank(&mut self, pools: &[PoolId], worker: WorkerKey, room: &Room) {
        for id in pools {
            for (measure, (_, ranking)) in self.pools.get_mut(id).into_iter().flat_map(|pool| &mut pool.rankings) {
                let there = ranking.remove(&Rank::of(worker, room, measure));
                assert!(there, "a ranked worker had another rank");
            }
        }
    }

    /// The ranked workers of a pool, roomiest first.
    pub(crate) fn roomiest(&self, id: PoolId, measure: &Measure) -> impl Iterator<Item = &Rank> {
        let ranking = self.pools.get(&id).and_then(|pool| pool.rankings.get(measure));
        ranking.into_iter().flat_map(|(_, ranking)| ranking.iter().rev())
    }

    /// Panics unless exactly these workers are ranked, each by its room.
    pub(crate) fn check<'a>(&self, candidates: impl Iterator<Item = Candidate<'a>> + Clone) {
        assert_eq!(self.pools.len(), self.by_kind.len(), "pools and their kinds are not as many");
        for (id, pool) in &self.pools {
            assert_eq!(self.by_kind.get(&pool.kind), Some(id), "a pool cannot be found by its kind");
            assert!(!pool.rankings.is_empty(), "a pool that nobody looks into");
            for (measure, (users, ranking)) in &pool.rankings {
                assert!(*users > 0, "a ranking that nobody asks by");
                let expected: BTreeSet<Rank> = candidates
                    .clone()
                    .filter(|candidate| candidate.traits.is(&pool.kind))
                    .filter_map(|candidate| candidate.room.map(|room| Rank::of(candidate.worker, room, measure)))
                    .collect();
                assert_eq!(*ranking, expected, "a ranking is not what is free");
            }
        }
    }
}
