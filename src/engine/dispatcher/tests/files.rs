//! Files as the engine sees them: tasks go where their inputs are, and what was
//! lost is made again for whoever needs it.

use super::*;
use crate::engine::dispatcher::LostInput;
use crate::model::Digest;
use crate::model::FileMode;
use crate::model::files::{BlobRef, Content, InputSource, InputSpec, OutputFile, TaskFiles};
use crate::model::spec::{Dependency, DependencyCondition};

const BIG: u64 = 64 << 20;

/// A job that leaves one file a task.
fn making(tasks: u64) -> JobSpec {
    JobSpec { outputs: vec!["x".into()], ..array(tasks) }
}

/// A job each task of which takes the output of the task of its own number.
fn taking(from: JobId, tasks: u64) -> JobSpec {
    let source = InputSource::Output { job: from, index: None, output: "x".into() };
    JobSpec {
        inputs: vec![InputSpec { name: "x".into(), source }],
        after: vec![Dependency { job: from, condition: DependencyCondition::Succeeded }],
        ..array(tasks)
    }
}

fn made(number: u64) -> TaskFiles {
    let blob = BlobRef { digest: Digest([number as u8; 32]), bytes: BIG };
    let content = Content::File { blob, mode: FileMode::FILE, modified_ns: None };
    TaskFiles { outputs: vec![OutputFile { name: "x".into(), content }], held: true, ..TaskFiles::default() }
}

fn on(who: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("name".to_owned(), who.to_owned())])
}

impl Scene {
    /// A task ends and has left its file.
    fn makes(&mut self, who: &'static str, task: TaskId) {
        let assignment = self.forgets(who, task);
        let report = AttemptReport { files: Some(Box::new(made(task.index.0))), ..self.report(OK) };
        let ended = EndedAttempt { id: assignment.id(), fence: assignment.fence, report };
        self.says(who, WorkerMessage::Ended(vec![ended]));
    }

    /// A worker cannot get an input that `producer` made: what it is told.
    fn lacks(&mut self, who: &'static str, task: TaskId, producer: TaskId, holders: &[&str]) -> Reply {
        self.requests += 1;
        let request = RequestId(self.requests);
        let submitted = self.ledger.recall(producer.job).expect("a job of the store").submitted;
        let lost = LostInput {
            attempt: self.workers[who].holds[&task].id(),
            producer,
            spec: submitted.spec.clone(),
            owner: submitted.owner,
            holders: holders.iter().map(|holder| key(holder)).collect(),
        };
        let link = self.workers[who].link;
        self.engine.handle_message(self.now, link, Inbound::InputLost { request, lost: Box::new(lost) });
        self.perform();
        self.heard(request).pop().cloned().expect("an answer")
    }

    /// It gives the attempt up.
    fn gives_up(&mut self, who: &'static str, task: TaskId) {
        let assignment = self.forgets(who, task);
        let report =
            AttemptReport { started_at: None, ..self.report(Outcome::InputLost("its holder is gone".to_owned())) };
        let ended = EndedAttempt { id: assignment.id(), fence: assignment.fence, report };
        self.says(who, WorkerMessage::Ended(vec![ended]));
    }

    /// Jobs that make outputs of a task again, oldest first.
    fn remakes_of(&self, producer: TaskId) -> Vec<JobId> {
        let submitted = self.records.iter().filter_map(|record| match record {
            Record::JobSubmitted(job) if job.spec.spec().remakes == Some(producer) => Some(job.job),
            _ => None,
        });
        submitted.collect()
    }
}

const AGAIN: Reply = Reply::Done { affected: 0 };
const REMADE: Reply = Reply::Done { affected: 1 };

#[test]
fn a_task_goes_to_the_worker_that_has_its_input_and_waits_for_none() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.worker("b", slots(8));
    let first = scene.submit(JobSpec { labels: on("a"), ..making(1) });
    scene.makes("a", task(first, 1));
    let next = scene.submit(taking(first, 1));
    assert_eq!(scene.on("a"), [task(next, 1)], "though b has more room");
    let late = scene.submit(taking(first, 1));
    assert_eq!(scene.on("b"), [task(late, 1)], "though a has the input");
}

