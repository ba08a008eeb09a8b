//! The signed roster: who belongs, and where they listen, on its way to all
//! workers.
//!
//! Invariant: a worker that was let in hears of the newest roster as soon as its
//! link takes it, and of none that an older one could follow; its epoch grows
//! with each change, across restarts, and a renewal has the same. Changes within
//! [`TOGETHER`] leave together, except that somebody was thrown out, which leaves
//! at once. Absent: who belongs (the engine's registry), and what workers do with
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::shell::Shell;
use crate::model::{Epoch, LinkId, NodeId, NodeName, Role, Timestamp};
use crate::node::Clock;
use crate::trust::roster::{
    MAX_ADDRESSES, MAX_ENTRIES, ROSTER_RENEWAL, ROSTER_VALID, Roster, RosterEntry, RosterEpoch,
};
use crate::trust::{Identity, Signed};

/// Changes within this time are signed and sent together: a hundred workers that join at once are a few rosters.
const TOGETHER: Duration = Duration::from_millis(200);

/// A worker that is enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) node: NodeId,
    pub(super) name: NodeName,
}

/// The keys that are enrolled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Enrolled {
    /// By key.
    pub(super) workers: Vec<Member>,
    /// How many clients there are that are no admins: they came by a token.
    pub(super) clients: u64,
}

/// The newest roster as bytes, for whoever sends it.
pub(super) type Signature = Option<Arc<Vec<u8>>>;

/// Where the roster is put together.
pub(super) struct RosterDesk {
    places: Mutex<BTreeMap<NodeId, Place>>,
    /// Counts changes of places.
    moves: watch::Sender<u64>,
    newest: watch::Sender<Signature>,
    /// Which change of it that is.
    epoch: Mutex<Option<RosterEpoch>>,
}

/// Where one worker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    link: LinkId,
    addresses: Vec<SocketAddr>,
    /// Since when its link is gone, when it may come back.
    away_since: Option<Timestamp>,
}

impl RosterDesk {
    pub(super) fn new() -> Self {
        let (moves, newest) = (watch::Sender::new(0), watch::Sender::new(None));
        Self { places: Mutex::default(), moves, newest, epoch: Mutex::default() }
    }

