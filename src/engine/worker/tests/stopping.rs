//! A worker that was told to stop: what may go on, for how long, and what hurries it.

use super::*;

#[test]
fn what_runs_may_end_by_itself_and_is_reported_while_nothing_new_is_taken() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.assign(2, 2);
    bench.engine.stop(bench.now, Millis::from_secs(30));
    let effects = bench.effects();
    let back = [WorkerMessage::Returned(vec![named(2, 2)]), WorkerMessage::Stopping];
    assert!(back.iter().all(|message| effects.messages.contains(message)), "{:?}", effects.messages);
    assert_eq!(effects.orders, [], "nothing is ended");
    assert_eq!(bench.assign(3, 3).messages, [WorkerMessage::Returned(vec![named(3, 3)])]);
    _ = bench.pass(Millis::from_secs(20));
    let ended = bench.ended(1, Outcome::Exited(0));
    assert!(matches!(&ended.messages[..], [WorkerMessage::Ended(_)]), "its result counts: {:?}", ended.messages);
    _ = bench.recorded(1, 1);
    bench.engine.handle_synced(bench.engine.batches);
    assert!(bench.engine.is_stopped());
}

#[test]
fn what_runs_is_ended_when_the_time_for_it_is_over() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    bench.engine.stop(bench.now, Millis::from_secs(5));
    _ = bench.effects();
    let orders = bench.pass(Millis::from_secs(6)).orders;
    assert_eq!(orders, [ExecOrder::Terminate { id: named(1, 1).id, grace: limits::KILL_GRACE }]);
    assert!(bench.ended(1, Outcome::Signalled(15)).messages.is_empty(), "its end is the worker's");
    bench.engine.handle_synced(bench.engine.batches);
    assert!(bench.engine.is_stopped());
}

#[test]
fn a_hurried_worker_kills_what_runs_whether_or_not_it_was_asked_to_end() {
    for wait in [0, 30] {
        let mut bench = connected(1);
        _ = bench.learn(spec());
        _ = bench.assign(1, 1);
        bench.engine.stop(bench.now, Millis::from_secs(wait));
        _ = bench.effects();
        bench.engine.hurry(bench.now);
        let orders = bench.effects().orders;
        assert_eq!(orders, [ExecOrder::Terminate { id: named(1, 1).id, grace: Millis(0) }]);
    }
}

#[test]
fn draining_gives_back_what_waits_and_lets_finish_what_runs() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.assign(2, 2);
    let effects = bench.hear(DispatcherMessage::Drain);
    assert_eq!(effects.messages, [WorkerMessage::Returned(vec![named(2, 2)])]);
    assert_eq!(effects.orders, []);
    assert_eq!(bench.assign(3, 3).messages, [WorkerMessage::Returned(vec![named(3, 3)])]);
    _ = bench.hear(DispatcherMessage::Resume);
    _ = bench.ended(1, Outcome::Exited(0));
    assert_eq!(starts(&bench.assign(4, 4)), [4]);
}

#[test]
fn a_stopping_worker_ends_what_runs_without_reporting_it_and_then_is_stopped() {
    let mut bench = connected(2);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.assign(2, 2);
    _ = bench.assign(3, 3);
    _ = bench.ended(1, Outcome::Exited(0));
    bench.engine.stop(bench.now, Millis(0));
    let effects = bench.effects();
    assert_eq!(effects.messages, [WorkerMessage::Stopping], "three was started in the place of one");
    assert_eq!(effects.orders.len(), 2);
    assert!(bench.ended(2, Outcome::Signalled(15)).messages.is_empty());
    assert!(bench.ended(3, Outcome::Signalled(15)).messages.is_empty());
    assert!(!bench.engine.is_stopped(), "the result of one is neither on disk nor acknowledged");
    _ = bench.recorded(1, 1);
    bench.engine.handle_synced(bench.engine.batches);
    assert!(bench.engine.is_stopped());
}