#[test]
fn of_the_next_tasks_of_an_array_a_worker_gets_the_one_whose_input_it_has() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let first = scene.submit(making(1));
    scene.makes("a", task(first, 1));
    let busy = scene.submit(JobSpec { labels: on("a"), ..single() });
    let other =
        scene.submit(JobSpec { labels: on("b"), items: Items::Range { first: 3, last: 3, step: 1 }, ..making(1) });
    scene.worker("b", slots(1));
    scene.makes("b", task(other, 3));
    let joined = InputSource::Output { job: other, index: None, output: "x".into() };
    let mut spec = taking(other, 4);
    spec.inputs[0].source = joined;
    let next = scene.submit(spec);
    assert_eq!((scene.on("a"), scene.on("b")), (vec![task(busy, 0)], vec![task(next, 3)]));
}

#[test]
fn a_preferred_worker_still_has_to_be_one_that_may_run_the_task() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    scene.worker("b", slots(4));
    let first = scene.submit(JobSpec { labels: on("a"), ..making(1) });
    scene.makes("a", task(first, 1));
    let next = scene.submit(JobSpec { labels: on("b"), ..taking(first, 1) });
    assert_eq!(scene.on("b"), [task(next, 1)]);
}

#[test]
fn a_lost_input_is_made_again_by_a_job_of_its_own_and_its_task_is_not_touched() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let first = scene.submit(making(2));
    (1..=2).for_each(|index| scene.makes("a", task(first, index)));
    scene.guard_reports("a");
    let next = scene.submit(taking(first, 2));
    scene.pass(secs(120));
    let before = scene.counts(task(first, 2));
    scene.worker("b", slots(1));
    assert_eq!(scene.on("b"), [task(next, 1)]);
    scene.works_off_one("b");
    assert_eq!(scene.lacks("b", task(next, 2), task(first, 2), &["a"]), REMADE);
    scene.gives_up("b", task(next, 2));
    let [remake] = scene.remakes_of(task(first, 2))[..] else { panic!("one job makes it again") };
    assert_eq!((scene.state(task(next, 2)), scene.on("b")), (TaskState::Waiting, vec![task(remake, 2)]));
    scene.makes("b", task(remake, 2));
    assert_eq!(scene.on("b"), [task(next, 2)], "it is not waited for any longer");
    let remade = Record::OutputsRemade { task: task(first, 2), by: task(remake, 2) };
    assert_eq!(scene.records.iter().filter(|record| **record == remade).count(), 1);
    scene.works_off_one("b");
    assert_eq!(scene.ended(next), Some(TaskState::Succeeded));
    assert_eq!(scene.counts(task(next, 2)).failures, 0, "it counts as nothing");
    assert_eq!((scene.ended(first), scene.counts(task(first, 2))), (Some(TaskState::Succeeded), before));
}

#[test]
fn several_tasks_wait_for_one_making() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let first = scene.submit(making(1));
    scene.makes("a", task(first, 1));
    scene.restarts("a");
    let jobs = [scene.submit(taking(first, 1)), scene.submit(taking(first, 1))];
    for job in jobs {
        assert_eq!(scene.lacks("a", task(job, 1), task(first, 1), &[]), REMADE);
        scene.gives_up("a", task(job, 1));
    }
    let remakes = scene.remakes_of(task(first, 1));
    assert_eq!((remakes.len(), scene.on("a")), (1, vec![task(remakes[0], 1)]));
    scene.makes("a", task(remakes[0], 1));
    assert_eq!(scene.on("a"), jobs.map(|job| task(job, 1)));
}

/// What `a` made is needed on `b`: the jobs that make and take it.
fn away(no_retry: bool) -> (Scene, JobId, JobId) {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    scene.worker("b", slots(4));
    let first = scene.submit(JobSpec { labels: on("a"), no_retry, ..making(1) });
    scene.makes("a", task(first, 1));
    let next = scene.submit(JobSpec { labels: on("b"), ..taking(first, 1) });
    (scene, first, next)
}

