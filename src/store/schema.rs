//! The tables, and how older files become newer ones.
//!
//! Invariant: a file's `user_version` is the number of migrations it has had,
//! so a migration, once released, is never edited; a change is a new one at the
//! end. People may open these files with any SQLite tool, hence the `states`
//! table to join with.

/// What a kind of file is made of.
pub(super) struct Schema {
    /// Tells our files from other SQLite databases (`PRAGMA application_id`).
    pub(super) application_id: i32,
    /// The steps from an empty file to the present.
    pub(super) migrations: &'static [&'static str],
}

impl Schema {
    /// The version of a file that has had every migration.
    pub(super) fn version(&self) -> u32 {
        self.migrations.len() as u32
    }
}

/// The dispatcher's file; its id reads `OKds`.
pub(super) const DISPATCHER: Schema = Schema {
    application_id: 0x4f4b_6473,
    migrations: &[DISPATCHER_1, DISPATCHER_2, DISPATCHER_3, DISPATCHER_4, DISPATCHER_5, DISPATCHER_6, DISPATCHER_7],
};

/// The worker's outbox; its id reads `OKob`.
pub(super) const OUTBOX: Schema = Schema { application_id: 0x4f4b_6f62, migrations: &[OUTBOX_1, OUTBOX_2] };

// Integers are unsigned in the program and kept as SQLite's signed 64 bits.
// Times are microseconds since 1970, in UTC. An outcome is three columns:
// a word, a number (exit code, signal, milliseconds, job) and a text.
const DISPATCHER_1: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 0), ('epoch_at', 0), ('next_job', 1), ('syncs', 0);

