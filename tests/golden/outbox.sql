PRAGMA application_id = 1330343778;
PRAGMA user_version = 2;
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE kept (
    place INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    ended BLOB NOT NULL,
    UNIQUE (job, task, attempt, fence)
) STRICT;
CREATE TABLE proofs (
    place INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    proof BLOB NOT NULL,
    UNIQUE (job, task, attempt, fence)
) STRICT;