#[test]
fn what_ended_with_the_stop_is_still_named_after_a_reconnect() {
    let mut bench = connected(2);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.assign(2, 2);
    bench.engine.stop(bench.now, Millis(0));
    _ = bench.effects();
    _ = bench.ended(1, Outcome::Signalled(15));
    _ = bench.down();
    let effects = bench.up();
    let WorkerMessage::Holding(held) = &effects.messages[0] else { panic!("the holding comes first") };
    assert_eq!(held.iter().map(|held| held.fence).collect::<Vec<_>>(), [fence(2), fence(1)]);
    assert_eq!(effects.messages[1..], [WorkerMessage::Heartbeat { sequence: 2 }, WorkerMessage::Stopping]);
}

#[test]
fn a_stopping_worker_waits_for_its_disk_but_not_forever_for_its_dispatcher() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.ended(1, Outcome::Exited(0));
    bench.engine.stop(bench.now, Millis(0));
    _ = bench.pass(Millis::from_secs(10));
    assert!(!bench.engine.is_stopped(), "its result is nowhere but in memory");
    bench.engine.handle_synced(BatchNo(1));
    assert!(bench.engine.is_stopped());
}

#[test]
fn a_dispatcher_cannot_make_a_stopping_worker_hold_more_than_one_message_names() {
    let mut bench = connected(2);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.assign(2, 2);
    bench.engine.stop(bench.now, Millis(0));
    _ = bench.effects();
    _ = bench.ended(1, Outcome::Signalled(15));
    // Each is a result to be kept, of an attempt that never came.
    for counter in 10..10 + limits::MAX_BATCH as u64 + 10 {
        _ = bench.cancel(counter, counter, Millis(0));
    }
    let said = bench.up().messages;
    let Some(WorkerMessage::Holding(holding)) = said.first() else { panic!("{said:?}") };
    assert_eq!(holding.len(), limits::MAX_BATCH);
    assert!([1, 2].iter().all(|counter| holding.iter().any(|held| held.fence == fence(*counter))));
}

#[test]
fn a_stopping_worker_waits_as_long_as_its_grace_for_a_dispatcher_that_is_away() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.down();
    bench.engine.stop(bench.now, Millis::from_secs(30));
    _ = bench.ended(1, Outcome::Exited(0));
    bench.engine.handle_synced(bench.engine.batches);
    _ = bench.pass(Millis::from_secs(20));
    assert!(!bench.engine.is_stopped(), "it may yet be delivered");
    let said = bench.up().messages;
    assert!(said.iter().any(|message| matches!(message, WorkerMessage::Ended(list) if list.len() == 1)), "{said:?}");
    assert_eq!(said.last(), Some(&WorkerMessage::Stopping));
    assert!(!bench.engine.is_stopped());
    _ = bench.recorded(1, 1);
    bench.engine.handle_synced(bench.engine.batches);
    assert!(bench.engine.is_stopped());
}

#[test]
fn it_waits_no_longer_than_that_and_not_at_all_with_nothing_to_deliver_or_when_it_is_hurried() {
    let stopped_without_link = |result: bool| {
        let mut bench = connected(1);
        _ = bench.learn(spec());
        _ = bench.assign(1, 1);
        if result {
            _ = bench.down();
        }
        _ = bench.ended(1, Outcome::Exited(0));
        if !result {
            _ = bench.recorded(1, 1);
            _ = bench.down();
        }
        bench.engine.stop(bench.now, Millis::from_secs(30));
        bench.engine.handle_synced(bench.engine.batches);
        bench
    };
    assert!(stopped_without_link(false).engine.is_stopped(), "there is nothing to deliver");
    let mut bench = stopped_without_link(true);
    _ = bench.pass(Millis::from_secs(29));
    assert!(!bench.engine.is_stopped());
    _ = bench.pass(Millis::from_secs(2));
    assert!(bench.engine.is_stopped(), "what is left stays in the outbox");
    let mut bench = stopped_without_link(true);
    bench.engine.hurry(bench.now);
    assert!(bench.engine.is_stopped(), "a second signal ends the wait");
}
