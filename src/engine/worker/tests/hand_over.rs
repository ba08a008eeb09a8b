//! Handing attempts over and taking them over, one rule a test. Attempt `n` is
//! assigned under fence `n`, and whoever takes it over has it under `100 + n`.

use super::*;
use crate::model::offload::{GivenAway, GrantedAttempt, HandOverProof, OfferAnswer, OfferVerdict};
use crate::model::{InstanceId, NodeId};

const PEER: NodeId = NodeId([7; 32]);
const OTHER: NodeId = NodeId([8; 32]);
const START: InstanceId = InstanceId(70);

fn spare(n: u64) -> FencedAttempt {
    named(n, 100 + n)
}

fn granted(n: u64, now: Timestamp) -> GrantedAttempt {
    let expires_at = now + Millis::from_secs(600);
    GrantedAttempt { attempt: named(n, n), spare: fence(100 + n), expires_at, grant: Default::default() }
}

fn taken(n: u64) -> TakenOver {
    TakenOver { attempt: spare(n), proof: HandOverProof::default() }
}

fn given(n: u64) -> GivenAway {
    GivenAway { attempt: named(n, n), spare: fence(100 + n), receiver: PEER, instance: START }
}

/// A worker of one slot that runs attempt 1 and has 2 and 3 waiting, both of which it may hand on.
fn busy() -> Bench {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    for n in 1..=3 {
        _ = bench.assign(n, n);
    }
    _ = bench.hear(DispatcherMessage::Grant((2..=3).map(|n| granted(n, bench.now)).collect()));
    bench
}

impl Bench {
    fn peer(&mut self, peer: NodeId, fact: PeerFact) -> WorkerEffects {
        self.engine.handle_peer(self.now, peer, fact);
        self.effects()
    }

    fn stands(&mut self, peer: NodeId, free_slots: u32) -> WorkerEffects {
        self.peer(peer, PeerFact::Stands { instance: START, free_slots, accepting: true })
    }

    fn answer(&mut self, n: u64, verdict: OfferVerdict) -> WorkerEffects {
        self.peer(PEER, PeerFact::Answered(OfferAnswer { attempt: spare(n), verdict }))
    }

    fn offer(&mut self, n: u64, spec: Option<JobSpec>) -> WorkerEffects {
        let spec = spec.map(SealedSpec::seal);
        let expires_at = self.now + Millis::from_secs(600);
        self.peer(PEER, PeerFact::Offered(ProvedOffer { taken: taken(n), spec, expires_at }))
    }
}

/// The attempts offered, and to whom.
fn offers(effects: &WorkerEffects) -> Vec<(u64, NodeId)> {
    let offer = |(peer, order): &(NodeId, PeerOrder)| match order {
        PeerOrder::Offer { granted, .. } => Some((granted.attempt.id.task.index.0, *peer)),
        PeerOrder::Answer(_) => None,
    };
    effects.to_peers.iter().filter_map(offer).collect()
}

fn verdicts(effects: &WorkerEffects) -> Vec<OfferVerdict> {
    let answer = |(_, order): &(NodeId, PeerOrder)| match order {
        PeerOrder::Answer(answer) => Some(answer.verdict),
        PeerOrder::Offer { .. } => None,
    };
    effects.to_peers.iter().filter_map(answer).collect()
}

#[test]
fn what_waits_is_handed_to_a_peer_with_room_and_only_as_much_as_it_has_room_for() {
    let mut bench = busy();
    assert_eq!(offers(&bench.stands(PEER, 1)), [(2, PEER)]);
    assert_eq!(offers(&bench.stands(OTHER, 0)), []);
    let effects = bench.answer(2, OfferVerdict::Taken);
    assert_eq!(effects.messages, [WorkerMessage::GaveAway(vec![given(2)])]);
    assert_eq!(offers(&bench.stands(PEER, 1)), [(3, PEER)]);
}

#[test]
fn nothing_is_handed_on_without_a_grant_or_after_it_ran_out() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.assign(2, 2);
    assert_eq!(offers(&bench.stands(PEER, 4)), []);
    let late = GrantedAttempt { expires_at: bench.now, ..granted(2, bench.now) };
    assert_eq!(offers(&bench.hear(DispatcherMessage::Grant(vec![late]))), []);
    let good = granted(2, bench.now);
    assert_eq!(offers(&bench.hear(DispatcherMessage::Grant(vec![good]))), [(2, PEER)]);
}

#[test]
fn what_was_refused_stays_and_runs_here() {
    let mut bench = busy();
    _ = bench.stands(PEER, 1);
    assert!(bench.answer(2, OfferVerdict::NoRoom).messages.is_empty(), "a refusal is nobody's business");
    _ = bench.started(1);
    assert_eq!(starts(&bench.ended(1, Outcome::Exited(0))), [2]);
}

#[test]
fn a_peer_that_refused_an_attempt_is_not_asked_for_it_again() {
    let mut bench = busy();
    _ = bench.stands(PEER, 1);
    _ = bench.answer(2, OfferVerdict::NoRoom);
    assert_eq!(offers(&bench.stands(PEER, 1)), [(3, PEER)]);
    assert_eq!(offers(&bench.stands(OTHER, 1)), [(2, OTHER)]);
}

