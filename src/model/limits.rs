//! The bounds that more than one room goes by, each with where it comes from.
//!
//! A bound that depends on another says so and is tied to it at compile time.
//! Absent: those of one file alone, which stand at its top, and those of the
//! QUIC layer (`transport/settings`).

use super::Millis;

/// The wire protocol this build speaks, and the oldest it still accepts.
pub const PROTOCOL_VERSION: u16 = 1;
/// Oldest protocol version that this build still speaks.
pub const PROTOCOL_OLDEST: u16 = 1;

/// Interval of a worker's heartbeats.
pub const HEARTBEAT_INTERVAL: Millis = Millis::from_secs(2);
/// Silence after which a worker gets no new work: three missed heartbeats.
pub const SUSPECT_AFTER: Millis = Millis(3 * HEARTBEAT_INTERVAL.0);
/// Silence after which a worker is lost, by default (`--heartbeat-timeout 60`).
pub const LOST_AFTER: Millis = Millis::from_secs(60);
/// After a restart, how long running tasks wait for their workers before they are tried again.
pub const RESTART_GRACE: Millis = LOST_AFTER;
/// A gap in the dispatcher's own loop longer than this stops the clock of everybody's silence.
pub const LOOP_GAP: Millis = Millis::from_secs(1);

/// The lease of an `--exclusive` attempt, counted from when the last acknowledged heartbeat was sent.
pub const EXCLUSIVE_LEASE: Millis = Millis::from_secs(60);
/// An exclusive attempt that goes unrenewed this long gets SIGTERM, and [`KILL_GRACE`] later SIGKILL.
pub const EXCLUSIVE_TERMINATE_AFTER: Millis = Millis::from_secs(40);
/// How long the dispatcher waits after its last acknowledgement, or its own start, before an exclusive
/// task may run elsewhere: the lease and a tenth for clocks that run apart.
pub const EXCLUSIVE_REASSIGN_AFTER: Millis = Millis(EXCLUSIVE_LEASE.0 + EXCLUSIVE_LEASE.0 / 10);

/// How much work waits on a worker for each of its slots: enough to be busy while the dispatcher is restarted.
pub const BACKLOG: Millis = Millis::from_secs(30);

/// Between SIGTERM and SIGKILL when a task is ended.
pub const KILL_GRACE: Millis = Millis::from_secs(10);
/// Default of `--stop-grace`: how long what runs may go on after its worker was told to stop. With [`KILL_GRACE`] and a
/// few last words this fits into the time that the units in `scripts/systemd` give.
pub const STOP_GRACE: Millis = Millis::from_secs(30);
/// Default of `--client-grace`: how long a job of a `run` goes on while its client is gone.
pub const CLIENT_GRACE: Millis = Millis::from_secs(3600);
/// How long the client of a `run` has at least to come back after the dispatcher was restarted, however short its grace
/// is: for a dial that began before the dispatcher listened, the pause after it, and the next dial.
pub const CLIENT_RETURN: Millis = Millis(2 * CLIENT_TIMEOUT.0 + 2_000);
/// How long a worker keeps output that its client has not acknowledged once the result is recorded, and the dispatcher
/// the stream of it. Later the client gets it from the stored log.
pub const UNSENT_KEPT: Millis = Millis::from_secs(60);

/// Upper bound of the first wait between tries.
pub const BACKOFF_MIN: Millis = Millis::from_secs(1);
/// Upper bound of any wait between tries.
pub const BACKOFF_MAX: Millis = Millis::from_secs(60);
/// Tries that ended because their worker was lost, after which the task fails as `lost`.
pub const MAX_LOST_ATTEMPTS: u32 = 5;

/// Default of `--task-timeout`.
pub const TASK_TIMEOUT: Millis = Millis::from_secs(300);
/// Default of `--task-retries`.
pub const TASK_RETRIES: u32 = 3;
/// Default of `--max-workers`.
pub const MAX_WORKERS: u32 = 10;
/// Default of `--max-jobs`.
pub const MAX_JOBS: u32 = 4;

/// Most tasks at once on one worker. What it runs and what it has not been thanked for is named in one
/// message after a reconnect, and there are to be results on their way while as many tasks run.
pub const MOST_JOBS: u32 = MAX_BATCH as u32 / 2;

