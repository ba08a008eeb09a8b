//! The index of workers: for every kind of worker that some task asks for, the
//! ones with a free slot, ranked by what is free; and beside each ranking the
//! demand classes that found nothing in it.
//!
//! Invariant: a worker is ranked in a pool exactly when it is of the pool's
//! kind, open, and has a free slot; its rank is what is free now. Finding the
//! roomiest one costs the same for ten workers and for ten thousand, and finding
//! who could use what came free costs the same for ten demands and for a thousand.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::requirement::{Kind, Traits};
use super::room::{Measure, Room};
use super::{ClassId, Turn, WorkerKey};

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
    /// One a measure that some demand class asks by.
    rankings: BTreeMap<Measure, Ranking>,
}

/// The workers of one kind by one measure.
#[derive(Debug, Default)]
struct Ranking {
    /// How many demand classes ask by it.
    users: u32,
    ranks: BTreeSet<Rank>,
    /// Those of them that fit on none of the workers.
    blocked: BTreeSet<(Turn, ClassId)>,
    /// What those want of the measure: a worker with less than the least of it need not be tried.
    wanted: BTreeSet<(u64, ClassId)>,
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
        let ranking = pool.rankings.entry(measure.clone()).or_default();
        ranking.users += 1;
        let mut members = Vec::new();
        if !ranked {
            for candidate in candidates.filter(|candidate| candidate.traits.is(kind)) {
                members.push(candidate.worker);
                ranking.ranks.extend(candidate.room.map(|room| Rank::of(candidate.worker, room, measure)));
            }
        }
        assert!(!new || !ranked, "a new pool was ranked already");
        (id, if new { members } else { Vec::new() })
    }

    /// A class that looked for `measure` in this pool is gone. Says whether the pool went with it.
    pub(crate) fn release(&mut self, id: PoolId, measure: &Measure) -> bool {
        let Some(pool) = self.pools.get_mut(&id) else { unreachable!("a class looks into a pool that is not there") };
        if let Some(ranking) = pool.rankings.get_mut(measure) {
            ranking.users -= 1;
            if ranking.users == 0 {
                assert!(ranking.blocked.is_empty(), "a class that is gone is blocked");
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
            for (measure, ranking) in self.pools.get_mut(id).into_iter().flat_map(|pool| &mut pool.rankings) {
                let new = ranking.ranks.insert(Rank::of(worker, room, measure));
                assert!(new, "a worker was ranked twice");
            }
        }
    }

    /// Takes a worker out of the rankings of its pools; `room` is what it was ranked with.
    pub(crate) fn unrank(&mut self, pools: &[PoolId], worker: WorkerKey, room: &Room) {
        for id in pools {
            for (measure, ranking) in self.pools.get_mut(id).into_iter().flat_map(|pool| &mut pool.rankings) {
                let there = ranking.ranks.remove(&Rank::of(worker, room, measure));
                assert!(there, "a ranked worker had another rank");
            }
        }
    }

    /// The ranked workers of a pool, roomiest first.
    pub(crate) fn roomiest(&self, id: PoolId, measure: &Measure) -> impl Iterator<Item = &Rank> {
        let ranking = self.pools.get(&id).and_then(|pool| pool.rankings.get(measure));
        ranking.into_iter().flat_map(|ranking| ranking.ranks.iter().rev())
    }

    /// A class fits on none of the workers of its pool.
    pub(crate) fn block(&mut self, id: PoolId, measure: &Measure, turn: Turn, class: ClassId, wanted: u64) {
        let ranking = self.pools.get_mut(&id).and_then(|pool| pool.rankings.get_mut(measure));
        let new = ranking.is_some_and(|ranking| {
            ranking.wanted.insert((wanted, class));
            ranking.blocked.insert((turn, class))
        });
        assert!(new, "a class is blocked twice");
    }

    /// A blocked class may fit again, or waits no more.
    pub(crate) fn unblock(&mut self, id: PoolId, measure: &Measure, turn: Turn, class: ClassId, wanted: u64) {
        let ranking = self.pools.get_mut(&id).and_then(|pool| pool.rankings.get_mut(measure));
        let there = ranking.is_some_and(|ranking| {
            ranking.wanted.remove(&(wanted, class));
            ranking.blocked.remove(&(turn, class))
        });
        assert!(there, "a class was not blocked where it stood");
    }

    /// The first blocked class in order, from `from` on, that fits on a worker of these pools.
    pub(crate) fn first_fitting(
        &self,
        pools: &[PoolId],
        room: &Room,
        from: Option<(Turn, ClassId)>,
        fits: impl Fn(ClassId) -> bool,
    ) -> Option<(Turn, ClassId)> {
        let pools = pools.iter().filter_map(|id| self.pools.get(id));
        let rankings = pools.flat_map(|pool| &pool.rankings);
        let worth_a_try = |measure: &Measure, ranking: &Ranking| {
            ranking.wanted.first().is_some_and(|(least, _)| *least <= room.free(measure))
        };
        let first = |(measure, ranking): (&Measure, &Ranking)| {
            if !worth_a_try(measure, ranking) {
                return None;
            }
            match from {
                Some(from) => ranking.blocked.range(from..).find(|(_, class)| fits(*class)).copied(),
                None => ranking.blocked.iter().find(|(_, class)| fits(*class)).copied(),
            }
        };
        rankings.filter_map(first).min()
    }

    /// Panics unless exactly these workers are ranked, each by its room, and exactly these classes are blocked.
    pub(crate) fn check<'a>(
        &self,
        candidates: impl Iterator<Item = Candidate<'a>> + Clone,
        blocked: &BTreeSet<(Turn, ClassId)>,
    ) {
        let listed: BTreeSet<(Turn, ClassId)> = self
            .pools
            .values()
            .flat_map(|pool| pool.rankings.values())
            .flat_map(|ranking| &ranking.blocked)
            .copied()
            .collect();
        assert_eq!(listed, *blocked, "blocked classes are not listed where they are");
        assert_eq!(self.pools.len(), self.by_kind.len(), "pools and their kinds are not as many");
        for (id, pool) in &self.pools {
            assert_eq!(self.by_kind.get(&pool.kind), Some(id), "a pool cannot be found by its kind");
            assert!(!pool.rankings.is_empty(), "a pool that nobody looks into");
            for (measure, ranking) in &pool.rankings {
                assert!(ranking.users > 0, "a ranking that nobody asks by");
                assert_eq!(ranking.blocked.len(), ranking.wanted.len(), "what blocked classes want is not listed");
                let expected: BTreeSet<Rank> = candidates
                    .clone()
                    .filter(|candidate| candidate.traits.is(&pool.kind))
                    .filter_map(|candidate| candidate.room.map(|room| Rank::of(candidate.worker, room, measure)))
                    .collect();
                assert_eq!(ranking.ranks, expected, "a ranking is not what is free");
            }
        }
    }
}
