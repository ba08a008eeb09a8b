//! The worker's rules, one a test, in a small language: `bench` holds an
//! engine and a clock, and every call checks all invariants.

mod hand_over;
mod shortage;
mod stopping;

use super::*;
use crate::model::messages::{Assignment, CancelAttempt, EndedAttempt, FencedAttempt, JobOnWorker, WorkerMessage};
use crate::model::outcome::{Cancellation, KeptOutput, LimitSource, OutputSummary};
use crate::model::records::OutboxRecord;
use crate::model::spec::{CommandLine, Isolation, TimeLimit};
use crate::model::{
    AttemptNo, AttemptReport, Capacity, Demand, Epoch, Items, JobId, JobSpec, MilliCpu, Outcome, Role, SealedSpec,
    TaskId, limits,
};

struct Bench {
    engine: WorkerEngine,
    now: Timestamp,
}

fn worker(slots: u32) -> Bench {
    worker_with(slots, Vec::new())
}

fn worker_with(slots: u32, outbox: Vec<EndedAttempt>) -> Bench {
    let capacity = Capacity { slots, cpu: MilliCpu(4000), memory_bytes: 1 << 30, gpus: 1, ..Capacity::default() };
    let profile = WorkerProfile {
        name: None,
        capacity,
        labels: BTreeMap::new(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        isolation: Isolation::Basic,
        place: None,
    };
    let config = WorkerConfig { profile, heartbeat_interval: limits::HEARTBEAT_INTERVAL };
    let now = Timestamp::from_millis(1_000_000);
    let outbox = Unsettled { results: outbox, proofs: Vec::new() };
    Bench { engine: WorkerEngine::restore(config, now, outbox), now }
}

fn connected(slots: u32) -> Bench {
    let mut bench = worker(slots);
    _ = bench.up();
    bench
}

fn fence(counter: u64) -> Fence {
    Fence { epoch: Epoch(1), counter }
}

/// Attempt 1 of task `index` of job 1.
fn id(index: u64) -> AttemptId {
    AttemptId { task: TaskId::new(1, index), attempt: AttemptNo(1) }
}

fn named(index: u64, counter: u64) -> FencedAttempt {
    FencedAttempt { id: id(index), fence: fence(counter) }
}

fn spec() -> JobSpec {
    JobSpec {
        items: Items::Range { first: 0, last: 99, step: 1 },
        ..JobSpec::single(CommandLine::Shell("true".into()))
    }
}

fn report(outcome: Outcome, now: Timestamp) -> AttemptReport {
    AttemptReport {
        outcome,
        started_at: None,
        ended_at: now,
        peak_memory_bytes: 0,
        output: OutputSummary::default(),
        files: None,
    }
}

impl Bench {
    fn up(&mut self) -> WorkerEffects {
        let welcome = Welcome {
            protocol: 1,
            software: "1.0.0".to_owned(),
            role: Role::Worker,
            name: "worker-1".parse().expect("a name"),
            epoch: Epoch(1),
            now: self.now,
            heartbeat_interval: limits::HEARTBEAT_INTERVAL,
            task_timeout: limits::TASK_TIMEOUT,
            p2p: false,
        };
        self.engine.handle_link(self.now, WorkerLinkChange::Up(welcome));
        self.effects()
    }

    fn down(&mut self) -> WorkerEffects {
        self.engine.handle_link(self.now, WorkerLinkChange::Down);
        self.effects()
    }

    fn hear(&mut self, message: DispatcherMessage) -> WorkerEffects {
        self.engine.handle_message(self.now, message);
        self.effects()
    }

    fn learn(&mut self, spec: JobSpec) -> WorkerEffects {
        self.hear(DispatcherMessage::Learn(vec![JobOnWorker { job: JobId(1), spec: SealedSpec::seal(spec) }]))
    }

    fn assign(&mut self, index: u64, counter: u64) -> WorkerEffects {
        self.hear(DispatcherMessage::Assign(vec![order(index, counter)]))
    }

    fn cancel(&mut self, index: u64, counter: u64, grace: Millis) -> WorkerEffects {
        let FencedAttempt { id, fence } = named(index, counter);
        self.hear(DispatcherMessage::Cancel(vec![CancelAttempt { id, fence, grace, why: Cancellation::Interrupted }]))
    }

    fn started(&mut self, index: u64) -> WorkerEffects {
        self.engine.handle_exec(self.now, ExecFact::Started { id: id(index), at: self.now });
        self.effects()
    }

    fn ended(&mut self, index: u64, outcome: Outcome) -> WorkerEffects {
        self.engine.handle_exec(self.now, ExecFact::Ended { id: id(index), report: report(outcome, self.now) });
        self.effects()
    }

    fn recorded(&mut self, index: u64, counter: u64) -> WorkerEffects {
        self.hear(DispatcherMessage::Recorded(vec![named(index, counter)]))
    }

    fn pass(&mut self, span: Millis) -> WorkerEffects {
        self.now = self.now + span;
        self.engine.handle_timeout(self.now);
        self.effects()
    }

    fn effects(&mut self) -> WorkerEffects {
        self.engine.check_invariants();
        let effects = self.engine.take_effects();
        self.engine.check_invariants();
        effects
    }
}

fn order(index: u64, counter: u64) -> Assignment {
    Assignment { task: TaskId::new(1, index), attempt: AttemptNo(1), fence: fence(counter), gpus: vec![] }
}

fn starts(effects: &WorkerEffects) -> Vec<u64> {
    let start = |order: &ExecOrder| match order {
        ExecOrder::Start { assignment, .. } => Some(assignment.task.index.0),
        _ => None,
    };
    effects.orders.iter().filter_map(start).collect()
}

fn ends(effects: &WorkerEffects) -> Vec<(u64, Outcome)> {
    let ended = |message: &WorkerMessage| match message {
        WorkerMessage::Ended(list) => list.clone(),
        _ => Vec::new(),
    };
    let all = effects.messages.iter().flat_map(ended);
    all.map(|ended| (ended.id.task.index.0, ended.report.outcome)).collect()
}

#[test]
fn an_attempt_that_does_not_fit_waits_until_another_has_ended() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    assert_eq!(starts(&bench.assign(1, 1)), [1]);
    assert_eq!(starts(&bench.assign(2, 2)), [0; 0]);
    _ = bench.started(1);
    assert_eq!(starts(&bench.ended(1, Outcome::Exited(0))), [2]);
}