#[test]
fn what_was_offered_and_not_answered_is_neither_run_nor_offered_elsewhere() {
    let mut bench = busy();
    _ = bench.stands(PEER, 2);
    _ = bench.started(1);
    let effects = bench.ended(1, Outcome::Exited(0));
    assert!(starts(&effects).is_empty(), "both that wait are with the peer, perhaps");
    let effects = bench.pass(Millis::from_secs(1));
    assert!(effects.messages.contains(&WorkerMessage::GaveAway(vec![given(2), given(3)])), "{effects:?}");
    assert_eq!(offers(&bench.stands(OTHER, 4)), []);
    let effects = bench.answer(2, OfferVerdict::NoRoom);
    assert!(starts(&effects).is_empty(), "the dispatcher was told, and may have given it out anew");
    _ = bench.hear(DispatcherMessage::Recorded(vec![named(2, 2), named(3, 3)]));
    assert!(bench.engine.attempts.is_empty(), "the dispatcher has found out what became of them");
}

#[test]
fn while_the_dispatcher_is_away_the_peer_is_asked_again_and_its_refusal_counts() {
    let mut bench = busy();
    _ = bench.stands(PEER, 1);
    _ = bench.down();
    assert_eq!(offers(&bench.pass(Millis::from_secs(1))), [(2, PEER)]);
    _ = bench.started(1);
    let effects = bench.ended(1, Outcome::Exited(0));
    assert_eq!(starts(&effects), [3]);
    _ = bench.answer(2, OfferVerdict::NoRoom);
    _ = bench.started(3);
    assert_eq!(starts(&bench.ended(3, Outcome::Exited(0))), [2]);
}

#[test]
fn an_offer_that_cannot_be_sent_comes_back_at_once() {
    let mut bench = busy();
    _ = bench.stands(PEER, 1);
    let effects = bench.peer(PEER, PeerFact::Unreachable(spare(2)));
    assert!(effects.messages.is_empty());
    _ = bench.started(1);
    assert_eq!(starts(&bench.ended(1, Outcome::Exited(0))), [2]);
}

#[test]
fn whoever_lacks_the_spec_gets_it() {
    let mut bench = busy();
    _ = bench.stands(PEER, 1);
    let effects = bench.answer(2, OfferVerdict::SpecMissing);
    let with_spec = |order: &(NodeId, PeerOrder)| matches!(order.1, PeerOrder::Offer { spec: Some(_), .. });
    assert!(effects.to_peers.iter().any(with_spec), "{effects:?}");
}

#[test]
fn a_hand_over_is_told_again_until_the_dispatcher_has_recorded_it() {
    let mut bench = busy();
    _ = bench.stands(PEER, 1);
    _ = bench.down();
    _ = bench.answer(2, OfferVerdict::Taken);
    for _ in 0..2 {
        let messages = bench.up().messages;
        assert!(messages.contains(&WorkerMessage::GaveAway(vec![given(2)])), "{messages:?}");
        let named_all = |message: &WorkerMessage| matches!(message, WorkerMessage::Holding(all) if all.len() == 3);
        assert!(messages.iter().any(named_all), "what is not named counts as never started");
    }
    _ = bench.hear(DispatcherMessage::Recorded(vec![named(2, 2)]));
    assert!(!bench.up().messages.iter().any(|message| matches!(message, WorkerMessage::GaveAway(_))));
}

#[test]
fn a_retracted_attempt_goes_back_unless_it_has_started_or_is_a_peers() {
    let mut bench = busy();
    let retract = |n: u64| DispatcherMessage::Retract(vec![named(n, n)]);
    assert!(bench.hear(retract(1)).messages.is_empty(), "it runs");
    _ = bench.stands(PEER, 1);
    assert!(bench.hear(retract(2)).messages.is_empty(), "it is offered");
    assert_eq!(bench.hear(retract(3)).messages, [WorkerMessage::Returned(vec![named(3, 3)])]);
    let refused = bench.answer(2, OfferVerdict::NoRoom);
    assert_eq!(refused.messages, [WorkerMessage::Returned(vec![named(2, 2)])], "it came back and is wanted elsewhere");
}

#[test]
fn what_is_cancelled_while_it_is_offered_does_not_run_when_it_comes_back() {
    let mut bench = busy();
    _ = bench.stands(PEER, 1);
    assert!(bench.cancel(2, 2, Millis(0)).messages.is_empty());
    let effects = bench.answer(2, OfferVerdict::NoRoom);
    assert!(matches!(&effects.messages[..], [WorkerMessage::Ended(ended)] if ended[0].id == id(2)), "{effects:?}");
}