CREATE TABLE states (
    state INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;
INSERT INTO states VALUES (0, 'waiting'), (1, 'ready'), (2, 'running'), (3, 'succeeded'), (4, 'failed'), (5, 'cancelled');

CREATE TABLE jobs (
    job INTEGER PRIMARY KEY,
    idempotency_key TEXT NOT NULL UNIQUE,
    owner BLOB NOT NULL,
    title TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    ended_state INTEGER,
    cancelling TEXT,
    cancelling_text TEXT,
    -- Its tasks are first_index, first_index + index_step, …: task_count of them.
    first_index INTEGER NOT NULL,
    index_step INTEGER NOT NULL,
    task_count INTEGER NOT NULL,
    last_attempt INTEGER NOT NULL DEFAULT 0,
    -- Tasks that have a row in tasks, by state …
    waiting INTEGER NOT NULL DEFAULT 0,
    ready INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    -- … and what all the others are.
    rest_state INTEGER NOT NULL,
    rest_at INTEGER NOT NULL,
    rest_outcome TEXT,
    rest_outcome_number INTEGER,
    rest_outcome_text TEXT
) STRICT;
CREATE INDEX jobs_active ON jobs (job) WHERE ended_at IS NULL;
CREATE INDEX jobs_ended ON jobs (ended_state, job) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_owner ON jobs (owner, job);

CREATE TABLE specs (
    job INTEGER PRIMARY KEY,
    spec BLOB NOT NULL
) STRICT;

CREATE TABLE tasks (
    job INTEGER NOT NULL,
    task INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    not_before INTEGER,
    outcome TEXT,
    outcome_number INTEGER,
    outcome_text TEXT,
    PRIMARY KEY (job, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_unsuccessful ON tasks (job, state, task) WHERE state IN (4, 5);

CREATE TABLE workers (
    worker INTEGER PRIMARY KEY,
    node BLOB NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (node, name)
) STRICT;

CREATE TABLE attempts (
    job INTEGER NOT NULL,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    assigned_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    outcome TEXT,
    outcome_number INTEGER,
    outcome_text TEXT,
    peak_memory_bytes INTEGER,
    stdout_bytes INTEGER,
    stderr_bytes INTEGER,
    -- NULL: no output is kept; -1: it is in logs; else the bytes of its file.
    kept_bytes INTEGER,
    PRIMARY KEY (job, task, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    job INTEGER NOT NULL,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    frames BLOB NOT NULL,
    PRIMARY KEY (job, task, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    node BLOB PRIMARY KEY,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    draining INTEGER NOT NULL DEFAULT 0,
    enrolled_at INTEGER NOT NULL,
    UNIQUE (role, name)
) STRICT, WITHOUT ROWID;

-- Forgotten jobs whose rows in tasks, attempts and logs are still to be removed.
CREATE TABLE forgotten (
    job INTEGER PRIMARY KEY
) STRICT;
";

// Who was thrown out, who may come in by a token, and whether the machine went
// down under an open store.
const DISPATCHER_2: &str = "
-- Keys that stay out for good. Their names are free for others.
CREATE TABLE revoked (
    node BLOB PRIMARY KEY,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    enrolled_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- By the hash of its secret, which is kept nowhere.
CREATE TABLE tokens (
    hash BLOB PRIMARY KEY,
    role TEXT NOT NULL,
    uses INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The keys that each token enrolled, in order.
CREATE TABLE token_uses (
    hash BLOB NOT NULL,
    place INTEGER NOT NULL,
    node BLOB NOT NULL,
    PRIMARY KEY (hash, place)
) STRICT, WITHOUT ROWID;

-- One row: the boot of the machine that has this file open. NULL: it was closed properly, or no boot is known.
CREATE TABLE machine (
    boot_id TEXT
) STRICT;
INSERT INTO machine VALUES (NULL);

-- Starts of the dispatcher that ended by a power loss, until every worker has said what it holds.
CREATE TABLE power_losses (
    epoch INTEGER PRIMARY KEY,
    next_job INTEGER NOT NULL
) STRICT;
";

// Files that travel with tasks, and finding the jobs that ended first without looking at the others.
const DISPATCHER_3: &str = "
-- What a task's last recorded attempt left of its declared outputs, by name.
CREATE TABLE outputs (
    job INTEGER NOT NULL,
    name BLOB NOT NULL,
    task INTEGER NOT NULL,
    -- 0: a file; 1: an executable file; 2: a directory, and the digest is its manifest's.
    kind INTEGER NOT NULL,
    digest BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    total_bytes INTEGER NOT NULL,
    PRIMARY KEY (job, name, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX outputs_of_task ON outputs (job, task);

-- What an attempt moved: its outputs, and how its inputs came. NULL: nothing.
ALTER TABLE attempts ADD COLUMN files BLOB;

-- Whether the spec names blobs, so that those who look for them need not read every spec.
ALTER TABLE specs ADD COLUMN has_files INTEGER NOT NULL DEFAULT 0;

CREATE INDEX jobs_ended_at ON jobs (ended_at) WHERE ended_at IS NOT NULL;
";

// A change of a million rows that is one row until there is time for the rest.
const DISPATCHER_4: &str = "
-- Every task of the job whose row said from_state is in this state since then; see tasks.swept. Gone once all rows say so.
CREATE TABLE sweeps (
    job INTEGER NOT NULL,
    sweep INTEGER NOT NULL,
    from_state INTEGER NOT NULL,
    state INTEGER NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT,
    outcome_number INTEGER,
    outcome_text TEXT,
    PRIMARY KEY (job, sweep)
) STRICT, WITHOUT ROWID;

-- How many sweeps the job has had.
ALTER TABLE jobs ADD COLUMN sweeps INTEGER NOT NULL DEFAULT 0;

-- Sweeps with greater numbers came after this row was written.
ALTER TABLE tasks ADD COLUMN swept INTEGER NOT NULL DEFAULT 0;
";

// Outputs that stay on the worker that made them.
const DISPATCHER_5: &str = "
-- The row of the worker that holds it until somebody asks for it; NULL: the dispatcher was given it with the result.
ALTER TABLE outputs ADD COLUMN holder INTEGER;
CREATE INDEX outputs_held ON outputs (holder, digest) WHERE holder IS NOT NULL;
CREATE INDEX outputs_holders ON outputs (digest, holder) WHERE holder IS NOT NULL;
";

// Attempts that workers hand to each other.
const DISPATCHER_6: &str = "
-- The worker that handed the attempt to the one that has it; NULL: the dispatcher did.
ALTER TABLE attempts ADD COLUMN handed_over_by INTEGER;
";

// Retention and tokens count the time that the dispatcher runs, not what a clock says that may be set. Clients by name, and
// what each of them did. Permission bits and times of outputs.
const DISPATCHER_7: &str = "
-- Milliseconds that the dispatcher has run, all its starts taken together.
INSERT INTO meta VALUES ('uptime', 0);

-- The same when the job ended. Of jobs that ended before it was counted: when that began.
ALTER TABLE jobs ADD COLUMN ended_uptime INTEGER;
UPDATE jobs SET ended_uptime = 0 WHERE ended_at IS NOT NULL;
DROP INDEX jobs_ended_at;
CREATE INDEX jobs_ended_uptime ON jobs (ended_uptime) WHERE ended_uptime IS NOT NULL;

-- The token also expires then.
ALTER TABLE tokens ADD COLUMN expires_uptime INTEGER NOT NULL DEFAULT 0;
UPDATE tokens SET expires_uptime = max(0, (expires_at - created_at) / 1000);

-- Why no other attempt may follow it. 1: output was passed on; 2: stdin was consumed; NULL: another one may.
ALTER TABLE attempts ADD COLUMN unrepeatable INTEGER;

-- Where a worker's key was locked when it joined last: a copy of its key folder is elsewhere.
ALTER TABLE nodes ADD COLUMN place BLOB;

-- Of an array whose tasks are not numbered by one range: the ranges of their numbers, as CBOR; index_step in jobs says nothing then.
CREATE TABLE numberings (
    job INTEGER PRIMARY KEY,
    ranges BLOB NOT NULL
) STRICT;

-- Clients and admins, revoked ones too.
CREATE TABLE clients (
    -- The first 63 bits of the key. What a client did is noted under this number; of outcome 'cancelled' it is outcome_number.
    client INTEGER PRIMARY KEY,
    node BLOB NOT NULL UNIQUE,
    -- What it is called, or was called last.
    name TEXT NOT NULL
) STRICT;
INSERT INTO clients
SELECT (
    WITH RECURSIVE digits (place) AS (VALUES (0) UNION ALL SELECT place + 1 FROM digits WHERE place < 15)
    SELECT sum(instr('123456789ABCDEF', substr(hex(node), place + 1, 1)) << (59 - 4 * place)) FROM digits
), node, name FROM (SELECT node, role, name FROM nodes UNION ALL SELECT node, role, name FROM revoked)
WHERE role IN ('client', 'admin');

-- Idempotency keys belong to their owner: SQLite cannot take the old UNIQUE off a table.
CREATE TABLE jobs_7 (
    job INTEGER PRIMARY KEY,
    idempotency_key TEXT NOT NULL,
    owner BLOB NOT NULL,
    title TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    ended_state INTEGER,
    -- Milliseconds that the dispatcher had run when it ended; of one that ended before they were counted, 0.
    ended_uptime INTEGER,
    cancelling TEXT,
    cancelling_by INTEGER,
    cancelling_text TEXT,
    -- The client that had tasks done again last, and when.
    retried_by INTEGER,
    retried_at INTEGER,
    -- 1 when it had ended and goes on by `retry`: then nobody has to be its client.
    reopened INTEGER NOT NULL DEFAULT 0,
    -- Its tasks are first_index, first_index + index_step, …: task_count of them.
    first_index INTEGER NOT NULL,
    index_step INTEGER NOT NULL,
    task_count INTEGER NOT NULL,
    last_attempt INTEGER NOT NULL DEFAULT 0,
    -- How many sweeps it has had.
    sweeps INTEGER NOT NULL DEFAULT 0,
    -- Tasks that have a row in tasks, by state …
    waiting INTEGER NOT NULL DEFAULT 0,
    ready INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    -- … and what all the others are.
    rest_state INTEGER NOT NULL,
    rest_at INTEGER NOT NULL,
    rest_outcome TEXT,
    rest_outcome_number INTEGER,
    rest_outcome_text TEXT,
    UNIQUE (owner, idempotency_key)
) STRICT;
INSERT INTO jobs_7 (job, idempotency_key, owner, title, submitted_at, started_at, ended_at, ended_state, ended_uptime, cancelling,
    cancelling_text, first_index, index_step, task_count, last_attempt, sweeps, waiting, ready, running, succeeded, failed,
    cancelled, rest_state, rest_at, rest_outcome, rest_outcome_number, rest_outcome_text)
SELECT job, idempotency_key, owner, title, submitted_at, started_at, ended_at, ended_state, ended_uptime, cancelling,
    cancelling_text, first_index, index_step, task_count, last_attempt, sweeps, waiting, ready, running, succeeded, failed,
    cancelled, rest_state, rest_at, rest_outcome, rest_outcome_number, rest_outcome_text FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_7 RENAME TO jobs;
CREATE INDEX jobs_active ON jobs (job) WHERE ended_at IS NULL;
CREATE INDEX jobs_ended ON jobs (ended_state, job) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_owner ON jobs (owner, job);
CREATE INDEX jobs_ended_uptime ON jobs (ended_uptime) WHERE ended_uptime IS NOT NULL;

-- The jobs that were removed last, so that those who look for one learn what became of it.
CREATE TABLE removed (
    place INTEGER PRIMARY KEY,
    job INTEGER NOT NULL UNIQUE,
    owner BLOB NOT NULL,
    -- NULL: nobody; it was kept for as long as jobs are.
    removed_by INTEGER,
    removed_at INTEGER NOT NULL
) STRICT;

-- What its bearer is called. NULL: a name is made up.
ALTER TABLE tokens ADD COLUMN name TEXT;

-- The client that drained or resumed the worker last, and when.
ALTER TABLE nodes ADD COLUMN drain_by INTEGER;
ALTER TABLE nodes ADD COLUMN drain_at INTEGER;

-- Permission bits of the file or directory; 438 and 511 are 0666 and 0777, what was known before.
ALTER TABLE outputs ADD COLUMN mode INTEGER NOT NULL DEFAULT 511;
UPDATE outputs SET mode = 438 WHERE kind = 0;
UPDATE outputs SET kind = 0 WHERE kind = 1;
-- When it was last written, in nanoseconds since 1970; NULL: nobody said.
ALTER TABLE outputs ADD COLUMN modified_ns INTEGER;
";

const OUTBOX_1: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('syncs', 0);

-- Results not yet acknowledged, oldest first; each as the message that reports it.
CREATE TABLE kept (
    place INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    ended BLOB NOT NULL,
    UNIQUE (job, task, attempt, fence)
) STRICT;
";

const OUTBOX_2: &str = "
-- Of results of attempts that another worker handed over: why the dispatcher may believe that.
CREATE TABLE proofs (
    place INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    proof BLOB NOT NULL,
    UNIQUE (job, task, attempt, fence)
) STRICT;
";
