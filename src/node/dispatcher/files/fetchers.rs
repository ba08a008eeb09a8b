//! Who is fetching which blob just now: half of what a swarm lives by.
//!
//! The one invariant: a worker stands here for exactly as long as its question who has the blob is open. Absent: who
//! has all of it (`holders`).

use std::collections::HashMap;

use super::Files;
use super::holders::Holder;
use crate::model::Digest;

/// Fetches that are under way.
#[derive(Debug, Default)]
pub(super) struct Fetchers {
    of: HashMap<Digest, Vec<(u64, Holder)>>,
    last: u64,
}

/// A fetch that is under way, until it is dropped.
pub(super) struct Fetching {
    files: Files,
    number: u64,
    digests: Vec<Digest>,
}

impl Fetchers {
    fn begin(&mut self, holder: &Holder, digests: &[Digest]) -> u64 {
        self.last += 1;
        for digest in digests {
            self.of.entry(*digest).or_default().push((self.last, holder.clone()));
        }
        self.last
    }

    fn end(&mut self, number: u64, digests: &[Digest]) {
        for digest in digests {
            let Some(fetchers) = self.of.get_mut(digest) else { continue };
            fetchers.retain(|(other, _)| *other != number);
            if fetchers.is_empty() {
                self.of.remove(digest);
            }
        }
    }

    /// Who is fetching this blob, each once, in an order that is the same for everybody.
    pub(super) fn of(&self, digest: Digest) -> Vec<Holder> {
        let mut fetchers: Vec<Holder> =
            self.of.get(&digest).into_iter().flatten().map(|(_, holder)| holder.clone()).collect();
        fetchers.sort_by_key(|holder| holder.node);
        fetchers.dedup_by_key(|holder| holder.node);
        fetchers
    }
}

impl Files {
    /// A worker begins to fetch these.
    pub(super) fn fetching(&self, holder: &Holder, digests: Vec<Digest>) -> Fetching {
        let number = self.lock().fetchers.begin(holder, &digests);
        Fetching { files: self.clone(), number, digests }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.files.lock().fetchers.end(self.number, &self.digests);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;

    #[test]
    fn a_worker_is_named_once_and_until_its_last_fetch_of_a_blob_has_ended() {
        let mut fetchers = Fetchers::default();
        let worker = |number: u8| Holder {
            node: NodeId([number; 32]),
            name: format!("worker-{number}").parse().expect("a name"),
        };
        let (one, two) = (Digest([1; 32]), Digest([2; 32]));
        let numbers = [(2, vec![one, two]), (1, vec![one]), (2, vec![one])]
            .map(|(number, digests)| (fetchers.begin(&worker(number), &digests), digests));
        assert_eq!(fetchers.of(one), [worker(1), worker(2)]);
        fetchers.end(numbers[0].0, &numbers[0].1);
        assert_eq!((fetchers.of(one), fetchers.of(two)), (vec![worker(1), worker(2)], vec![]));
        fetchers.end(numbers[2].0, &numbers[2].1);
        fetchers.end(numbers[1].0, &numbers[1].1);
        assert!(fetchers.of.is_empty(), "nothing is left behind");
    }
}
