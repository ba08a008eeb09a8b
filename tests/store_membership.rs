//! What the store keeps of who belongs, of tokens, and of power losses: all of
//! it reads back as it was, applied once or twice, and out of an older file.

#![cfg(feature = "node")]

use std::path::Path;

use octaskly::model::records::{Act, EnrolledNode, PowerLoss, Record, RestoredState};
use octaskly::model::requests::JobFilter;
use octaskly::model::spec::CommandLine;
use octaskly::model::trust::Token;
use octaskly::model::{Actor, Digest, Epoch, JobId, JobSpec, Millis, NodeId, Role, SealedSpec, Timestamp};
use octaskly::store::{self, BatchNo, Durability, Store, Viewer};

/// A file as the first release made it, with a little in it.
const FIRST_RELEASE: &str = include_str!("golden/store_1.sql");

fn at(path: &Path, boot: Option<&str>) -> (Store, RestoredState) {
    store::open(path, Box::new(|_| ()), Timestamp(1), boot).expect("opens")
}

/// Writes `records`, twice, and says what a restart finds.
fn restored(records: &[Record]) -> RestoredState {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.sqlite");
    let (store, _) = at(&path, None);
    for batch in 1..=2 {
        store.append(BatchNo(batch), records.to_vec(), Durability::Written).expect("is appended");
    }
    store.close().expect("closes");
    at(&path, None).1
}

fn key(number: u8) -> NodeId {
    let mut bytes = [0; 32];
    bytes[31] = number;
    NodeId(bytes)
}

fn enrolled(number: u8, role: Role, name: &str) -> Record {
    Record::NodeEnrolled { node: key(number), role, name: name.parse().expect("a name"), at: Timestamp(number.into()) }
}

fn node(number: u8, role: Role, name: &str) -> EnrolledNode {
    EnrolledNode {
        node: key(number),
        role,
        name: name.parse().expect("a name"),
        draining: false,
        place: None,
        drain_act: None,
        enrolled_at: Timestamp(number.into()),
        revoked_at: None,
    }
}

fn actor(number: u8, called: &str) -> Actor {
    Actor { key: key(number).key_no(), name: called.parse().expect("a name") }
}

fn token(number: u8, used_by: &[u8]) -> Token {
    Token {
        hash: Digest([number; 32]),
        role: Role::Worker,
        name: None,
        uses: 3,
        used_by: used_by.iter().copied().map(key).collect(),
        created_at: Timestamp(10),
        expires_at: Timestamp(1 << 50),
        expires_uptime: Millis(1 << 40),
        revoked: false,
    }
}

#[test]
fn a_revoked_node_is_kept_apart_and_its_name_is_free() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.sqlite");
    let (store, _) = at(&path, None);
    let revoked = Record::NodeRevoked { node: key(1), at: Timestamp(9) };
    let records = vec![enrolled(1, Role::Worker, "lab"), revoked.clone(), enrolled(2, Role::Worker, "lab")];
    store.append(BatchNo(1), records, Durability::Written).expect("is appended");
    store.append(BatchNo(2), vec![revoked], Durability::Written).expect("is appended");
    store.close().expect("closes");
    let gone = EnrolledNode { revoked_at: Some(Timestamp(9)), ..node(1, Role::Worker, "lab") };
    assert_eq!(at(&path, None).1.nodes, [node(2, Role::Worker, "lab"), gone]);
}

#[test]
fn a_draining_worker_drains_after_a_restart() {
    let act = |called: &str| Act { by: actor(2, called), at: Timestamp(5) };
    let drains = Record::WorkerDraining { node: key(1), draining: true, act: act("client-1") };
    let admin = enrolled(2, Role::Admin, "client-1");
    let state = restored(&[enrolled(1, Role::Worker, "lab"), admin, drains, enrolled(2, Role::Admin, "anna")]);
    let drain_act = Some(act("anna"));
    let worker = EnrolledNode { draining: true, drain_act, ..node(1, Role::Worker, "lab") };
    assert_eq!(state.nodes, [worker, node(2, Role::Admin, "anna")], "the one who did it is called anna now");
}

