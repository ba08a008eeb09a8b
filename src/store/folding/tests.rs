//! What is put off reads like what was done at once, whenever it is looked at and whatever else happens meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::apply::Records;
use super::super::file::{self, Safety, StoreFile};
use super::super::read::Viewer;
use super::super::tasks::{self, Which};
use super::super::writer::Apply as _;
use super::super::{jobs, restore, schema};
use super::*;
use crate::model::outcome::{AttemptReport, Cancellation, KeptOutput, OutputSummary};
use crate::model::records::{Record, SubmittedJob, TaskCounts};
use crate::model::requests::{JobFilter, TaskFilter};
use crate::model::selector::Selector;
use crate::model::spec::CommandLine;
use crate::model::{
    AttemptId, AttemptNo, Epoch, Fence, Items, JobSpec, NodeId, Outcome, SealedSpec, TaskIndex, Timestamp,
};

const ME: NodeId = NodeId([1; 32]);
const LAZY: Pace = Pace { at_once: 0, piece: 2, most: 3 };
const EAGER: Pace = Pace { at_once: u64::MAX, piece: 1, most: 1 };
const STATES: [TaskState; 6] = [
    TaskState::Waiting,
    TaskState::Ready,
    TaskState::Running,
    TaskState::Succeeded,
    TaskState::Failed,
    TaskState::Cancelled,
];

/// A store without its thread.
struct Desk {
    _directory: tempfile::TempDir,
    _file: StoreFile,
    connection: Connection,
    records: Records,
    pace: Pace,
}

impl Desk {
    fn new(pace: Pace) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("jobs.db");
        let (file, connection) = file::open(&path, &schema::DISPATCHER, Safety::Scratch).expect("opens");
        let records = Records::paced(&connection, pace).expect("reads");
        Self { _directory: directory, _file: file, connection, records, pace }
    }

    fn write(&mut self, records: &[Record]) {
        let transaction = self.connection.unchecked_transaction().expect("begins");
        for record in records {
            self.records.apply(&transaction, record).expect("applies");
        }
        self.records.finish(&transaction).expect("adds up");
        transaction.commit().expect("commits");
    }

    /// A piece of what can wait.
    fn tidy(&mut self) {
        if self.records.is_untidy() {
            self.records.tidy(&self.connection).expect("tidies");
        }
    }

    /// Nothing is remembered but what is written.
    fn restart(&mut self) {
        self.records = Records::paced(&self.connection, self.pace).expect("reads");
    }

    /// Everything that anybody can read about job 1.
    fn read(&self) -> Vec<String> {
        let viewer = Viewer { node: ME, sees_all: true };
        let mut filters = vec![Vec::new(), vec![TaskState::Failed, TaskState::Cancelled]];
        filters.extend([TaskState::Ready, TaskState::Failed].map(|state| vec![state]));
        let mut lines = Vec::new();
        for states in filters {
            for (which, limit, after) in [
                (Which::Any, 0, None),
                (Which::Tried, 0, None),
                (Which::Any, 2, Some(TaskId::new(1, 2))),
                (Which::Tried, 1, None),
            ] {
                let filter = TaskFilter { of: Selector::job(JobId(1)), states: states.clone(), after, limit };
                lines.push(format!("{states:?}: {:?}", tasks::list(&self.connection, &filter, viewer, which)));
            }
        }
        for index in 1..=5 {
            lines.push(format!("{:?}", tasks::outcome(&self.connection, TaskId::new(1, index))));
        }
        lines.push(format!("{:?}", jobs::list(&self.connection, &JobFilter::default(), viewer)));
        lines.push(format!("{:?}", restore::job(&self.connection, JobId(1))));
        lines
    }
}

#[derive(Debug, Clone)]
enum Step {
    Assign(u64),
    End(u64, i32),
    Change(u64, TaskState),
    ChangeAll(TaskState, TaskState),
    ChangeRest(TaskState),
    Tidy,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let index = 1u64..=5;
    let state = prop::sample::select(STATES.to_vec());
    prop_oneof![
        3 => index.clone().prop_map(Step::Assign),
        3 => (index.clone(), 0i32..2).prop_map(|(index, code)| Step::End(index, code)),
        2 => (index, state.clone()).prop_map(|(index, state)| Step::Change(index, state)),
        4 => prop::sample::select(vec![
            (TaskState::Failed, TaskState::Ready),
            (TaskState::Cancelled, TaskState::Ready),
            (TaskState::Ready, TaskState::Cancelled),
            (TaskState::Ready, TaskState::Failed),
        ])
        .prop_map(|(from, to)| Step::ChangeAll(from, to)),
        1 => state.prop_map(Step::ChangeRest),
        3 => Just(Step::Tidy),
        1 => Just(Step::Restart),
    ]
}

/// Turns steps into records that an engine could have written.
#[derive(Default)]
struct Story {
    now: u64,
    attempts: BTreeMap<u64, (u32, bool)>,
}