#[test]
fn an_attempt_that_was_handed_over_runs_under_its_own_fence_and_is_told_of() {
    let mut bench = connected(1);
    let effects = bench.offer(5, Some(spec()));
    assert_eq!(verdicts(&effects), [OfferVerdict::Taken]);
    assert_eq!(effects.messages, [WorkerMessage::TookOver(vec![taken(5)])]);
    let order =
        |order: &ExecOrder| matches!(order, ExecOrder::Start { assignment, .. } if assignment.fence == fence(105));
    assert!(effects.orders.iter().any(order), "{effects:?}");
    _ = bench.started(5);
    let effects = bench.ended(5, Outcome::Exited(0));
    assert_eq!(effects.records[0], OutboxRecord::Proved(taken(5)), "its result is worth nothing without the proof");
    let messages = bench.up().messages;
    assert_eq!(messages[0], WorkerMessage::TookOver(vec![taken(5)]), "before the holding that names it");
    _ = bench.recorded(5, 105);
    assert!(!bench.up().messages.contains(&WorkerMessage::TookOver(vec![taken(5)])));
}

#[test]
fn the_same_offer_is_answered_the_same_and_started_once() {
    let mut bench = connected(2);
    assert_eq!(verdicts(&bench.offer(5, None)), [OfferVerdict::SpecMissing]);
    assert_eq!(starts(&bench.offer(5, Some(spec()))), [5]);
    let again = bench.offer(5, Some(spec()));
    assert_eq!((starts(&again), verdicts(&again)), (vec![], vec![OfferVerdict::Taken]));
    _ = bench.started(5);
    _ = bench.ended(5, Outcome::Exited(0));
    _ = bench.recorded(5, 105);
    let again = bench.offer(5, Some(spec()));
    assert_eq!((starts(&again), verdicts(&again)), (vec![], vec![OfferVerdict::Taken]));
}

#[test]
fn what_was_refused_once_is_refused_when_it_comes_late_for_a_second_time() {
    let mut bench = connected(1);
    _ = bench.offer(5, Some(spec()));
    assert_eq!(verdicts(&bench.offer(6, Some(spec()))), [OfferVerdict::NoRoom]);
    _ = bench.started(5);
    _ = bench.ended(5, Outcome::Exited(0));
    assert_eq!(verdicts(&bench.offer(6, Some(spec()))), [OfferVerdict::NoRoom], "its giver may run it by now");
    assert_eq!(verdicts(&bench.offer(7, Some(spec()))), [OfferVerdict::Taken]);
}

#[test]
fn a_worker_that_has_work_waiting_or_does_not_suit_takes_nothing_over() {
    let mut bench = busy();
    assert_eq!(verdicts(&bench.offer(5, Some(spec()))), [OfferVerdict::NoRoom]);
    let mut bench = connected(4);
    let labels = BTreeMap::from([("zone".to_owned(), "b".to_owned())]);
    let elsewhere = JobSpec { labels, ..spec() };
    assert_eq!(verdicts(&bench.offer(5, Some(elsewhere))), [OfferVerdict::Unsuitable]);
    let exclusive = JobSpec { exclusive: true, ..spec() };
    assert_eq!(verdicts(&bench.offer(6, Some(exclusive))), [OfferVerdict::Unsuitable]);
    _ = bench.hear(DispatcherMessage::Drain);
    assert_eq!(verdicts(&bench.offer(7, Some(spec()))), [OfferVerdict::Closed]);
}

#[test]
fn the_dispatcher_is_told_what_came_and_what_did_not_and_that_stays_so() {
    let mut bench = connected(2);
    _ = bench.offer(5, Some(spec()));
    let asked = bench.hear(DispatcherMessage::Account(vec![spare(5), spare(6)]));
    let said = [WorkerMessage::TookOver(vec![taken(5)]), WorkerMessage::NeverCame(vec![spare(6)])];
    assert_eq!(asked.messages, said);
    assert_eq!(verdicts(&bench.offer(6, Some(spec()))), [OfferVerdict::NoRoom], "it was said not to have come");
}

#[test]
fn a_result_of_an_earlier_start_is_reported_with_its_proof() {
    let mut first = connected(1);
    _ = first.offer(5, Some(spec()));
    _ = first.started(5);
    let ended = first.ended(5, Outcome::Exited(0));
    let mut outbox = Unsettled::default();
    for record in ended.records {
        match record {
            OutboxRecord::Kept(result) => outbox.results.push(result),
            OutboxRecord::Proved(proof) => outbox.proofs.push(proof),
            OutboxRecord::Settled(_) => {}
        }
    }
    let mut bench = worker(1);
    let config = WorkerConfig { profile: first.engine.profile.clone(), heartbeat_interval: limits::HEARTBEAT_INTERVAL };
    bench.engine = WorkerEngine::restore(config, bench.now, outbox);
    assert_eq!(bench.up().messages[0], WorkerMessage::TookOver(vec![taken(5)]));
}

#[test]
fn a_worker_that_stops_leaves_what_it_handed_over_to_the_dispatcher() {
    let mut bench = busy();
    _ = bench.stands(PEER, 1);
    bench.engine.stop(bench.now, Millis(0));
    let effects = bench.effects();
    assert!(effects.messages.contains(&WorkerMessage::GaveAway(vec![given(2)])), "{effects:?}");
    assert!(effects.messages.contains(&WorkerMessage::Returned(vec![named(3, 3)])), "{effects:?}");
}
