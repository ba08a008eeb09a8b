PRAGMA application_id = 1330340979;
PRAGMA user_version = 7;
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE states (
    state INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;
CREATE TABLE specs (
    job INTEGER PRIMARY KEY,
    spec BLOB NOT NULL
, has_files INTEGER NOT NULL DEFAULT 0) STRICT;
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
    outcome_text TEXT, swept INTEGER NOT NULL DEFAULT 0,
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
    kept_bytes INTEGER, files BLOB, handed_over_by INTEGER, unrepeatable INTEGER,
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
    enrolled_at INTEGER NOT NULL, place BLOB, drain_by INTEGER, drain_at INTEGER,
    UNIQUE (role, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE forgotten (
    job INTEGER PRIMARY KEY
) STRICT;
CREATE TABLE revoked (
    node BLOB PRIMARY KEY,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    enrolled_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tokens (
    hash BLOB PRIMARY KEY,
    role TEXT NOT NULL,
    uses INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked INTEGER NOT NULL
, expires_uptime INTEGER NOT NULL DEFAULT 0, name TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE token_uses (
    hash BLOB NOT NULL,
    place INTEGER NOT NULL,
    node BLOB NOT NULL,
    PRIMARY KEY (hash, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE machine (
    boot_id TEXT
) STRICT;
CREATE TABLE power_losses (
    epoch INTEGER PRIMARY KEY,
    next_job INTEGER NOT NULL
) STRICT;
CREATE TABLE outputs (
    job INTEGER NOT NULL,
    name BLOB NOT NULL,
    task INTEGER NOT NULL,
    -- 0: a file; 1: an executable file; 2: a directory, and the digest is its manifest's.
    kind INTEGER NOT NULL,
    digest BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    total_bytes INTEGER NOT NULL, holder INTEGER, mode INTEGER NOT NULL DEFAULT 511, modified_ns INTEGER,
    PRIMARY KEY (job, name, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX outputs_of_task ON outputs (job, task);
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
CREATE INDEX outputs_held ON outputs (holder, digest) WHERE holder IS NOT NULL;
CREATE INDEX outputs_holders ON outputs (digest, holder) WHERE holder IS NOT NULL;
CREATE TABLE numberings (
    job INTEGER PRIMARY KEY,
    ranges BLOB NOT NULL
) STRICT;
CREATE TABLE clients (
    -- The first 63 bits of the key. What a client did is noted under this number; of outcome 'cancelled' it is outcome_number.
    client INTEGER PRIMARY KEY,
    node BLOB NOT NULL UNIQUE,
    -- What it is called, or was called last.
    name TEXT NOT NULL
) STRICT;
CREATE TABLE "jobs" (
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
CREATE INDEX jobs_active ON jobs (job) WHERE ended_at IS NULL;
CREATE INDEX jobs_ended ON jobs (ended_state, job) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_owner ON jobs (owner, job);
CREATE INDEX jobs_ended_uptime ON jobs (ended_uptime) WHERE ended_uptime IS NOT NULL;
CREATE TABLE removed (
    place INTEGER PRIMARY KEY,
    job INTEGER NOT NULL UNIQUE,
    owner BLOB NOT NULL,
    -- NULL: nobody; it was kept for as long as jobs are.
    removed_by INTEGER,
    removed_at INTEGER NOT NULL
) STRICT;