#[test]
fn a_holder_is_waited_for_until_it_was_given_up_some_minutes_ago_or_is_revoked() {
    for no_retry in [false, true] {
        let (mut scene, first, next) = away(no_retry);
        scene.loses_its_link("a");
        assert_eq!(scene.lacks("b", task(next, 1), task(first, 1), &["a"]), AGAIN);
        scene.pass(secs(61));
        assert_eq!(scene.lacks("b", task(next, 1), task(first, 1), &["a"]), AGAIN, "given up, and it may come back");
        scene.pass(secs(120));
        let told = scene.lacks("b", task(next, 1), task(first, 1), &["a"]);
        assert_eq!((told == REMADE, matches!(told, Reply::Failed(_))), (!no_retry, no_retry));
    }
    let (mut scene, first, next) = away(false);
    scene.revoke("a", None);
    assert_eq!(scene.lacks("b", task(next, 1), task(first, 1), &["a"]), REMADE);
}

#[test]
fn a_holder_whose_process_has_ended_or_was_stopped_has_some_minutes_to_be_started_again() {
    let ends: [fn(&mut Scene); 2] = [
        |scene| scene.guard_reports("a"),
        |scene| {
            scene.says("a", WorkerMessage::Stopping);
            scene.loses_its_link("a");
        },
    ];
    for end in ends {
        let (mut scene, first, next) = away(false);
        end(&mut scene);
        assert_eq!(scene.lacks("b", task(next, 1), task(first, 1), &["a"]), AGAIN);
        scene.pass(secs(119));
        assert_eq!(scene.lacks("b", task(next, 1), task(first, 1), &["a"]), AGAIN);
        scene.pass(secs(1));
        assert_eq!(scene.lacks("b", task(next, 1), task(first, 1), &["a"]), REMADE);
    }
}

#[test]
fn a_task_is_not_tried_while_what_it_waits_for_is_still_being_made() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let first = scene.submit(making(1));
    scene.makes("a", task(first, 1));
    let next = scene.submit(taking(first, 1));
    assert_eq!(scene.lacks("a", task(next, 1), task(first, 1), &[]), REMADE);
    scene.gives_up("a", task(next, 1));
    let remake = scene.remakes_of(task(first, 1))[0];
    scene.pass(secs(200));
    assert_eq!((scene.on("a"), scene.counts(task(next, 1)).attempts), (vec![task(remake, 1)], 1));
    scene.makes("a", task(remake, 1));
    assert_eq!(scene.on("a"), [task(next, 1)]);
}

#[test]
fn an_attempt_that_has_started_is_not_believed_that_its_input_is_lost() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let only = scene.submit(JobSpec { no_retry: true, ..single() });
    scene.starts("a", task(only, 0));
    scene.gives_up("a", task(only, 0));
    assert_eq!(scene.outcome(task(only, 0)), Some(Outcome::Lost), "it may have done its work");
}

#[test]
fn right_after_a_start_workers_have_their_grace_to_come_back_with_what_they_hold() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    scene.worker("b", slots(4));
    let first = scene.submit(JobSpec { labels: on("a"), ..making(1) });
    scene.makes("a", task(first, 1));
    let next = scene.submit(JobSpec { labels: on("b"), ..taking(first, 1) });
    scene.dispatcher_restarts();
    scene.reconnects("b");
    assert_eq!(scene.lacks("b", task(next, 1), task(first, 1), &["a"]), AGAIN);
    scene.pass(secs(61));
    assert_eq!(scene.lacks("b", task(next, 1), task(first, 1), &["a"]), REMADE);
}

