//! Every message reads back as it was written, whatever is in it.

use std::collections::BTreeMap;

use octaskly::model::limits::MAX_FRAME;
use octaskly::model::messages::{
    Assignment, CancelAttempt, DispatcherMessage, EndedAttempt, FencedAttempt, HeldAttempt, JobOnWorker,
    RefusedAttempt, StartedAttempt, WorkerMessage,
};
use octaskly::model::obstacle::{DirectoryFault, Shortage};
use octaskly::model::outcome::{
    AttemptReport, Cancellation, KeptOutput, LimitSource, OutputSummary, SpawnFailure, SpawnFailureKind, Unrepeatable,
};
use octaskly::model::requests::{ReceivedOutput, Request, Submission};
use octaskly::model::selector::{Part, Selector};
use octaskly::model::spec::{CommandLine, RetryOn, RetryPolicy, StdinSource, TimeLimit, Workdir};
use octaskly::model::{
    AttemptId, AttemptNo, ClientId, Demand, Epoch, Fence, Items, JobId, JobSpec, MilliCpu, Millis, Outcome, RawString,
    SealedSpec, TaskId, Timestamp,
};
use octaskly::wire::{Message, frame};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn raw() -> impl Strategy<Value = RawString> {
    vec(any::<u8>(), 0..40).prop_map(RawString)
}

fn id() -> impl Strategy<Value = AttemptId> {
    (any::<u64>(), any::<u64>(), any::<u32>())
        .prop_map(|(job, index, no)| AttemptId { task: TaskId::new(job, index), attempt: AttemptNo(no) })
}

fn fence() -> impl Strategy<Value = Fence> {
    (any::<u32>(), 0..1u64 << Fence::COUNTER_BITS).prop_map(|(epoch, counter)| Fence { epoch: Epoch(epoch), counter })
}

fn fenced() -> impl Strategy<Value = FencedAttempt> {
    (id(), fence()).prop_map(|(id, fence)| FencedAttempt { id, fence })
}

fn refused() -> impl Strategy<Value = RefusedAttempt> {
    let faults = vec![DirectoryFault::Missing, DirectoryFault::NotDirectory, DirectoryFault::Forbidden];
    (id(), fence(), prop::sample::select(faults)).prop_map(|(id, fence, fault)| RefusedAttempt { id, fence, fault })
}