impl Story {
    fn records(&mut self, step: &Step) -> Vec<Record> {
        self.now += 1;
        let (job, at) = (JobId(1), Timestamp(self.now));
        let ended = |state: TaskState| state.is_terminal().then_some(Outcome::Cancelled(Cancellation::MaxFails));
        match step {
            Step::Assign(index) => {
                let (no, runs) = self.attempts.entry(*index).or_default();
                if std::mem::replace(runs, true) {
                    return Vec::new();
                }
                *no += 1;
                let id = AttemptId { task: TaskId::new(1, *index), attempt: AttemptNo(*no) };
                let fence = Fence { epoch: Epoch(1), counter: self.now };
                let worker_name = "anna".parse().expect("a name");
                vec![Record::AttemptAssigned { id, fence, worker: ME, worker_name, at }]
            }
            Step::End(index, code) => {
                let Some((no, runs)) = self.attempts.get_mut(index) else { return Vec::new() };
                if !std::mem::replace(runs, false) {
                    return Vec::new();
                }
                let task = TaskId { job, index: TaskIndex(*index) };
                let (outcome, counts) = (Outcome::Exited(*code), TaskCounts { attempts: *no, failures: 1, lost: 0 });
                let state = outcome.state();
                let output = OutputSummary { kept: KeptOutput::Nothing, stdout_bytes: 0, stderr_bytes: 0 };
                let report = AttemptReport {
                    outcome,
                    started_at: None,
                    ended_at: at,
                    peak_memory_bytes: 1,
                    output,
                    files: None,
                };
                let id = AttemptId { task, attempt: AttemptNo(*no) };
                let (not_before, outcome) = (None, None);
                vec![
                    Record::AttemptEnded { id, report },
                    Record::TaskChanged { task, state, counts, not_before, outcome, at },
                ]
            }
            Step::Change(index, state) => {
                let (no, runs) = self.attempts.entry(*index).or_default();
                if *runs || *state == TaskState::Running {
                    return Vec::new();
                }
                let (task, counts) = (TaskId::new(1, *index), TaskCounts { attempts: *no, failures: 2, lost: 1 });
                let (state, not_before, outcome) = (*state, Some(at), ended(*state));
                vec![Record::TaskChanged { task, state, counts, not_before, outcome, at }]
            }
            Step::ChangeAll(from, state) => {
                vec![Record::RowsChanged { job, from: *from, state: *state, outcome: ended(*state), at }]
            }
            Step::ChangeRest(state) => vec![Record::RestChanged { job, state: *state, outcome: ended(*state), at }],
            Step::Tidy | Step::Restart => Vec::new(),
        }
    }
}

fn submission() -> Record {
    let items = Items::Range { first: 1, last: 5, step: 1 };
    let spec = SealedSpec::seal(JobSpec { items, ..JobSpec::single(CommandLine::Shell("true".into())) });
    let idempotency_key = "key".to_owned();
    Record::JobSubmitted(Arc::new(SubmittedJob { job: JobId(1), spec, owner: ME, idempotency_key, at: Timestamp(0) }))
}

fn rows(desk: &Desk, sql: &str) -> i64 {
    desk.connection.query_row(sql, [], |row| row.get(0)).expect("counts")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_put_off_reads_like_what_was_done_at_once(steps in proptest::collection::vec(step(), 0..40)) {
        let (mut lazy, mut eager) = (Desk::new(LAZY), Desk::new(EAGER));
        let mut story = Story::default();
        lazy.write(&[submission()]);
        eager.write(&[submission()]);
        for step in &steps {
            let records = story.records(step);
            lazy.write(&records);
            eager.write(&records);
            match step {
                Step::Tidy => lazy.tidy(),
                Step::Restart => lazy.restart(),
                _ => {}
            }
            prop_assert_eq!(lazy.read(), eager.read(), "after {:?}", step);
        }
        while lazy.records.is_untidy() {
            lazy.tidy();
        }
        prop_assert_eq!(lazy.read(), eager.read(), "when nothing is left to do");
        prop_assert_eq!(rows(&lazy, "SELECT count(*) FROM sweeps"), 0);
        prop_assert_eq!(rows(&eager, "SELECT count(*) FROM jobs WHERE sweeps > 0"), 0, "nothing was put off here");
    }
}

#[test]
fn a_forgotten_job_takes_along_what_was_put_off() {
    let mut desk = Desk::new(LAZY);
    let mut story = Story::default();
    let mut records = vec![submission()];
    for step in [Step::Assign(1), Step::End(1, 1), Step::ChangeAll(TaskState::Failed, TaskState::Ready)] {
        records.extend(story.records(&step));
    }
    desk.write(&records);
    assert_eq!(rows(&desk, "SELECT count(*) FROM sweeps"), 1);
    desk.write(&[Record::JobForgotten { job: JobId(1), by: None, at: Timestamp(0) }]);
    while desk.records.is_untidy() {
        desk.tidy();
    }
    assert_eq!(rows(&desk, "SELECT (SELECT count(*) FROM sweeps) + (SELECT count(*) FROM tasks)"), 0);
}

#[test]
fn no_more_changes_are_put_off_than_readers_can_go_through() {
    let mut desk = Desk::new(LAZY);
    let mut story = Story::default();
    desk.write(&[submission()]);
    for round in 0..20 {
        let (from, to) = [(TaskState::Failed, TaskState::Ready), (TaskState::Ready, TaskState::Failed)][round % 2];
        for step in [Step::Assign(1), Step::End(1, 1), Step::ChangeAll(from, to)] {
            desk.write(&story.records(&step));
        }
        assert!(rows(&desk, "SELECT count(*) FROM sweeps") <= LAZY.most as i64);
    }
}