#[test]
fn what_may_be_started_only_once_is_not_made_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let first = scene.submit(JobSpec { no_retry: true, ..making(1) });
    scene.makes("a", task(first, 1));
    let next = scene.submit(taking(first, 1));
    let Reply::Failed(failure) = scene.lacks("a", task(next, 1), task(first, 1), &[]) else { panic!("refused") };
    assert_eq!(failure.hint, Some(format!("octaskly retry {}", task(first, 1))));
    assert!(scene.remakes_of(task(first, 1)).is_empty());
}

#[test]
fn a_making_that_fails_fails_those_that_wait_for_it() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let first = scene.submit(making(1));
    scene.makes("a", task(first, 1));
    let next = scene.submit(taking(first, 1));
    assert_eq!(scene.lacks("a", task(next, 1), task(first, 1), &[]), REMADE);
    scene.gives_up("a", task(next, 1));
    let remake = scene.remakes_of(task(first, 1))[0];
    scene.cancel(job(remake));
    scene.ends("a", task(remake, 1), Outcome::Cancelled(Cancellation::requested(None)));
    let Some(Outcome::TransferFailed(text)) = scene.outcome(task(next, 1)) else { panic!("it failed") };
    assert!(text.contains(&format!("octaskly retry {}", task(first, 1))), "{text}");
    assert_eq!(scene.ended(first), Some(TaskState::Succeeded));
}

#[test]
fn a_restarted_dispatcher_tries_what_waits_again_and_makes_nothing_twice() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let first = scene.submit(making(1));
    scene.makes("a", task(first, 1));
    let next = scene.submit(taking(first, 1));
    assert_eq!(scene.lacks("a", task(next, 1), task(first, 1), &[]), REMADE);
    scene.gives_up("a", task(next, 1));
    let remake = scene.remakes_of(task(first, 1))[0];
    scene.dispatcher_restarts();
    scene.reconnects("a");
    scene.makes("a", task(remake, 1));
    scene.pass(secs(31));
    assert_eq!(scene.on("a"), [task(next, 1)]);
    assert_eq!(scene.remakes_of(task(first, 1)), [remake]);
}

#[test]
fn nobody_but_the_worker_that_has_the_attempt_has_anything_made_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    scene.worker("b", slots(4));
    let first = scene.submit(JobSpec { labels: on("a"), ..making(1) });
    scene.makes("a", task(first, 1));
    let next = scene.submit(JobSpec { labels: on("a"), ..taking(first, 1) });
    let stolen = scene.workers["a"].holds[&task(next, 1)].clone();
    scene.workers.get_mut("b").expect("a worker").holds.insert(task(next, 1), stolen);
    assert!(matches!(scene.lacks("b", task(next, 1), task(first, 1), &[]), Reply::Failed(_)));
    assert!(scene.remakes_of(task(first, 1)).is_empty());
}

#[test]
fn an_attempt_that_did_not_hear_that_its_input_is_remade_has_it_made_anew_after_that_failed() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let first = scene.submit(making(1));
    scene.makes("a", task(first, 1));
    let next = scene.submit(taking(first, 1));
    for failed in 1..=2 {
        assert_eq!(scene.lacks("a", task(next, 1), task(first, 1), &[]), REMADE);
        let remakes = scene.remakes_of(task(first, 1));
        assert_eq!(remakes.len(), failed);
        scene.cancel(job(remakes[failed - 1]));
        scene.ends("a", task(remakes[failed - 1], 1), Outcome::Cancelled(Cancellation::requested(None)));
        assert_eq!(scene.on("a"), [task(next, 1)]);
    }
}

#[test]
fn a_client_cannot_submit_a_making_nor_take_its_key() {
    let mut scene = Scene::new();
    let mut submission = scene.submission(single());
    submission.idempotency_key = "octaskly: job 2 of start 1 makes 1.0 again".to_owned();
    let call = Call::Submit { submission, ended_dependencies: BTreeMap::new() };
    assert_eq!(scene.failure("admin", call), FailureCode::Invalid);
    let submission = scene.submission(JobSpec { remakes: Some(TaskId::new(1, 0)), ..single() });
    let call = Call::Submit { submission, ended_dependencies: BTreeMap::new() };
    assert_eq!(scene.failure("admin", call), FailureCode::Invalid);
}

