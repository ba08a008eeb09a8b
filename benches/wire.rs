//! What a message costs: bytes and time for one assignment and for one result,
//! in batches as they travel, and for output in data frames.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use octaskly::model::limits::{DATA_FRAME, MAX_FRAME};
use octaskly::model::messages::{Assignment, DispatcherMessage, EndedAttempt, FencedAttempt, WorkerMessage};
use octaskly::model::outcome::{AttemptReport, KeptOutput, OutputSummary};
use octaskly::model::{AttemptId, AttemptNo, Epoch, Fence, Outcome, TaskId, Timestamp};
use octaskly::wire::{DataFrame, Message, OutputStream, frame};

fn main() {
    for (what, bytes) in [("assignment", encoded(&assign(1)).len()), ("result", encoded(&ended(1)).len())] {
        println!("one {what} in a frame of its own: {bytes} bytes");
    }
    for (what, bytes) in [("assignment", encoded(&assign(100)).len()), ("result", encoded(&ended(100)).len())] {
        println!("one {what} in a batch of 100: {} bytes", bytes / 100);
    }
    divan::main();
}

fn attempts(count: u64) -> impl Iterator<Item = FencedAttempt> {
    (0..count).map(|n| FencedAttempt {
        id: AttemptId { task: TaskId::new(1234, 100_000 + n), attempt: AttemptNo(1) },
        fence: Fence { epoch: Epoch(17), counter: 1_000_000 + n },
    })
}

fn assign(count: u64) -> DispatcherMessage {
    let assignment =
        |of: FencedAttempt| Assignment { task: of.id.task, attempt: of.id.attempt, fence: of.fence, gpus: vec![] };
    DispatcherMessage::Assign(attempts(count).map(assignment).collect())
}

fn ended(count: u64) -> WorkerMessage {
    let result = |of: FencedAttempt| {
        let report = AttemptReport {
            outcome: Outcome::Exited(0),
            started_at: Some(Timestamp(1_800_000_000_000_000)),
            ended_at: Timestamp(1_800_000_000_250_000),
            peak_memory_bytes: 3 << 20,
            output: OutputSummary {
                stdout_bytes: 12,
                stderr_bytes: 0,
                kept: KeptOutput::Inline("log frames here".into()),
            },
            files: None,
        };
        EndedAttempt { id: of.id, fence: of.fence, report }
    };
    WorkerMessage::Ended(attempts(count).map(result).collect())
}

fn encoded<T: Message>(message: &T) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode(message, &mut out, MAX_FRAME).expect("fits");
    out
}

fn encode<T: Message + Sync>(bencher: Bencher<'_, '_>, message: &T, count: u64) {
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        out.clear();
        frame::encode(divan::black_box(message), &mut out, MAX_FRAME).expect("fits");
        out.len()
    });
}

fn decode<T: Message>(bencher: Bencher<'_, '_>, message: &T, count: u64) {
    let bytes = encoded(message);
    bencher
        .counter(ItemsCount::new(count))
        .bench_local(|| frame::decode::<T>(divan::black_box(&bytes[frame::HEADER_BYTES..])).expect("decodes"));
}

#[divan::bench(args = [1, 100])]
fn assignments_encode(bencher: Bencher<'_, '_>, count: u64) {
    encode(bencher, &assign(count), count);
}

#[divan::bench(args = [1, 100])]
fn assignments_decode(bencher: Bencher<'_, '_>, count: u64) {
    decode(bencher, &assign(count), count);
}

#[divan::bench(args = [1, 100])]
fn results_encode(bencher: Bencher<'_, '_>, count: u64) {
    encode(bencher, &ended(count), count);
}

#[divan::bench(args = [1, 100])]
fn results_decode(bencher: Bencher<'_, '_>, count: u64) {
    decode(bencher, &ended(count), count);
}

#[divan::bench]
fn output_encode(bencher: Bencher<'_, '_>) {
    let bytes = vec![7; DATA_FRAME];
    let mut out = Vec::with_capacity(2 * DATA_FRAME);
    bencher.counter(BytesCount::new(DATA_FRAME)).bench_local(|| {
        out.clear();
        DataFrame::Output { stream: OutputStream::Stdout, bytes: divan::black_box(&bytes[..]).into() }.encode(&mut out);
    });
}

#[divan::bench]
fn output_decode(bencher: Bencher<'_, '_>) {
    let mut wire = Vec::new();
    DataFrame::Output { stream: OutputStream::Stdout, bytes: vec![7; DATA_FRAME].into() }.encode(&mut wire);
    bencher.counter(BytesCount::new(DATA_FRAME)).bench_local(|| {
        DataFrame::take(&mut divan::black_box(&wire[..])).expect("a frame").map(|frame| frame.output_bytes())
    });
}
