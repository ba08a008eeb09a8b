//! What a fetch does when its sources behave in every other way than they should.

use proptest::prelude::*;

use super::*;
use crate::model::Digest;
use crate::model::files::BlobRef;
use crate::model::limits::PIECE_BYTES;

const START: Timestamp = Timestamp::from_millis(1_000_000);
const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);

fn wish(name: u8, pieces: u64) -> BlobWish {
    let blob = BlobRef { digest: Digest([name; 32]), bytes: pieces * PIECE_BYTES };
    BlobWish { blob, pieces: IntervalSet::from_range(0, pieces - 1) }
}

fn after(ms: u64) -> Timestamp {
    START + Millis(ms)
}

fn all(pieces: u64) -> Pieces {
    vec![(0, IntervalSet::from_range(0, pieces - 1))]
}

fn place(place: u64) -> IntervalSet {
    IntervalSet::from_range(place, place)
}

/// A fetch of one blob that only workers have.
fn of_workers(pieces: u64, holders: &[NodeId]) -> Fetch {
    let config = FetchConfig { seed: 7, p2p: true };
    let mut fetch = Fetch::new(START, vec![wish(1, pieces)], config, &[]);
    fetch.take_orders();
    let peers = holders.iter().map(|node| (*node, place(0))).collect();
    fetch.handle_holders(START, Holders { peers, share: (0, 1), ..Holders::default() });
    fetch
}

/// The sessions that were opened lately, by their way.
fn opened(fetch: &mut Fetch) -> Vec<(Way, SessionNo)> {
    let orders = fetch.take_orders().into_iter();
    orders
        .filter_map(|order| match order {
            Order::Open { session, way } => Some((way, session)),
            _ => None,
        })
        .collect()
}

fn asked(fetch: &mut Fetch) -> Vec<(SessionNo, Pieces)> {
    let orders = fetch.take_orders().into_iter();
    orders
        .filter_map(|order| match order {
            Order::Ask { session, pieces } if !pieces.is_empty() => Some((session, pieces)),
            _ => None,
        })
        .collect()
}

fn faults(fetch: &mut Fetch) -> Vec<Fault> {
    let notices = fetch.take_notices().into_iter();
    notices.filter_map(|n| if let Notice::Failed { fault, .. } = n { Some(fault) } else { None }).collect()
}

#[test]
fn without_peers_the_dispatcher_is_asked_in_order_and_for_a_little_at_a_time() {
    let config = FetchConfig { seed: 7, p2p: false };
    let mut fetch = Fetch::new(START, vec![wish(1, 5), wish(2, 1)], config, &[]);
    let [(Way::Dispatcher, session)] = opened(&mut fetch)[..] else { panic!("one source") };
    assert_eq!(fetch.poll_timeout(), None, "it may take as long as it likes");
    fetch.handle_answer(START, session, vec![(0, IntervalSet::from_range(0, 4)), (1, place(0))]);
    let mut came = Vec::new();
    while !fetch.is_done() {
        let asks = asked(&mut fetch);
        assert!(!asks.is_empty());
        for (session, pieces) in asks {
            for (place, numbers) in &pieces {
                numbers.iter().for_each(|number| fetch.handle_piece(START, session, *place, number));
                came.extend(numbers.iter().map(|number| (*place, number)));
            }
            fetch.handle_answered(START, session);
        }
    }
    assert_eq!(came, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]);
    let tally: Vec<_> = fetch.tally().collect();
    assert_eq!(tally, [(0, Way::Dispatcher, 5 * PIECE_BYTES), (1, Way::Dispatcher, PIECE_BYTES)]);
}