fn shortage() -> impl Strategy<Value = Shortage> {
    prop::sample::select(vec![Shortage::Descriptors, Shortage::Processes, Shortage::Memory, Shortage::Disk])
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn cancellation() -> impl Strategy<Value = Cancellation> {
    prop_oneof![
        option::of(any::<String>()).prop_map(Cancellation::requested),
        Just(Cancellation::Interrupted),
        Just(Cancellation::ClientGone),
        Just(Cancellation::MaxFails),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let kinds = vec![SpawnFailureKind::NotFound, SpawnFailureKind::NotExecutable, SpawnFailureKind::Worker];
    let spawn = (prop::sample::select(kinds), any::<String>());
    prop_oneof![
        any::<i32>().prop_map(Outcome::Exited),
        any::<i32>().prop_map(Outcome::Signalled),
        (any::<u64>(), prop::sample::select(vec![LimitSource::Job, LimitSource::Dispatcher]))
            .prop_map(|(ms, source)| Outcome::TimedOut(Millis(ms), source)),
        Just(Outcome::OutOfMemory),
        Just(Outcome::OomKilled),
        spawn.prop_map(|(kind, reason)| Outcome::SpawnFailed(SpawnFailure { kind, reason })),
        any::<String>().prop_map(Outcome::TransferFailed),
        any::<String>().prop_map(Outcome::OutputMissing),
        any::<String>().prop_map(Outcome::InputLost),
        Just(Outcome::Lost),
        Just(Outcome::Unrepeatable(Unrepeatable::OutputPassedOn)),
        Just(Outcome::Unrepeatable(Unrepeatable::StdinConsumed)),
        any::<u64>().prop_map(|job| Outcome::DependencyFailed(JobId(job))),
        cancellation().prop_map(Outcome::Cancelled),
    ]
}

fn report() -> impl Strategy<Value = AttemptReport> {
    let kept = prop_oneof![
        Just(KeptOutput::Nothing),
        raw().prop_map(KeptOutput::Inline),
        any::<u64>().prop_map(KeptOutput::Uploaded)
    ];
    let output = (any::<u64>(), any::<u64>(), kept).prop_map(|(stdout_bytes, stderr_bytes, kept)| OutputSummary {
        stdout_bytes,
        stderr_bytes,
        kept,
    });
    (outcome(), option::of(time()), time(), any::<u64>(), output).prop_map(
        |(outcome, started_at, ended_at, peak_memory_bytes, output)| AttemptReport {
            outcome,
            started_at,
            ended_at,
            peak_memory_bytes,
            output,
            files: None,
        },
    )
}

fn spec() -> impl Strategy<Value = SealedSpec> {
    let command = prop_oneof![
        raw().prop_map(CommandLine::Shell),
        vec(raw(), 0..4).prop_map(|mut argv| {
            // A program without a name is refused on arrival.
            argv.insert(0, "program".into());
            CommandLine::Exec(argv)
        })
    ];
    let items = prop_oneof![
        Just(Items::Single),
        any::<(u64, u64, u64)>().prop_map(|(first, last, step)| Items::Range { first, last, step }),
        vec(raw(), 0..5).prop_map(|items| Items::List(items.into()))
    ];
    let demand = (any::<u32>(), any::<u64>(), any::<u32>(), btree_map(any::<String>(), any::<u64>(), 0..3))
        .prop_map(|(cpu, memory_bytes, gpus, resources)| Demand { cpu: MilliCpu(cpu), memory_bytes, gpus, resources });
    let codes = option::of(vec(any::<i32>(), 0..3));
    let texts = (option::of(any::<String>()), btree_map(any::<String>(), any::<String>(), 0..3));
    let env: BoxedStrategy<BTreeMap<RawString, RawString>> = btree_map(raw(), raw(), 0..3).boxed();
    (command, items, demand, codes, texts, env, raw(), any::<(i32, u64, Option<u32>, bool)>()).prop_map(
        |(command, items, demand, codes, (name, labels), env, bytes, (priority, limit, max_fails, exclusive))| {
            SealedSpec::seal(JobSpec {
                name,
                items,
                demand,
                labels,
                env,
                priority,
                max_fails,
                exclusive,
                time_limit: TimeLimit::Limited(Millis(limit)),
                workdir: Workdir::Existing(bytes.clone()),
                stdin: StdinSource::Inline(bytes),
                retry: RetryPolicy { on: RetryOn { codes, ..RetryOn::default() }, ..RetryPolicy::default() },
                ..JobSpec::single(command)
            })
        },
    )
}

fn from_worker() -> impl Strategy<Value = WorkerMessage> {
    let held = (fenced(), option::of(time()), vec(any::<u32>(), 0..3), any::<bool>()).prop_map(
        |(attempt, started_at, gpus, ended)| HeldAttempt {
            id: attempt.id,
            fence: attempt.fence,
            started_at,
            gpus,
            ended,
        },
    );
    let started = (fenced(), time()).prop_map(|(of, at)| StartedAttempt { id: of.id, fence: of.fence, at });
    let ended = (fenced(), report()).prop_map(|(of, report)| EndedAttempt { id: of.id, fence: of.fence, report });
    prop_oneof![
        vec(held, 0..4).prop_map(WorkerMessage::Holding),
        any::<u64>().prop_map(|sequence| WorkerMessage::Heartbeat { sequence }),
        vec(started, 0..4).prop_map(WorkerMessage::Started),
        vec(ended, 0..4).prop_map(WorkerMessage::Ended),
        vec(fenced(), 0..4).prop_map(WorkerMessage::Returned),
        vec(refused(), 0..4).prop_map(WorkerMessage::Refused),
        prop::option::of(shortage()).prop_map(WorkerMessage::Short),
        any::<u64>().prop_map(|job| WorkerMessage::SpecMissing(JobId(job))),
        Just(WorkerMessage::Stopping),
    ]
}

fn from_dispatcher() -> impl Strategy<Value = DispatcherMessage> {
    let assignment = (fenced(), vec(any::<u32>(), 0..3)).prop_map(|(of, gpus)| Assignment {
        task: of.id.task,
        attempt: of.id.attempt,
        fence: of.fence,
        gpus,
    });
    let cancel = (fenced(), any::<u64>(), cancellation()).prop_map(|(of, grace, why)| CancelAttempt {
        id: of.id,
        fence: of.fence,
        grace: Millis(grace),
        why,
    });
    let job = (any::<u64>(), spec()).prop_map(|(job, spec)| JobOnWorker { job: JobId(job), spec });
    prop_oneof![
        (any::<u64>(), time()).prop_map(|(sequence, now)| DispatcherMessage::HeartbeatSeen { sequence, now }),
        vec(job, 0..3).prop_map(DispatcherMessage::Learn),
        vec(assignment, 0..4).prop_map(DispatcherMessage::Assign),
        vec(cancel, 0..4).prop_map(DispatcherMessage::Cancel),
        vec(fenced(), 0..4).prop_map(DispatcherMessage::Recorded),
        vec(any::<u64>().prop_map(JobId), 0..4).prop_map(DispatcherMessage::ForgetJobs),
        Just(DispatcherMessage::Drain),
        Just(DispatcherMessage::Resume),
        Just(DispatcherMessage::KeyCopied),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let part = prop_oneof![
        any::<(u64, u64)>().prop_map(|(first, last)| Part::Jobs(JobId(first), JobId(last))),
        any::<(u64, u64)>().prop_map(|(job, index)| Part::Task(TaskId::new(job, index))),
    ];
    let selector = prop_oneof![Just(Selector::All), Just(Selector::Last), vec(part, 0..4).prop_map(Selector::These)];
    prop_oneof![
        (spec(), any::<String>(), any::<bool>())
            .prop_map(|(spec, idempotency_key, strict)| Request::Submit(Submission { spec, idempotency_key, strict })),
        (selector, cancellation()).prop_map(|(what, why)| Request::Cancel { what, why }),
        (id(), any::<u64>()).prop_map(|(id, number)| Request::Attach {
            task: id.task,
            client: ClientId(number),
            takes_over: number % 2 == 0,
            received: (number % 3 == 0).then_some(ReceivedOutput { attempt: id.attempt, bytes: number }),
            resends: number,
        }),
        (id(), any::<u64>()).prop_map(|(id, number)| Request::Attend {
            job: id.task.job,
            client: ClientId(number),
            takes_over: number % 2 == 0,
        }),
    ]
}

fn reads_back<T: Message + PartialEq + std::fmt::Debug>(message: &T) -> Result<(), TestCaseError> {
    let mut wire = Vec::new();
    frame::encode(message, &mut wire, MAX_FRAME).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let (header, body) = wire.split_first_chunk().expect("a header");
    prop_assert_eq!(frame::body_length(*header, MAX_FRAME), Ok(body.len()));
    let back: T = frame::decode(body).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&back, message);
    Ok(())
}

proptest! {
    #[test]
    fn what_a_worker_says_reads_back(message in from_worker()) {
        reads_back(&message)?;
    }

    #[test]
    fn what_a_dispatcher_says_reads_back(message in from_dispatcher()) {
        reads_back(&message)?;
    }

    #[test]
    fn what_a_client_asks_reads_back(message in request()) {
        reads_back(&message)?;
    }

    #[test]
    fn a_message_cut_anywhere_is_refused(message in from_dispatcher(), at in any::<prop::sample::Index>()) {
        let mut wire = Vec::new();
        frame::encode(&message, &mut wire, MAX_FRAME).expect("fits");
        let body = &wire[frame::HEADER_BYTES..];
        prop_assert!(frame::decode::<DispatcherMessage>(&body[..at.index(body.len())]).is_err());
    }
}