#[test]
fn tokens_read_back_with_their_uses_in_order() {
    let name = Some("anna".parse().expect("a name"));
    let revoked = Token { revoked: true, uses: 1, role: Role::Admin, name, ..token(2, &[]) };
    let state = restored(&[
        Record::TokenChanged(token(1, &[])),
        Record::TokenChanged(token(1, &[9])),
        Record::TokenChanged(Token { revoked: false, ..revoked.clone() }),
        Record::TokenChanged(token(1, &[9, 4])),
        Record::TokenChanged(revoked.clone()),
    ]);
    assert_eq!(state.tokens, [token(1, &[9, 4]), revoked]);
}

#[test]
fn a_forgotten_token_is_gone_with_its_uses() {
    let hash = token(1, &[]).hash;
    let state = restored(&[Record::TokenChanged(token(1, &[9])), Record::TokenForgotten { hash }]);
    assert_eq!(state.tokens, []);
    let state = restored(&[
        Record::TokenChanged(token(1, &[9])),
        Record::TokenForgotten { hash },
        Record::TokenChanged(token(1, &[])),
    ]);
    assert_eq!(state.tokens, [token(1, &[])]);
}

#[test]
fn clients_and_jobs_of_an_older_file_get_their_names_and_owners() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.sqlite");
    let old = rusqlite::Connection::open(&path).expect("opens");
    old.execute_batch(FIRST_RELEASE).expect("is SQL");
    let keys = [NodeId([0xff; 32]), NodeId(std::array::from_fn(|place| (place as u8).wrapping_mul(37)))];
    for (job, owner) in keys.iter().enumerate() {
        let spec = SealedSpec::seal(JobSpec::single(CommandLine::Shell("true".into())));
        let values = (owner.0, format!("eve-{job}"));
        old.execute("INSERT INTO nodes VALUES (?1, 'client', ?2, 0, 1)", values).expect("a client");
        let values = (3 + job as i64, format!("key-{job}"), owner.0);
        old.execute(
            "INSERT INTO jobs (job, idempotency_key, owner, title, submitted_at, first_index, index_step, task_count,
                rest_state, rest_at) VALUES (?1, ?2, ?3, 'true', 7, 0, 1, 1, 1, 7)",
            values,
        )
        .expect("a job");
        old.execute("INSERT INTO specs VALUES (?1, ?2)", (3 + job as i64, spec.encoded())).expect("its spec");
    }
    drop(old);
    let (store, state) = at(&path, None);
    let reader = store.reader().expect("a reader");
    let jobs = reader.jobs(&JobFilter::default(), Viewer { node: keys[0], sees_all: true }).expect("lists");
    let shown: Vec<_> = jobs.iter().map(|job| (job.job, job.owner, job.owner_name.as_str())).collect();
    assert_eq!(shown, [(JobId(4), keys[1], "eve-1"), (JobId(3), keys[0], "eve-0")]);
    assert_eq!(state.jobs.len(), 2, "they go on");
    assert_eq!(reader.job_by_key(keys[1], "key-1").expect("reads"), Some(JobId(4)));
    let file = rusqlite::Connection::open(&path).expect("opens");
    for key in keys {
        let number = file.query_row("SELECT client FROM clients WHERE node = ?1", [key.0], |row| row.get::<_, i64>(0));
        assert_eq!(number.expect("it is there"), i64::try_from(key.key_no().0).expect("63 bits"));
    }
}

