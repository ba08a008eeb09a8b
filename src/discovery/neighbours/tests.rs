//! What the table makes of beacons, true, late, repeated and made up.

use std::net::Ipv4Addr;

use super::*;
use crate::wire::beacon::BEACON_VERSION;

const OWN: NodeId = NodeId([1; 32]);
const CLUSTER: NodeId = NodeId([2; 32]);
const WORKER: NodeId = NodeId([3; 32]);

/// A worker's beacon of start `boot`.
pub(in crate::discovery) fn beacon_of(boot: u64, sequence: u64) -> Beacon {
    Beacon {
        version: BEACON_VERSION,
        kind: BeaconKind::Alive,
        role: Role::Worker,
        name: Some("worker-02".parse().expect("a name")),
        cluster: Some(CLUSTER),
        boot: Timestamp(boot),
        sequence,
        port: 7879,
        addresses: vec![BeaconAddress::V4([10, 0, 0, 2]), BeaconAddress::V4([10, 0, 1, 2])],
        cpu: MilliCpu(8000),
        memory_mb: 16_384,
        gpus: 0,
        software: "1.0.0".to_owned(),
    }
}

/// The beacon of a dispatcher with this key.
fn dispatcher(key: NodeId) -> Beacon {
    Beacon { role: Role::Dispatcher, cluster: Some(key), port: 7878, ..beacon_of(1, 1) }
}