#[test]
fn without_peers_what_only_a_worker_has_comes_through_the_dispatcher() {
    let config = FetchConfig { seed: 7, p2p: false };
    let mut fetch = Fetch::new(START, vec![wish(1, 5)], config, &[]);
    let session = opened(&mut fetch)[0].1;
    fetch.handle_answer(START, session, Vec::new());
    assert!(fetch.take_orders().contains(&Order::Consult));
    let peers = vec![(A, place(0))];
    fetch.handle_holders(START, Holders { peers, share: (0, 1), ..Holders::default() });
    assert_eq!(opened(&mut fetch).into_iter().map(|(way, _)| way).collect::<Vec<_>>(), [Way::Relay(A)]);
    assert!(fetch.take_notices().is_empty(), "no other way was tried");
}

#[test]
fn a_worker_that_is_not_reached_is_tried_twice_and_then_relayed_and_then_tried_again() {
    let mut fetch = of_workers(8, &[A]);
    let mut ways = Vec::new();
    let mut now = START;
    for _ in 0..5 {
        ways.extend(opened(&mut fetch).into_iter().map(|(way, _)| way));
        now = now.max(fetch.poll_timeout().unwrap());
        fetch.handle_timeout(now);
        if ways.contains(&Way::Relay(A)) {
            break;
        }
        // Consulting goes on beside it.
        fetch.handle_no_holders(now);
    }
    while !ways.contains(&Way::Relay(A)) {
        now = now.max(fetch.poll_timeout().unwrap());
        fetch.handle_timeout(now);
        fetch.handle_no_holders(now);
        ways.extend(opened(&mut fetch).into_iter().map(|(way, _)| way));
        assert!(now < after(6000), "the relay comes soon: {ways:?}");
    }
    assert_eq!(ways[..3], [Way::Direct(A), Way::Direct(A), Way::Relay(A)]);
    let notices = fetch.take_notices();
    assert!(notices.contains(&Notice::Relaying { holder: A, fault: Fault::Unreachable }), "{notices:?}");
    while !ways[3..].contains(&Way::Direct(A)) {
        now = now.max(fetch.poll_timeout().unwrap());
        fetch.handle_timeout(now);
        fetch.handle_no_holders(now);
        ways.extend(opened(&mut fetch).into_iter().map(|(way, _)| way));
        assert!(now < after(20_000), "the direct way is tried again: {ways:?}");
    }
}

#[test]
fn the_relay_ends_when_a_piece_comes_straight_again() {
    let mut fetch = of_workers(8, &[A]);
    for _ in 0..2 {
        let session = opened(&mut fetch)[0].1;
        fetch.handle_failure(START, session, Fault::Broken);
    }
    let relay = opened(&mut fetch)[0];
    assert_eq!(relay.0, Way::Relay(A));
    fetch.handle_answer(START, relay.1, all(8));
    assert_eq!(asked(&mut fetch)[0].0, relay.1);
    fetch.handle_timeout(after(1000));
    let direct = *opened(&mut fetch).iter().find(|(way, _)| *way == Way::Direct(A)).unwrap();
    fetch.handle_answer(after(1001), direct.1, all(8));
    let asks = asked(&mut fetch);
    let (session, pieces) = &asks[0];
    assert_eq!(*session, direct.1);
    fetch.handle_piece(after(1002), *session, 0, pieces[0].1.first().unwrap());
    let orders = fetch.take_orders();
    assert!(orders.contains(&Order::Close { session: relay.1 }), "{orders:?}");
}

#[test]
fn a_source_that_owes_and_sends_nothing_has_failed_and_others_are_asked_for_its_pieces() {
    let mut fetch = of_workers(2, &[A, B]);
    let sessions = opened(&mut fetch);
    fetch.handle_answer(START, sessions[0].1, all(2));
    assert_eq!(asked(&mut fetch).len(), 1, "it owes both");
    fetch.handle_answer(after(100), sessions[1].1, all(2));
    for ms in (500..=2500).step_by(500) {
        fetch.handle_timeout(after(ms));
    }
    let hedged = asked(&mut fetch);
    assert_eq!(hedged.len(), 1, "what is late is asked of the other as well: {hedged:?}");
    fetch.handle_timeout(after(3000));
    assert_eq!(faults(&mut fetch), [Fault::Stalled]);
    fetch.handle_piece(after(3100), sessions[1].1, 0, 0);
    fetch.handle_piece(after(3100), sessions[1].1, 0, 1);
    assert!(fetch.is_done());
    let tally: Vec<_> = fetch.tally().collect();
    assert_eq!(tally, [(0, sessions[1].0, 2 * PIECE_BYTES)]);
}