#[test]
fn a_task_that_succeeded_is_done_again_when_it_is_named() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let first = scene.submit(making(2));
    (1..=2).for_each(|index| scene.makes("a", task(first, index)));
    assert_eq!(scene.retry(job(first), false), 0, "a whole job has nothing to retry");
    assert_eq!(scene.retry(vec![Part::Task(task(first, 2))], true), 0);
    assert_eq!(scene.retry(vec![Part::Task(task(first, 2))], false), 1);
    assert_eq!(scene.on("a"), [task(first, 2)]);
    scene.makes("a", task(first, 2));
    assert_eq!(scene.ended(first), Some(TaskState::Succeeded));
}

/// Who has what, and the trouble that befalls them.
struct Hall {
    scene: Scene,
    roll: u64,
    /// Workers that have the output of the producer.
    held: BTreeSet<&'static str>,
    producer: TaskId,
    makings: usize,
}

const HALL: [&str; 3] = ["a", "b", "c"];

impl Hall {
    fn dice(&mut self, sides: u64) -> u64 {
        self.roll = self.roll.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.roll >> 33) % sides
    }

    /// A worker comes on with one thing that it has.
    fn works(&mut self, who: &'static str) {
        let Some(one) = self.scene.on(who).first().copied() else { return };
        let is_making = one == self.producer || self.scene.remakes_of(self.producer).contains(&one.job);
        if is_making {
            self.scene.makes(who, one);
            self.held.insert(who);
        } else if !self.held.is_empty() {
            self.held.insert(who);
            self.scene.works_off_one(who);
        } else {
            match self.scene.lacks(who, one, self.producer, &[]) {
                REMADE => self.scene.gives_up(who, one),
                AGAIN => {}
                other => panic!("{other:?}"),
            }
        }
        self.makings = self.scene.remakes_of(self.producer).len();
    }

    /// A worker dies and starts again, with its files or without.
    fn dies(&mut self, who: &'static str) {
        self.scene.guard_reports(who);
        if self.dice(3) > 0 {
            self.held.remove(who);
        }
        self.scene.restarts(who);
    }
}

#[test]
fn whenever_holders_die_everything_is_made_in_the_end_and_what_was_made_first_stays_as_it_was() {
    for seed in 0..60 {
        let mut scene = Scene::new();
        HALL.iter().for_each(|who| scene.worker(who, slots(2)));
        let first = scene.submit(making(1));
        let producer = task(first, 1);
        let next = scene.submit(JobSpec { items: Items::Range { first: 1, last: 5, step: 1 }, ..taking(first, 5) });
        let mut hall = Hall { scene, roll: seed, held: BTreeSet::new(), producer, makings: 0 };
        let mut deaths = 0;
        for _ in 0..60 {
            let who = HALL[hall.dice(3) as usize];
            match hall.dice(5) {
                0 => {
                    hall.dies(who);
                    deaths += 1;
                }
                1 => hall.scene.pass(Millis(500)),
                2 if hall.dice(6) == 0 => {
                    hall.scene.dispatcher_restarts();
                    HALL.iter().for_each(|who| hall.scene.reconnects(who));
                }
                _ => hall.works(who),
            }
        }
        for _ in 0..200 {
            HALL.iter().for_each(|who| hall.works(who));
            hall.scene.pass(secs(1));
        }
        let scene = &hall.scene;
        assert_eq!(scene.ended(next), Some(TaskState::Succeeded), "seed {seed}");
        assert_eq!(scene.state(producer), TaskState::Succeeded, "seed {seed}");
        assert!(scene.remakes_of(producer).iter().all(|job| scene.ended(*job).is_some()), "seed {seed}");
        assert!(hall.makings <= deaths, "seed {seed}: {} makings for {deaths} deaths", hall.makings);
        assert_eq!(scene.counts(producer).failures, 0, "seed {seed}");
    }
}