fn from(last: [u8; 2]) -> SocketAddr {
    (Ipv4Addr::new(10, 0, last[0], last[1]), 40_000).into()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn key(number: u32) -> NodeId {
    let mut key = [9; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    NodeId(key)
}

struct Table(Neighbours);

impl Table {
    fn of_the_cluster() -> Self {
        Self(Neighbours::new(OWN, Scope::Cluster(CLUSTER)))
    }

    fn hears(&mut self, second: u64, source: [u8; 2], key: NodeId, beacon: &Beacon) -> Heard {
        self.0.hear(at(second), from(source), key, beacon, false)
    }

    fn addresses(&self, node: NodeId) -> Vec<String> {
        let found = self.0.find(node).expect("it is there");
        found.addresses.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_neighbour_is_discovered_once_then_refreshed_and_expires_when_it_falls_silent() {
    let mut table = Table::of_the_cluster();
    assert_eq!(table.hears(0, [0, 2], WORKER, &beacon_of(1, 1)), Heard::Discovered);
    assert_eq!(table.hears(30, [0, 2], WORKER, &beacon_of(1, 2)), Heard::Refreshed);
    assert_eq!(table.0.next_expiry(), Some(at(125)));
    assert!(!table.0.expire(at(124)) && table.0.find(WORKER).is_some());
    assert!(table.0.expire(at(125)) && table.0.find(WORKER).is_none());
    assert_eq!(table.hears(126, [0, 2], WORKER, &beacon_of(1, 3)), Heard::Discovered, "it was only silent");
}

#[test]
fn a_goodbye_takes_it_away_and_no_old_beacon_brings_it_back() {
    let mut table = Table::of_the_cluster();
    table.hears(0, [0, 2], WORKER, &beacon_of(1, 1));
    table.hears(1, [0, 2], WORKER, &beacon_of(1, 2));
    let bye = Beacon { kind: BeaconKind::Bye, ..beacon_of(1, 3) };
    assert_eq!(table.hears(2, [0, 2], WORKER, &bye), Heard::Gone);
    assert_eq!(table.0.present().count(), 0);
    for sequence in 1..=3 {
        assert_eq!(table.hears(3, [0, 2], WORKER, &beacon_of(1, sequence)), Heard::Passed);
    }
    assert_eq!(table.hears(4, [0, 2], WORKER, &beacon_of(2, 1)), Heard::Discovered, "it was started again");
    assert_eq!(table.hears(5, [0, 2], WORKER, &bye), Heard::Passed, "an old goodbye");
    assert!(table.0.find(WORKER).is_some());
}

#[test]
fn an_address_counts_only_when_it_was_named_and_heard_from() {
    let mut table = Table::of_the_cluster();
    table.hears(0, [0, 66], WORKER, &beacon_of(1, 1));
    assert_eq!(table.addresses(WORKER), Vec::<String>::new(), "sent on from elsewhere");
    table.hears(1, [0, 2], WORKER, &beacon_of(1, 2));
    assert_eq!(table.addresses(WORKER), ["10.0.0.2:7879"], "of two that it named");
    assert_eq!(table.hears(1, [1, 2], WORKER, &beacon_of(1, 2)), Heard::Moved, "the same beacon on another network");
    assert_eq!(table.addresses(WORKER), ["10.0.1.2:7879", "10.0.0.2:7879"]);
    assert_eq!(table.hears(1, [1, 2], WORKER, &beacon_of(1, 2)), Heard::Passed, "and once more");
}

#[test]
fn a_new_address_comes_first_and_the_old_one_goes_when_nothing_more_comes_from_it() {
    let mut table = Table::of_the_cluster();
    table.hears(0, [0, 2], WORKER, &beacon_of(1, 1));
    table.hears(30, [1, 2], WORKER, &beacon_of(1, 2));
    assert_eq!(table.addresses(WORKER), ["10.0.1.2:7879", "10.0.0.2:7879"]);
    table.hears(95, [1, 2], WORKER, &beacon_of(1, 3));
    assert_eq!(table.addresses(WORKER), ["10.0.1.2:7879"]);
}

#[test]
fn a_new_start_forgets_where_the_old_one_was() {
    let mut table = Table::of_the_cluster();
    table.hears(0, [0, 2], WORKER, &beacon_of(1, 9));
    let restarted = Beacon { port: 7880, ..beacon_of(2, 1) };
    assert_eq!(table.hears(1, [0, 2], WORKER, &restarted), Heard::Moved);
    assert_eq!(table.addresses(WORKER), ["10.0.0.2:7880"]);
}

#[test]
fn what_is_heard_of_another_cluster_or_from_oneself_or_twice_costs_no_signature() {
    let mut table = Table::of_the_cluster();
    table.hears(0, [0, 2], WORKER, &beacon_of(1, 1));
    let screen = |key, beacon: &Beacon| table.0.screen(from([0, 2]), key, beacon);
    assert_eq!(screen(WORKER, &beacon_of(1, 2)), Screened::Check);
    assert_eq!(screen(WORKER, &beacon_of(1, 1)), Screened::Drop);
    assert_eq!(screen(OWN, &beacon_of(1, 1)), Screened::Drop);
    assert_eq!(screen(key(1), &Beacon { cluster: Some(key(2)), ..beacon_of(1, 1) }), Screened::Drop);
    assert_eq!(screen(key(1), &dispatcher(key(1))), Screened::Drop, "another dispatcher");
    assert_eq!(screen(key(1), &Beacon { kind: BeaconKind::Bye, ..beacon_of(1, 1) }), Screened::Drop);
    assert_eq!(screen(key(1), &Beacon { role: Role::Client, ..beacon_of(1, 1) }), Screened::Drop);
}

#[test]
fn questions_are_answered_to_ones_own_and_by_dispatchers_to_those_who_look_for_one() {
    let table = Table::of_the_cluster();
    let asks = |cluster| Beacon { kind: BeaconKind::Query, cluster, ..beacon_of(1, 1) };
    assert!(table.0.answers(&asks(Some(CLUSTER))) && !table.0.answers(&asks(None)));
    let dispatcher = Neighbours::new(CLUSTER, Scope::Cluster(CLUSTER));
    assert!(dispatcher.answers(&asks(Some(CLUSTER))) && dispatcher.answers(&asks(None)));
    assert!(!table.0.answers(&asks(Some(key(1)))));
    assert!(!table.0.answers(&beacon_of(1, 1)), "it asks nothing");
    let looking = Neighbours::new(OWN, Scope::Dispatchers);
    assert!(!looking.answers(&asks(None)), "who looks for a dispatcher is none");
}

#[test]
fn who_looks_for_a_dispatcher_is_offered_every_one_that_can_be_dialled() {
    let mut table = Table(Neighbours::new(OWN, Scope::Dispatchers));
    table.hears(0, [0, 2], WORKER, &beacon_of(1, 1));
    table.hears(0, [0, 2], key(1), &dispatcher(key(1)));
    table.hears(0, [0, 99], key(2), &dispatcher(key(2)));
    table.hears(0, [0, 2], key(3), &Beacon { port: 0, ..dispatcher(key(3)) });
    let offers: Vec<_> = table.0.offers().collect();
    assert_eq!(offers, [Offer { dispatcher: key(1), addresses: vec!["10.0.0.2:7878".parse().expect("one")] }]);
    table.0.set_scope(Scope::Cluster(key(2)));
    assert_eq!(table.0.present().map(|neighbour| neighbour.node).collect::<Vec<_>>(), [key(2)]);
}

#[test]
fn a_link_local_address_keeps_the_interface_it_was_heard_on() {
    let mut table = Table(Neighbours::new(OWN, Scope::Dispatchers));
    let ip: std::net::Ipv6Addr = "fe80::2".parse().expect("an address");
    let source = std::net::SocketAddrV6::new(ip, 40_000, 0, 7).into();
    let beacon = Beacon { addresses: vec![BeaconAddress::V6(ip.octets())], ..dispatcher(key(1)) };
    table.0.hear(at(0), source, key(1), &beacon, false);
    let SocketAddr::V6(way) = table.0.find(key(1)).expect("it is there").addresses[0] else { panic!("IPv4") };
    assert_eq!((way.scope_id(), way.port()), (7, 7878));
}

#[test]
fn a_flood_of_made_up_neighbours_stays_within_the_table_and_pushes_no_member_out() {
    let mut table = Table::of_the_cluster();
    for member in 0..10 {
        table.0.hear(at(0), from([0, 2]), key(member), &beacon_of(1, 1), true);
    }
    table.hears(0, [0, 2], CLUSTER, &dispatcher(CLUSTER));
    for stranger in 1_000..11_000 {
        table.hears(1, [0, 2], key(stranger), &beacon_of(1, 1));
    }
    assert_eq!(table.0.entries.len(), MAX_NEIGHBOURS);
    assert!((0..10).all(|member| table.0.find(key(member)).is_some()));
    assert!(table.0.find(CLUSTER).is_some(), "one's own dispatcher least of all");
    assert_eq!(table.0.hear(at(2), from([0, 2]), key(500), &beacon_of(1, 1), true), Heard::Discovered);
}

#[test]
fn a_full_table_of_members_takes_no_stranger() {
    let mut table = Table::of_the_cluster();
    for member in 0..u32::try_from(MAX_NEIGHBOURS).expect("few") {
        table.0.hear(at(0), from([0, 2]), key(member), &beacon_of(1, 1), true);
    }
    assert_eq!(table.hears(1, [0, 2], key(5_000), &beacon_of(1, 1)), Heard::Passed);
    assert_eq!(table.0.present().count(), MAX_NEIGHBOURS);
}

#[test]
fn a_recording_played_ten_thousand_times_changes_nothing() {
    let mut table = Table::of_the_cluster();
    table.hears(0, [0, 2], WORKER, &beacon_of(1, 1));
    table.hears(5, [0, 2], WORKER, &beacon_of(1, 2));
    let before = table.0.find(WORKER).cloned();
    for _ in 0..10_000 {
        assert_eq!(table.0.screen(from([0, 2]), WORKER, &beacon_of(1, 2)), Screened::Drop);
        assert_eq!(table.hears(60, [0, 2], WORKER, &beacon_of(1, 1)), Heard::Passed);
    }
    assert_eq!(table.0.find(WORKER).cloned(), before, "nor does it keep alive who is not");
}