#[test]
fn a_file_of_the_first_release_is_brought_to_the_present_with_all_that_is_in_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.sqlite");
    let old = rusqlite::Connection::open(&path).expect("opens");
    old.execute_batch(FIRST_RELEASE).expect("is SQL");
    drop(old);
    let (store, state) = at(&path, None);
    assert_eq!((state.epoch, state.next_job), (Epoch(4), 7));
    let admin = EnrolledNode { enrolled_at: Timestamp(400), ..node(2, Role::Admin, "client-1") };
    let worker = EnrolledNode { enrolled_at: Timestamp(500), draining: true, ..node(1, Role::Worker, "lab") };
    assert_eq!(state.nodes, [admin.clone(), worker.clone()]);
    assert!(state.tokens.is_empty() && state.after_power_loss.is_empty());
    let records = vec![Record::NodeRevoked { node: key(1), at: Timestamp(9) }, Record::TokenChanged(token(1, &[2]))];
    store.append(BatchNo(1), records, Durability::Written).expect("is appended");
    store.close().expect("closes");
    let state = at(&path, None).1;
    let gone = EnrolledNode { draining: false, revoked_at: Some(Timestamp(9)), ..worker };
    assert_eq!((state.nodes, state.tokens), (vec![admin, gone], vec![token(1, &[2])]));
}

#[test]
fn before_an_older_file_is_changed_a_copy_is_set_aside_that_its_own_program_can_still_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.sqlite");
    let rows = |path: &Path| -> Vec<(String, u32)> {
        let opened = rusqlite::Connection::open(path).expect("opens");
        let mut tables =
            opened.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").expect("SQL");
        let names = tables.query_map([], |row| row.get::<_, String>(0)).expect("lists").map(|name| name.expect("text"));
        let count = |name: &str| opened.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0));
        names.map(|name| (name.clone(), count(&name).expect("counts"))).collect()
    };
    rusqlite::Connection::open(&path).expect("opens").execute_batch(FIRST_RELEASE).expect("is SQL");
    let before = rows(&path);
    at(&path, None).0.close().expect("closes");
    let copy = directory.path().join("store.sqlite.schema-1");
    assert_eq!(rows(&copy), before, "every table and row of it");
    let version = |path: &Path| {
        let opened = rusqlite::Connection::open(path).expect("opens");
        opened.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).expect("a number")
    };
    assert_eq!(version(&copy), 1);
    assert!(version(&path) > 1, "the file itself went on");
    assert_eq!(std::fs::metadata(&copy).expect("is there").permissions().mode() & 0o077, 0, "nobody else reads it");
    let copies = || {
        std::fs::read_dir(directory.path())
            .expect("lists")
            .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().contains("schema-")))
            .count()
    };
    at(&path, None).0.close().expect("closes");
    assert_eq!(copies(), 1, "a file of today needs no copy");
}

/// Copies a store as it lies on the disk while it is open: what a power loss leaves.
fn cut_off(path: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        std::fs::copy(name(path), name(to)).expect("copies");
    }
}

#[test]
fn a_power_loss_is_told_until_it_is_settled_and_a_killed_process_is_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |number: u32| directory.path().join(format!("{number}.sqlite"));
    let first = at(&file(1), Some("monday"));
    assert_eq!(first.1.after_power_loss, []);
    cut_off(&file(1), &file(2));
    let killed = at(&file(2), Some("monday"));
    assert_eq!(killed.1.after_power_loss, [], "the machine is still up");
    cut_off(&file(2), &file(3));
    let unknown = at(&file(3), None);
    assert_eq!(unknown.1.after_power_loss, [], "a boot without a name is taken for the same");
    cut_off(&file(3), &file(4));
    let lost = at(&file(4), Some("tuesday"));
    let once = PowerLoss { epoch: Epoch(3), next_job: 1 };
    assert_eq!(lost.1.after_power_loss, [once]);
    cut_off(&file(4), &file(5));
    let again = at(&file(5), Some("wednesday"));
    let twice = PowerLoss { epoch: Epoch(4), next_job: 1 };
    assert_eq!(again.1.after_power_loss, [once, twice], "the first is not settled");
    again.0.append(BatchNo(1), vec![Record::PowerLossesSettled], Durability::Written).expect("is appended");
    again.0.close().expect("closes");
    let calm = at(&file(5), Some("thursday"));
    assert_eq!(calm.1.after_power_loss, [], "it was closed before the machine went down");
}