    /// Which change of the roster the newest is; `None` before there is one.
    pub(super) fn epoch(&self) -> Option<RosterEpoch> {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees the newest roster, beginning with the one that there is.
    pub(super) fn newest(&self) -> watch::Receiver<Signature> {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        newest
    }

    /// The worker `node`, whose link `link` comes from `seen`, says that it listens there.
    pub(super) fn listens(&self, node: NodeId, link: LinkId, seen: IpAddr, said: &[String]) {
        let place = Place { link, addresses: places(seen, said), away_since: None };
        let former = self.places().insert(node, place.clone());
        if former != Some(place) {
            self.moves.send_modify(|count| *count += 1);
        }
    }

    /// The link `link` of `node` has ended; `for_good` when it said goodbye.
    pub(super) fn leave(&self, node: NodeId, link: LinkId, for_good: bool, now: Timestamp) {
        let mut places = self.places();
        let Some(place) = places.get_mut(&node).filter(|place| place.link == link) else { return };
        if for_good {
            places.remove(&node);
            self.moves.send_modify(|count| *count += 1);
        } else {
            // It may only be this dispatcher that does not reach it.
            place.away_since = Some(now);
        }
    }

    /// The entries of a roster of `members`. When there are too many, those with a place come first.
    fn entries(&self, members: &[Member], now: Timestamp) -> Vec<RosterEntry> {
        let mut places = self.places();
        let is_lasting = |place: &Place| place.away_since.is_none_or(|since| now.since(since) < ROSTER_VALID);
        let enrolled: BTreeSet<NodeId> = members.iter().map(|member| member.node).collect();
        places.retain(|node, place| is_lasting(place) && enrolled.contains(node));
        let mut chosen: Vec<&Member> = members.iter().collect();
        if chosen.len() > MAX_ENTRIES {
            chosen.sort_by_key(|member| (!places.contains_key(&member.node), member.node));
            chosen.truncate(MAX_ENTRIES);
            chosen.sort_by_key(|member| member.node);
        }
        let entry = |member: &Member| RosterEntry {
            node: member.node,
            name: member.name.clone(),
            addresses: places.get(&member.node).map(|place| place.addresses.clone()).unwrap_or_default(),
            role: Role::Worker,
        };
        chosen.into_iter().map(entry).collect()
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<NodeId, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a worker is that was `seen` there and has `said` where it listens: what it says first, in its order, but
/// what was seen before that where the two agree on the port, and loopback last.
fn places(seen: IpAddr, said: &[String]) -> Vec<SocketAddr> {
    let said: Vec<SocketAddr> = said.iter().filter_map(|text| text.parse().ok()).collect();
    let mut places: Vec<SocketAddr> = Vec::new();
    // The one that the user advertises, or the likeliest one.
    places.extend(said.first());
    // An address of one link means nothing elsewhere.
    let is_local = matches!(seen, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if let Some(port) = said.last().map(SocketAddr::port).filter(|_| !is_local) {
        places.push(SocketAddr::new(seen, port));
    }
    places.extend(said);
    let mut known = BTreeSet::new();
    places.retain(|place| known.insert(*place));
    places.sort_by_key(|place| place.ip().is_loopback());
    places.truncate(MAX_ADDRESSES);
    places
}

/// Signs a roster at each change and again every [`ROSTER_RENEWAL`], for as long as the dispatcher runs.
pub(super) async fn keep(
    shell: Arc<Shell>,
    identity: Arc<Identity>,
    clock: Clock,
    start: Epoch,
    mut members: watch::Receiver<Arc<Enrolled>>,
) {
    let desk = &shell.roster;
    let mut moves = desk.moves.subscribe();
    let mut epoch = RosterEpoch { start, change: 0 };
    let mut entries: Vec<RosterEntry> = Vec::new();
    loop {
        moves.mark_unchanged();
        let present = Arc::clone(&members.borrow_and_update());
        let issued_at = clock.now();
        let now_on = desk.entries(&present.workers, issued_at);
        if now_on != entries || epoch.change == 0 {
            epoch.change += 1;
            entries = now_on;
        }
        let roster = Roster { epoch, issued_at, entries: entries.clone() };
        match Signed::sign(&identity, &roster) {
            Ok(signed) => {
                *desk.epoch.lock().unwrap_or_else(PoisonError::into_inner) = Some(epoch);
                desk.newest.send_replace(Some(Arc::new(signed.to_bytes())));
            }
            Err(error) => tracing::error!("No roster was signed: failed to {error}"),
        }
        let renewal = Instant::now() + ROSTER_RENEWAL.as_duration();
        tokio::select! {
            () = sleep_until(renewal) => continue,
            Ok(()) = moves.changed() => {}
            Ok(()) = members.changed() => {}
            else => return,
        }
        gather(&mut members, &entries).await;
    }
}

/// Waits a moment for more changes, but not when somebody was thrown out.
async fn gather(members: &mut watch::Receiver<Arc<Enrolled>>, entries: &[RosterEntry]) {
    let until = Instant::now() + TOGETHER;
    let is_whole = |enrolled: &Arc<Enrolled>| {
        let enrolled: BTreeSet<NodeId> = enrolled.workers.iter().map(|member| member.node).collect();
        entries.iter().all(|entry| enrolled.contains(&entry.node))
    };
    let _ = timeout_at(until, members.wait_for(|members| !is_whole(members))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn member(key: u16) -> Member {
        let mut node = NodeId([0; 32]);
        node.0[..2].copy_from_slice(&key.to_be_bytes());
        Member { node, name: format!("w-{key}").parse().expect("a name") }
    }

    fn texts(found: &[SocketAddr]) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    fn said(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn what_is_likeliest_stands_first_and_what_means_nothing_elsewhere_last_or_nowhere() {
        let found = |seen: IpAddr, list: &[&str]| texts(&places(seen, &said(list)));
        let lan = ["10.0.0.9:7879", "172.17.0.1:7879"];
        assert_eq!(found(SEEN, &lan), ["10.0.0.9:7879", "172.17.0.1:7879"]);
        assert_eq!(found(SEEN, &["172.17.0.1:7879", "192.168.7.1:7879"])[..2], ["172.17.0.1:7879", "10.0.0.9:7879"]);
        assert_eq!(found(SEEN, &["1.2.3.4:900", "10.1.1.1:7879"]), ["1.2.3.4:900", "10.0.0.9:7879", "10.1.1.1:7879"]);
        let loopback = "127.0.0.1".parse().expect("an address");
        assert_eq!(found(loopback, &["10.0.0.9:7879"]), ["10.0.0.9:7879", "127.0.0.1:7879"]);
        let of_one_link = "fe80::1".parse().expect("an address");
        assert_eq!(found(of_one_link, &["10.0.0.9:7879"]), ["10.0.0.9:7879"]);
        assert_eq!(found(SEEN, &[]), [""; 0], "who does not listen is nowhere");
        assert_eq!(found(SEEN, &["no address", "\u{1b}[2J"]), [""; 0]);
        let many: Vec<String> = (0..20).map(|n| format!("10.0.1.{n}:7879")).collect();
        assert_eq!(places(SEEN, &many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn who_said_goodbye_is_nowhere_and_who_only_fell_silent_is_where_it_was_for_ten_minutes() {
        let desk = RosterDesk::new();
        let members = [member(1), member(2)];
        for one in &members {
            desk.listens(one.node, LinkId(1), SEEN, &said(&["10.0.0.9:7879"]));
        }
        let at = Timestamp::from_millis(1_000_000);
        desk.leave(member(1).node, LinkId(1), true, at);
        desk.leave(member(2).node, LinkId(9), true, at);
        desk.leave(member(2).node, LinkId(1), false, at);
        let known = |now| desk.entries(&members, now).iter().map(|it| it.addresses.len()).collect::<Vec<_>>();
        assert_eq!(known(Timestamp(at.0 + 1000 * ROSTER_VALID.0 - 1)), [0, 1]);
        assert_eq!(known(Timestamp(at.0 + 1000 * ROSTER_VALID.0)), [0, 0]);
    }

    #[test]
    fn who_is_enrolled_no_more_leaves_nothing_behind_and_of_too_many_those_with_a_place_stay() {
        let desk = RosterDesk::new();
        let many: Vec<Member> = (0..u16::try_from(MAX_ENTRIES).expect("few") + 10).map(member).collect();
        let last = many.last().expect("many").node;
        desk.listens(last, LinkId(1), SEEN, &said(&["10.0.0.9:7879"]));
        let entries = desk.entries(&many, Timestamp(1));
        assert_eq!(entries.len(), MAX_ENTRIES);
        assert!(entries.iter().any(|entry| entry.node == last && !entry.addresses.is_empty()));
        assert!(entries.is_sorted_by_key(|entry| entry.node), "in an order that only depends on who there is");
        assert_eq!(desk.entries(&many[..1], Timestamp(1)).len(), 1);
        assert!(desk.places().is_empty());
    }

    #[tokio::test]
    async fn changes_are_gathered_but_a_revocation_does_not_wait() {
        let members = |keys: &[u16]| {
            let workers = keys.iter().map(|key| member(*key)).collect();
            Arc::new(Enrolled { workers, clients: 0 })
        };
        let (tell, mut told) = watch::channel(members(&[1, 2]));
        let entry = |key| RosterEntry {
            node: member(key).node,
            name: member(key).name,
            addresses: Vec::new(),
            role: Role::Worker,
        };
        // Whether it is over without any wait.
        async fn is_over(gathering: impl Future<Output = ()>) -> bool {
            tokio::select! {
                biased;
                () = gathering => true,
                () = std::future::ready(()) => false,
            }
        }
        tell.send_replace(members(&[1, 2, 3]));
        assert!(!is_over(gather(&mut told, &[entry(1), entry(2)])).await, "a join waits for others");
        tell.send_replace(members(&[1, 3]));
        assert!(is_over(gather(&mut told, &[entry(1), entry(2), entry(3)])).await);
    }
}
