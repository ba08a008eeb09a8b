//! What a worker tells its dispatcher of whom it hears.
//!
//! Invariant: the news of one link adds up to what is heard now, in messages of
//! bounded size and number. Absent: who is heard (`discovery/`), and any use of
//! it.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::discovery::{Hearing, Neighbour};
use crate::model::limits::MAX_NEIGHBOURS;
use crate::model::messages::HeardPeer;
use crate::model::{NodeId, Timestamp};

/// What happens within this time is told together.
const TOGETHER: Duration = Duration::from_millis(200);
/// How often it is told that those who are there were heard again: about as often as they are.
const REPEAT: Duration = Duration::from_secs(30);

/// What was told on one link, and what is to be told next.
pub(super) struct Gossip {
    hearing: Hearing,
    changes: watch::Receiver<u64>,
    told: BTreeMap<NodeId, (Option<String>, Timestamp)>,
    due: Instant,
}

impl Gossip {
    /// Nothing was told yet.
    pub(super) fn new(hearing: Hearing) -> Self {
        let changes = hearing.changes();
        Self { hearing, changes, told: BTreeMap::new(), due: Instant::now() }
    }

    /// Waits for news. May be dropped while it waits; nothing is lost by that.
    pub(super) async fn news(&mut self) -> Vec<HeardPeer> {
        loop {
            if self.due <= Instant::now() {
                let news = compare(&mut self.told, &self.hearing.neighbours(), self.hearing.now());
                // What did not fit follows at once.
                self.due = Instant::now() + if news.len() < MAX_NEIGHBOURS { REPEAT } else { TOGETHER };
                if !news.is_empty() {
                    return news;
                }
            }
            tokio::select! {
                changed = self.changes.changed() => match changed {
                    Ok(()) => self.due = self.due.min(Instant::now() + TOGETHER),
                    Err(_) => return pending().await,
                },
                () = sleep_until(self.due) => {}
            }
        }
    }
}

/// What `present` has that was not told, up to one message of it, which counts as told from here on.
fn compare(
    told: &mut BTreeMap<NodeId, (Option<String>, Timestamp)>,
    present: &[Neighbour],
    now: Timestamp,
) -> Vec<HeardPeer> {
    let gone: Vec<NodeId> =
        told.keys().filter(|node| !present.iter().any(|neighbour| neighbour.node == **node)).copied().collect();
    let gone = gone.into_iter().map(|node| HeardPeer { node, address: None, silent_for: None });
    let heard = present.iter().filter_map(|neighbour| {
        let address = neighbour.addresses.first().map(ToString::to_string);
        let is_news = told.get(&neighbour.node) != Some(&(address.clone(), neighbour.heard_at));
        let silent_for = Some(now.since(neighbour.heard_at));
        is_news.then_some(HeardPeer { node: neighbour.node, address, silent_for })
    });
    let news: Vec<HeardPeer> = gone.chain(heard).take(MAX_NEIGHBOURS).collect();
    for peer in &news {
        match present.iter().find(|neighbour| neighbour.node == peer.node) {
            Some(neighbour) => drop(told.insert(peer.node, (peer.address.clone(), neighbour.heard_at))),
            None => drop(told.remove(&peer.node)),
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MilliCpu, Millis, Role};

    fn neighbour(key: u8, heard_at: u64) -> Neighbour {
        Neighbour {
            node: NodeId([key; 32]),
            name: None,
            role: Role::Worker,
            cluster: None,
            addresses: vec!["10.0.0.2:0".parse().expect("an address")],
            cpu: MilliCpu(0),
            memory_mb: 0,
            gpus: 0,
            heard_at: Timestamp::from_millis(heard_at),
        }
    }

    #[test]
    fn only_what_has_changed_is_told_and_who_has_gone() {
        let mut told = BTreeMap::new();
        let mut news = |present: &[Neighbour]| {
            let news = compare(&mut told, present, Timestamp::from_millis(1000));
            news.iter().map(|peer| (peer.node.0[0], peer.silent_for)).collect::<Vec<_>>()
        };
        let (a, b) = (neighbour(1, 100), neighbour(2, 900));
        assert_eq!(news(&[a.clone(), b.clone()]), [(1, Some(Millis(900))), (2, Some(Millis(100)))]);
        assert_eq!(news(&[a.clone(), b.clone()]), []);
        assert_eq!(news(&[neighbour(1, 1000), b]), [(1, Some(Millis(0)))]);
        assert_eq!(news(&[neighbour(1, 1000)]), [(2, None)]);
        assert_eq!(news(&[neighbour(1, 1000)]), []);
    }

    #[test]
    fn a_full_exchange_of_the_table_is_told_in_parts() {
        let many = |first: u16| -> Vec<Neighbour> {
            let keys = first..first + u16::try_from(MAX_NEIGHBOURS).expect("few");
            keys.map(|number| {
                let mut one = neighbour(0, 0);
                one.node.0[..2].copy_from_slice(&number.to_be_bytes());
                one
            })
            .collect()
        };
        let mut told = BTreeMap::new();
        assert_eq!(compare(&mut told, &many(0), Timestamp(0)).len(), MAX_NEIGHBOURS);
        let others = many(10_000);
        let first = compare(&mut told, &others, Timestamp(0));
        assert!(first.iter().all(|peer| peer.silent_for.is_none()) && first.len() == MAX_NEIGHBOURS);
        assert_eq!(compare(&mut told, &others, Timestamp(0)).len(), MAX_NEIGHBOURS);
        assert_eq!(compare(&mut told, &others, Timestamp(0)), []);
    }
}