#[test]
fn a_slow_source_has_failed_only_while_another_is_faster() {
    for other_is_faster in [false, true] {
        let mut fetch = of_workers(100, &[A, B]);
        let sessions = opened(&mut fetch);
        fetch.handle_answer(START, sessions[0].1, all(100));
        if other_is_faster {
            fetch.handle_answer(START, sessions[1].1, all(100));
        }
        for ms in (500..8000).step_by(500) {
            fetch.handle_bytes(after(ms), sessions[0].1, 50 * 1024);
            if other_is_faster {
                fetch.handle_bytes(after(ms), sessions[1].1, 90 * 1024);
            } else {
                fetch.handle_failure(after(ms), sessions[1].1, Fault::Broken);
            }
            fetch.handle_timeout(after(ms));
        }
        let slow = faults(&mut fetch).iter().any(|fault| matches!(fault, Fault::Slow { .. }));
        assert_eq!(slow, other_is_faster);
    }
}

#[test]
fn who_sends_a_damaged_piece_is_asked_no_more_by_any_way_nor_in_a_later_fetch() {
    let mut fetch = of_workers(4, &[A]);
    let session = opened(&mut fetch)[0].1;
    fetch.handle_answer(START, session, all(4));
    fetch.handle_failure(START, session, Fault::Damaged { place: 0 });
    for ms in (0..100_000).step_by(1000) {
        fetch.handle_timeout(after(ms));
        let peers = vec![(A, place(0))];
        fetch.handle_holders(after(ms), Holders { peers, share: (0, 1), ..Holders::default() });
    }
    assert!(opened(&mut fetch).iter().all(|(way, _)| *way == Way::Dispatcher));
    let config = FetchConfig { seed: 8, p2p: true };
    let mut later = Fetch::new(START, vec![wish(1, 4)], config, &[A]);
    later.handle_holders(START, Holders { peers: vec![(A, place(0))], ..Holders::default() });
    assert!(opened(&mut later).iter().all(|(way, _)| *way == Way::Dispatcher));
}

#[test]
fn a_source_that_does_not_send_what_it_said_it_has_is_not_asked_for_ever() {
    let mut fetch = of_workers(4, &[A]);
    let mut now = START;
    let mut asks = 0;
    while now < after(10_000) {
        for (_, session) in opened(&mut fetch) {
            fetch.handle_answer(now, session, all(4));
            for (session, _) in asked(&mut fetch) {
                asks += 1;
                fetch.handle_answered(now, session);
            }
        }
        now = now + Millis(10);
        fetch.handle_timeout(now);
    }
    assert!(asks < 20, "{asks} times");
    assert!(faults(&mut fetch).contains(&Fault::Withheld));
}

#[test]
fn a_busy_source_is_left_alone_for_a_moment_and_has_not_failed() {
    let mut fetch = of_workers(4, &[A]);
    let session = opened(&mut fetch)[0].1;
    fetch.handle_busy(START, session);
    assert!(opened(&mut fetch).is_empty() && faults(&mut fetch).is_empty());
    fetch.handle_timeout(after(1500));
    assert_eq!(opened(&mut fetch)[0].0, Way::Direct(A));
}

