//! A worker that cannot start tasks although nothing is wrong with them.

use super::*;
use crate::model::messages::RefusedAttempt;
use crate::model::obstacle::{DirectoryFault, Obstacle, Shortage};

const DISK: Obstacle = Obstacle::Shortage(Shortage::Disk);

impl Bench {
    fn not_started(&mut self, index: u64, obstacle: Obstacle) -> WorkerEffects {
        let fact = ExecFact::NotStarted { id: id(index), obstacle, detail: "make its directory: disk full".to_owned() };
        self.engine.handle_exec(self.now, fact);
        self.effects()
    }
}

/// A worker with this many slots that has as many attempts and two more, numbered from 1 as their fences are.
fn laden(slots: u32) -> Bench {
    let mut bench = connected(slots);
    _ = bench.learn(spec());
    (1..=u64::from(slots) + 2).for_each(|index| _ = bench.assign(index, index));
    bench
}

fn warnings(effects: &WorkerEffects) -> usize {
    effects.notices.iter().filter(|notice| matches!(notice, WorkerNotice::Short { .. })).count()
}

#[test]
fn a_worker_without_resources_gives_back_what_it_cannot_start_and_takes_nothing_until_it_tries_again() {
    let mut bench = laden(2);
    _ = bench.started(1);
    let effects = bench.not_started(2, DISK);
    let back = vec![named(2, 2), named(3, 3), named(4, 4)];
    assert_eq!(effects.messages, [WorkerMessage::Short(Some(Shortage::Disk)), WorkerMessage::Returned(back)]);
    assert_eq!(effects.records, [], "none of it is a result");
    assert_eq!(warnings(&effects), 1);
    assert!(!bench.engine.vacancy().2, "peers hand nothing to it");
    assert_eq!(bench.assign(5, 5).messages, [WorkerMessage::Returned(vec![named(5, 5)])]);
    assert_eq!(bench.pass(Millis::from_secs(1)).messages, [WorkerMessage::Short(None)]);
    assert_eq!(starts(&bench.assign(6, 6)), [6]);
}

#[test]
fn after_a_shortage_attempts_are_started_one_at_a_time() {
    let mut bench = connected(4);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.not_started(1, DISK);
    _ = bench.pass(Millis::from_secs(1));
    let started: Vec<u64> = (2..=4).flat_map(|index| starts(&bench.assign(index, index))).collect();
    assert_eq!(started, [2]);
    assert_eq!(starts(&bench.started(2)), [3]);
    let effects = bench.not_started(3, DISK);
    let back = vec![named(3, 3), named(4, 4)];
    assert_eq!(effects.messages, [WorkerMessage::Short(Some(Shortage::Disk)), WorkerMessage::Returned(back)]);
}

#[test]
fn several_starts_that_fail_at_once_are_one_shortage() {
    let mut bench = laden(2);
    _ = bench.not_started(1, DISK);
    let effects = bench.not_started(2, DISK);
    assert_eq!(effects.messages, [WorkerMessage::Returned(vec![named(2, 2)])]);
    assert_eq!(warnings(&effects), 0);
}

#[test]
fn a_shortage_that_goes_on_is_told_once_and_tried_less_and_less_often() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    let mut waits = Vec::new();
    for index in 1..=7 {
        _ = bench.assign(index, index);
        let effects = bench.not_started(index, DISK);
        assert_eq!(warnings(&effects), usize::from(index == 1));
        let mut waited = 0;
        while !bench.pass(Millis::from_secs(1)).messages.contains(&WorkerMessage::Short(None)) {
            waited += 1;
        }
        waits.push(waited + 1);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    let over = |effects: WorkerEffects| effects.notices.contains(&WorkerNotice::Supplied(Shortage::Disk));
    assert!(
        over(bench.pass(Millis::from_secs(30))),
        "it is over when nothing has failed for as long as the longest wait"
    );
    _ = bench.assign(8, 8);
    assert_eq!(warnings(&bench.not_started(8, DISK)), 1, "the next one is news");
}

#[test]
fn the_end_of_a_task_makes_a_long_wait_short() {
    let mut bench = connected(2);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.started(1);
    for index in 2..=6 {
        _ = bench.assign(index, index);
        _ = bench.not_started(index, Obstacle::Shortage(Shortage::Processes));
        if index < 6 {
            _ = bench.pass(Millis::from_secs(30));
        }
    }
    assert!(!bench.pass(Millis::from_secs(2)).messages.contains(&WorkerMessage::Short(None)));
    _ = bench.ended(1, Outcome::Exited(0));
    assert!(bench.pass(Millis::from_secs(1)).messages.contains(&WorkerMessage::Short(None)));
}

#[test]
fn an_attempt_without_its_directory_is_refused_and_the_others_run() {
    let mut bench = laden(1);
    let effects = bench.not_started(1, Obstacle::Directory(DirectoryFault::Missing));
    let refused = RefusedAttempt { id: id(1), fence: fence(1), fault: DirectoryFault::Missing };
    assert_eq!(effects.messages, [WorkerMessage::Refused(vec![refused])]);
    assert_eq!((starts(&effects), warnings(&effects)), (vec![2], 0));
    assert_eq!(bench.assign(1, 1).messages, [], "the same order is not heeded again");
}

#[test]
fn a_worker_that_comes_back_says_what_it_is_short_of_and_does_not_name_what_it_could_not_start() {
    let mut bench = laden(1);
    _ = bench.down();
    assert_eq!(bench.not_started(1, DISK).messages, []);
    let messages = bench.up().messages;
    assert_eq!(messages[..2], [WorkerMessage::Holding(vec![]), WorkerMessage::Short(Some(Shortage::Disk))]);
}

#[test]
fn an_attempt_that_was_to_end_and_could_not_start_ends_for_that_reason() {
    let mut bench = laden(1);
    _ = bench.cancel(1, 1, Millis(0));
    let effects = bench.not_started(1, DISK);
    assert_eq!(ends(&effects), [(1, Outcome::Cancelled(Cancellation::Interrupted))]);
}