#[test]
fn the_queue_goes_by_priority_and_then_by_assignment() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.assign(2, 2);
    let urgent = JobOnWorker { job: JobId(2), spec: SealedSpec::seal(JobSpec { priority: 5, ..spec() }) };
    _ = bench.hear(DispatcherMessage::Learn(vec![urgent]));
    _ = bench.hear(DispatcherMessage::Assign(vec![Assignment { task: TaskId::new(2, 9), ..order(0, 3) }]));
    assert_eq!(starts(&bench.ended(1, Outcome::Exited(0))), [9]);
}

#[test]
fn what_starts_next_is_told_in_its_order_and_without_what_runs() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    (1..=4).for_each(|index| _ = bench.assign(index, index));
    let next = |bench: &Bench, most| -> Vec<u64> {
        bench.engine.next_in_line(most).map(|(attempt, _)| attempt.id.task.index.0).collect()
    };
    assert_eq!(next(&bench, 2), [2, 3]);
    _ = bench.cancel(3, 3, Millis(0));
    assert_eq!(next(&bench, 9), [2, 4]);
    _ = bench.ended(1, Outcome::Exited(0));
    assert_eq!(next(&bench, 9), [4]);
}

#[test]
fn an_assignment_without_its_spec_asks_for_it_once_and_starts_when_it_comes() {
    let mut bench = connected(2);
    assert!(bench.assign(1, 1).messages.contains(&WorkerMessage::SpecMissing(JobId(1))));
    assert!(bench.assign(2, 2).messages.is_empty());
    _ = bench.down();
    assert!(bench.up().messages.contains(&WorkerMessage::SpecMissing(JobId(1))), "it may have been lost");
    assert_eq!(starts(&bench.learn(spec())), [1, 2]);
}

#[test]
fn a_result_is_repeated_on_every_link_until_it_is_recorded() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.started(1);
    _ = bench.down();
    let effects = bench.ended(1, Outcome::Exited(7));
    assert!(effects.messages.is_empty() && matches!(effects.records[..], [OutboxRecord::Kept(_)]));
    for _ in 0..2 {
        let effects = bench.up();
        let WorkerMessage::Holding(held) = &effects.messages[0] else { panic!("the holding comes first") };
        assert_eq!(held.iter().map(|held| held.fence).collect::<Vec<_>>(), [fence(1)], "an unthanked result is held");
        assert_eq!(ends(&effects), [(1, Outcome::Exited(7))]);
    }
    let effects = bench.recorded(1, 1);
    assert_eq!(effects.records, [OutboxRecord::Settled(named(1, 1))]);
    assert!(effects.orders.contains(&ExecOrder::ForgetLog(id(1))));
    assert_eq!(ends(&bench.up()), []);
}