/// Nesting allowed in any CBOR a peer sends (ciborium would take 256).
pub const CBOR_DEPTH: usize = 32;
/// Largest frame before the peer is authenticated.
pub const MAX_FRAME_UNAUTHENTICATED: u32 = 4 * 1024;
/// Largest frame after: holds a spec with [`MAX_ITEMS_BYTES`] of items beside its envelope.
pub const MAX_FRAME: u32 = 96 * 1024 * 1024;
/// Largest encoded job: a million items of 64 bytes.
pub const MAX_SPEC_BYTES: usize = 64 * 1024 * 1024;
/// Largest sum of a job's item bytes.
pub const MAX_ITEMS_BYTES: usize = 60 * 1024 * 1024;
/// Most tasks of one job.
pub const MAX_TASKS_PER_JOB: u64 = 10_000_000;
/// Most ranges of the numbers of an array's tasks: each takes 32 bytes in memory, so 32 MB.
pub const MAX_NUMBER_RANGES: usize = 1_000_000;
/// Greatest index of a task: what SQLite's integers hold. Greater ones are refused at submission.
pub const MAX_TASK_INDEX: u64 = i64::MAX as u64;
/// Largest stdin kept with a job instead of streamed.
pub const MAX_INLINE_STDIN: usize = 4 * 1024 * 1024;
/// Entries in any list of one message (assignments, results, held attempts).
pub const MAX_BATCH: usize = 4096;
/// Bytes of encoded specs in the dispatcher's memory; beyond them the queue is full. Decoded they take as much
/// again and, for the smallest items, several times that, so this keeps a dispatcher within a few gigabytes.
pub const MAX_SPEC_BYTES_IN_MEMORY: u64 = 1024 * 1024 * 1024;
/// Longest reason of a cancellation: it is repeated in the row of every task that it ends.
pub const MAX_REASON_BYTES: usize = 1024;
/// Longest idempotency key: it is in memory twice and in an index.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;
/// Most retries of a task: with a backoff of nothing, each is a row that is written at once.
pub const MAX_RETRIES: u32 = 1_000;
/// Rows in one reply of a listing; clients page.
pub const MAX_ROWS: u32 = 10_000;

/// Characters of a job's title in lists; longer ones are cut there and shown whole by `show`.
pub const MAX_TITLE: usize = 200;

/// Longest node name.
pub const MAX_NODE_NAME: usize = 63;

/// Bytes of output kept an attempt for `logs`: half from the head, half from the tail.
pub const MAX_LOG_BYTES: u64 = 100 * 1024 * 1024;
/// Output up to this size travels inside the result instead of as an upload.
pub const MAX_INLINE_LOG: usize = 16 * 1024;
/// Output sent to an attached client and not yet acknowledged by it; then the task is held back.
pub const ATTACH_WINDOW: usize = 8 * 1024 * 1024;
/// Stdin sent to an attached task and not yet acknowledged by its worker; the client waits beyond it.
///
/// Both directions of an attached stream are acknowledged: without a bound of its own, stdin that the
/// task does not read would stand before the client's acknowledgements of output in the same stream,
/// and a task that writes more than it reads would wait for them forever. On every new stream the
/// worker first says how much stdin it has, and the client goes on from there.
pub const STDIN_WINDOW: usize = 1024 * 1024;
/// Stdin from a pipe that the client of a `run` keeps so that a second attempt can read it from its start. A task
/// that was given more is not repeated. Files have no such bound: they are read again.
pub const STDIN_KEPT: u64 = 8 * 1024 * 1024;
/// Output of one attempt of a `run` with `--retries` that its client holds until the attempt has finished. Beyond it
/// everything is passed on, and the attempt is not repeated. Half a window: held output is not acknowledged, so the
/// worker keeps it for a client that comes back, and the task must not be held back by that.
pub const HELD_OUTPUT: u64 = 4 * 1024 * 1024;
/// Payload of one data frame.
pub const DATA_FRAME: usize = 64 * 1024;

/// `--in` and `--out` options of one job, and outputs that one task may bring back one by one: more are a
/// directory's business, which travels as a manifest.
pub const MAX_INPUTS: usize = 1024;

/// Most lists that a job's tasks take an item from.
pub const MAX_LISTS: usize = 16;
/// Most entries of a manifest.
pub const MAX_MANIFEST_ENTRIES: usize = 1_000_000;
/// Largest manifest.
pub const MAX_MANIFEST_BYTES: usize = 256 * 1024 * 1024;
/// Longest path of an input or output, and of an entry in a manifest.
pub const MAX_PATH_BYTES: usize = 4096;
/// A blob is moved, verified and resumed in pieces of this size; its last one may be shorter.
pub const PIECE_BYTES: u64 = 1024 * 1024;
/// Blobs that one stream carries, or is asked for.
pub const BLOBS_A_STREAM: usize = 1024;
/// Bytes after which blobs go on in another stream: a refusal comes early, and others get their turn.
pub const BYTES_A_STREAM: u64 = 1024 * 1024 * 1024;

