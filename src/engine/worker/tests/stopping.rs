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