#[test]
fn what_was_not_wanted_or_comes_late_does_no_harm() {
    let mut fetch = of_workers(4, &[A]);
    let session = opened(&mut fetch)[0].1;
    fetch.handle_answer(START, session, vec![(7, place(0)), (0, IntervalSet::from_range(0, 1000))]);
    fetch.handle_piece(START, session, 9, 9);
    assert_eq!(faults(&mut fetch), [Fault::Withheld], "it sends what nobody asked for");
    fetch.handle_answer(START, session, all(4));
    fetch.handle_answered(START, session);
    fetch.handle_failure(START, session, Fault::Broken);
    fetch.handle_piece(START, session, 0, 2);
    fetch.handle_piece(START, session, 3, 2);
    assert!(faults(&mut fetch).is_empty(), "that conversation is over");
    assert!(!fetch.wants.missing(0).unwrap().contains(2), "a good piece is a good piece");
}

/// What may come next to a fetch.
#[derive(Debug, Clone)]
enum Step {
    Answer(u64, Vec<u64>),
    Piece(u64, u64),
    Answered(u64),
    Busy(u64),
    Fail(u64, u8),
    Holders(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..12, proptest::collection::vec(0u64..10, 0..10)).prop_map(|(s, has)| Step::Answer(s, has)),
        (0u64..12, 0u64..10).prop_map(|(s, piece)| Step::Piece(s, piece)),
        (0u64..12).prop_map(Step::Answered),
        (0u64..12).prop_map(Step::Busy),
        (0u64..12, 0u8..5).prop_map(|(s, fault)| Step::Fail(s, fault)),
        (0u8..16).prop_map(Step::Holders),
        (1u64..4000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_sources_say_the_invariants_hold_and_an_honest_one_brings_the_rest(
        steps in proptest::collection::vec(step(), 0..60), seed: u64,
    ) {
        let config = FetchConfig { seed, p2p: true };
        let mut fetch = Fetch::new(START, vec![wish(1, 10)], config, &[]);
        let mut now = START;
        for step in steps {
            match step {
                Step::Answer(s, has) => fetch.handle_answer(now, SessionNo(s), vec![(0, has.into_iter().collect())]),
                Step::Piece(s, piece) => fetch.handle_piece(now, SessionNo(s), 0, piece),
                Step::Answered(s) => fetch.handle_answered(now, SessionNo(s)),
                Step::Busy(s) => fetch.handle_busy(now, SessionNo(s)),
                Step::Fail(s, fault) => {
                    let faults = [Fault::Broken, Fault::Stalled, Fault::Refused, Fault::Damaged { place: 0 }];
                    let fault = faults.get(usize::from(fault)).copied().unwrap_or(Fault::Unreachable);
                    fetch.handle_failure(now, SessionNo(s), fault);
                }
                Step::Holders(bits) => {
                    let peers = (0..4u8).filter(|bit| bits & (1 << bit) != 0);
                    let peers = peers.map(|bit| (NodeId([bit; 32]), place(0))).collect();
                    fetch.handle_holders(now, Holders { here: place(0), peers, share: (0, 2) });
                }
                Step::Wait(ms) => {
                    now = now + Millis(ms);
                    fetch.handle_timeout(now);
                }
            }
            fetch.check_invariants();
        }
        // From here on the dispatcher is honest, and nobody else is there.
        for _ in 0..200 {
            if fetch.is_done() {
                break;
            }
            fetch.handle_holders(now, Holders { here: place(0), share: (0, 1), ..Holders::default() });
            for order in fetch.take_orders() {
                match order {
                    Order::Open { session, way: Way::Dispatcher } => {
                        fetch.handle_answer(now, session, vec![(0, IntervalSet::from_range(0, 9))]);
                    }
                    Order::Ask { session, pieces } if fetch.sessions.get(&session) == Some(&Way::Dispatcher) => {
                        let numbers = pieces.iter().flat_map(|(_, numbers)| numbers.iter());
                        numbers.for_each(|number| fetch.handle_piece(now, session, 0, number));
                        fetch.handle_answered(now, session);
                    }
                    _ => {}
                }
            }
            now = now + Millis(500);
            fetch.handle_timeout(now);
        }
        prop_assert!(fetch.is_done());
    }
}