#[test]
fn a_repeated_assignment_is_not_run_again_even_after_its_result_was_recorded() {
    let mut bench = connected(4);
    _ = bench.learn(spec());
    assert_eq!(starts(&bench.assign(1, 1)), [1]);
    assert_eq!(starts(&bench.assign(1, 1)), [0; 0]);
    _ = bench.ended(1, Outcome::Exited(0));
    assert_eq!(starts(&bench.assign(1, 1)), [0; 0]);
    _ = bench.recorded(1, 1);
    assert_eq!(starts(&bench.assign(1, 1)), [0; 0]);
    assert_eq!(starts(&bench.assign(1, 2)), [1], "another fence is another attempt");
}

#[test]
fn a_namesake_waits_until_the_older_attempt_is_settled() {
    let mut bench = connected(4);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    assert_eq!(starts(&bench.assign(1, 2)), [0; 0]);
    _ = bench.cancel(1, 1, Millis(0));
    assert_eq!(starts(&bench.ended(1, Outcome::Signalled(9))), [0; 0], "its output is still kept under that number");
    assert_eq!(starts(&bench.recorded(1, 2)), [0; 0], "this is not about the older one");
    assert_eq!(starts(&bench.recorded(1, 1)), [1]);
}

#[test]
fn a_cancelled_attempt_says_so_however_its_process_went() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    _ = bench.assign(2, 2);
    let cancelled = Outcome::Cancelled(Cancellation::Interrupted);
    assert_eq!(ends(&bench.cancel(2, 2, limits::KILL_GRACE)), [(2, cancelled.clone())], "it never started");
    let terminate = |grace| ExecOrder::Terminate { id: id(1), grace };
    assert_eq!(bench.cancel(1, 1, limits::KILL_GRACE).orders, [terminate(limits::KILL_GRACE)]);
    assert_eq!(bench.cancel(1, 1, limits::KILL_GRACE).orders, [], "it was told already");
    assert_eq!(bench.cancel(1, 1, Millis(0)).orders, [terminate(Millis(0))], "but may have to hurry");
    assert_eq!(ends(&bench.ended(1, Outcome::Exited(0))), [(1, cancelled)]);
}

#[test]
fn a_cancel_that_overtakes_its_assignment_keeps_it_from_running() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    assert_eq!(ends(&bench.cancel(1, 1, Millis(0))).len(), 1);
    assert_eq!(starts(&bench.assign(1, 1)), [0; 0]);
    _ = bench.recorded(1, 1);
    assert_eq!(starts(&bench.assign(1, 1)), [0; 0]);
    assert_eq!(ends(&bench.cancel(1, 1, Millis(0))), [], "it was answered");
}

#[test]
fn the_limit_counts_from_the_start_and_the_report_names_it() {
    let mut bench = connected(1);
    let limit = Millis::from_secs(7);
    _ = bench.learn(JobSpec { time_limit: TimeLimit::Limited(limit), ..spec() });
    _ = bench.assign(1, 1);
    assert!(bench.pass(Millis::from_secs(60)).orders.is_empty(), "it has no process yet");
    _ = bench.started(1);
    assert!(bench.pass(Millis::from_secs(6)).orders.is_empty());
    let effects = bench.pass(Millis::from_secs(1));
    assert_eq!(effects.orders, [ExecOrder::Terminate { id: id(1), grace: limits::KILL_GRACE }]);
    assert_eq!(ends(&bench.ended(1, Outcome::Signalled(15))), [(1, Outcome::TimedOut(limit, LimitSource::Job))]);
}