/// Tokens a dispatcher keeps, those that enrol nobody any more among them.
pub const MAX_TOKENS: usize = 1_000;
/// Most keys that one token may enrol.
pub const MAX_TOKEN_USES: u32 = 10_000;
/// Shortest lifetime of a token.
pub const MIN_TOKEN_LIFETIME: Millis = Millis::from_secs(1);
/// Longest lifetime of a token.
pub const MAX_TOKEN_LIFETIME: Millis = Millis::from_secs(365 * 24 * 3600);
/// How long a token is kept beyond its lifetime, so that whoever brings it is told what became of it.
pub const TOKEN_REMEMBERED: Millis = Millis::from_secs(7 * 24 * 3600);
/// Links that one key of a client or a guard has at once: more `run`s than a person starts side by side.
pub const MAX_LINKS_OF_A_KEY: usize = 256;
/// Job slots of one worker: what it reports or is given at once fits into one message.
pub const MAX_SLOTS: u32 = MAX_BATCH as u32;
/// Nodes that may wait for approval at once.
pub const MAX_JOINING: usize = 64;
/// Revoked keys kept; beyond them the oldest are strangers again.
pub const MAX_REVOKED: usize = 10_000;
/// Removed jobs of which it is still known who removed them: a megabyte of rows.
pub const REMOVED_KEPT: u64 = 10_000;
/// How long lists show a revoked node.
pub const REVOKED_SHOWN: Millis = Millis::from_secs(24 * 3600);

/// Neighbours that a node keeps of those it hears by beacon, and names in one report of them.
pub const MAX_NEIGHBOURS: usize = 1024;
/// Longest address in such a report: IPv6 with an interface and a port takes 58 characters.
pub const MAX_ADDRESS_BYTES: usize = 64;
/// Silence after which a neighbour is forgotten: three beacons of the usual interval may be lost or late.
pub const NEIGHBOUR_EXPIRES_AFTER: Millis = Millis::from_secs(95);

/// How often workers tell their peers how they stand, when nothing changes.
pub const PEER_STATUS_INTERVAL: Millis = HEARTBEAT_INTERVAL;
/// Silence after which a direct link is given up: three messages that did not come.
pub const PEER_LOST_AFTER: Millis = Millis(3 * PEER_STATUS_INTERVAL.0);
/// Silence after which a direct link is tried before it is used.
pub const PEER_DOUBTED_AFTER: Millis = Millis::from_secs(1);
/// Largest frame on the stream of messages between two workers, and of the first one of any other stream: what
/// is larger travels in streams of its own.
pub const MAX_PEER_FRAME: u32 = 1024 * 1024;
/// Longest signed roster: of as many nodes as one may have.
pub const MAX_ROSTER_BYTES: usize = 512 * MAX_BATCH + 64;
/// Addresses at which a worker says that it listens.
pub const MAX_PEER_ADDRESSES: usize = 8;

/// A client gives up on a known dispatcher after this long without an answer.
pub const CLIENT_TIMEOUT: Millis = Millis::from_secs(5);

const _: () = assert!(SUSPECT_AFTER.0 < LOST_AFTER.0, "a worker is suspect before it is lost");
const _: () = assert!(
    EXCLUSIVE_TERMINATE_AFTER.0 + KILL_GRACE.0 < EXCLUSIVE_LEASE.0,
    "an exclusive attempt is gone before its lease is"
);
const _: () = assert!(MAX_NEIGHBOURS <= MAX_BATCH, "a report of all neighbours is one message");
const _: () = assert!(MAX_ITEMS_BYTES < MAX_SPEC_BYTES, "items fit into a spec");
const _: () = assert!(MAX_SPEC_BYTES < MAX_FRAME as usize, "a spec fits into a frame");
const _: () = assert!(MAX_INLINE_STDIN < MAX_SPEC_BYTES, "inline stdin fits into a spec");
const _: () = assert!(HELD_OUTPUT + 4 * DATA_FRAME as u64 <= ATTACH_WINDOW as u64, "held output fits into a window");
const _: () = assert!(STDIN_WINDOW > 2 * DATA_FRAME, "a frame of stdin can travel while another is acknowledged");
const _: () = assert!(MAX_SPEC_BYTES_IN_MEMORY > 2 * MAX_SPEC_BYTES as u64, "the largest job fits beside another");