#[test]
fn an_exclusive_attempt_ends_when_its_lease_is_not_renewed() {
    let mut bench = connected(2);
    _ = bench.learn(JobSpec { exclusive: true, ..spec() });
    assert_eq!(starts(&bench.assign(1, 1)), [0; 0], "no heartbeat was acknowledged yet");
    let seen = DispatcherMessage::HeartbeatSeen { sequence: 1, now: bench.now };
    assert_eq!(starts(&bench.hear(seen)), [1]);
    _ = bench.started(1);
    _ = bench.down();
    assert!(bench.pass(Millis(limits::EXCLUSIVE_TERMINATE_AFTER.0 - 1)).orders.is_empty());
    let effects = bench.pass(Millis(1));
    assert_eq!(effects.orders, [ExecOrder::Terminate { id: id(1), grace: limits::KILL_GRACE }]);
    _ = bench.ended(1, Outcome::Signalled(15));
    assert_eq!(ends(&bench.up()), [(1, Outcome::Lost)]);
}

#[test]
fn a_worker_that_was_held_up_kills_exclusive_attempts_without_grace() {
    let mut bench = connected(1);
    _ = bench.learn(JobSpec { exclusive: true, ..spec() });
    _ = bench.hear(DispatcherMessage::HeartbeatSeen { sequence: 1, now: bench.now });
    _ = bench.assign(1, 1);
    let effects = bench.pass(Millis::from_secs(3600));
    assert_eq!(effects.orders, [ExecOrder::Terminate { id: id(1), grace: Millis(0) }]);
}

#[test]
fn what_an_earlier_start_left_is_told_again() {
    let kept = EndedAttempt { id: id(1), fence: fence(1), report: report(Outcome::Exited(3), Timestamp(5)) };
    let mut bench = worker_with(1, vec![kept]);
    let effects = bench.up();
    assert_eq!(ends(&effects), [(1, Outcome::Exited(3))]);
    assert_eq!(bench.recorded(1, 1).records, [OutboxRecord::Settled(named(1, 1))]);
}

#[test]
fn an_assignment_that_could_never_run_here_fails_instead_of_waiting() {
    let mut bench = connected(1);
    _ = bench.learn(JobSpec { demand: Demand { cpu: MilliCpu(5000), ..Demand::default() }, ..spec() });
    let said = ends(&bench.assign(1, 1));
    assert!(matches!(said[..], [(1, Outcome::SpawnFailed(_))]), "{said:?}");
    let said = ends(&bench.assign(100, 2));
    assert!(matches!(said[..], [(100, Outcome::SpawnFailed(_))]), "its job has no task 100");
}

#[test]
fn a_spec_goes_when_its_job_is_forgotten_and_its_last_attempt_is_gone() {
    let mut bench = connected(1);
    _ = bench.learn(spec());
    _ = bench.assign(1, 1);
    let forget = DispatcherMessage::ForgetJobs(vec![JobId(1)]);
    let knows = |bench: &Bench| bench.engine.jobs.spec(JobId(1)).is_some();
    _ = bench.hear(forget.clone());
    assert!(knows(&bench), "an attempt of it runs");
    _ = bench.ended(1, Outcome::Exited(0));
    assert!(!knows(&bench));
    _ = bench.learn(spec());
    _ = bench.hear(forget);
    assert!(!knows(&bench));
    _ = bench.learn(spec());
    _ = bench.up();
    assert!(!knows(&bench), "a new link teaches anew");
}

#[test]
fn heartbeats_keep_their_pace_and_a_pause_makes_no_burst() {
    let mut bench = connected(1);
    let beats = |effects: WorkerEffects| {
        effects.messages.into_iter().filter(|message| matches!(message, WorkerMessage::Heartbeat { .. })).count()
    };
    assert_eq!(bench.engine.poll_timeout(), Some(bench.now + limits::HEARTBEAT_INTERVAL));
    assert_eq!(beats(bench.pass(Millis(1999))), 0);
    assert_eq!(beats(bench.pass(Millis(1))), 1);
    assert_eq!(beats(bench.pass(Millis::from_secs(600))), 1);
    _ = bench.down();
    assert_eq!(bench.engine.poll_timeout(), None);
}

#[test]
fn big_outputs_leave_in_several_messages() {
    let kept = |index| EndedAttempt {
        id: id(index),
        fence: fence(index),
        report: AttemptReport {
            output: OutputSummary { kept: KeptOutput::Inline(vec![0; 700_000].into()), ..OutputSummary::default() },
            ..report(Outcome::Exited(0), Timestamp(5))
        },
    };
    let effects = worker_with(1, vec![kept(1), kept(2)]).up();
    let messages = effects.messages.iter().filter(|message| matches!(message, WorkerMessage::Ended(_)));
    assert_eq!(messages.count(), 2);
}
