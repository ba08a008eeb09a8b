//! What tests of files between workers speak: a cluster on a LAN, a file that was
//! made on one worker, a job that uses it on another, and from whom it came.
//!
//! The one invariant: what is said of links and transfers is what `peers` and `show` say to a user. Absent: anything
//! that a worker does otherwise than it should.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::lan::{Host, Lan};
use super::{Node, soon};

/// 2^20 bytes.
pub const MIB: u64 = 1 << 20;
/// What a job may take whose input comes over a slow network, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A worker that was let in by a token.
pub fn joined(dispatcher: &Host, on: &Host, name: &str) -> Node {
    let token = dispatcher.ok(["token", "create"]);
    let worker = on.works_for(dispatcher.address, name, &["--token", token.trim(), "--verbose"]);
    worker.says("Joined the dispatcher");
    worker
}

/// A dispatcher on host 1 and the workers a, b, … on the hosts behind it, all linked.
pub fn cluster(lan: &Lan, names: &[&str]) -> (Node, Vec<Node>) {
    let dispatcher = lan.host(1);
    let serving = dispatcher.serves();
    let workers: Vec<Node> =
        names.iter().enumerate().map(|(at, name)| joined(dispatcher, lan.host(at + 2), name)).collect();
    let pairs = names.len() * (names.len() - 1) / 2;
    soon("all workers are linked", || links(dispatcher) == pairs);
    (serving, workers)
}

/// How many pairs of workers are linked, as one or the other says.
pub fn links(dispatcher: &Host) -> usize {
    let rows = dispatcher.json(["peers"]);
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let standing = rows.as_array().expect("rows").iter().filter(|row| row["link"] == "standing");
    let ends = standing.map(|row| (text(row, "heard_by"), text(row, "name")));
    let ends = ends.filter(|(one, other)| one != "dispatcher" && other != "dispatcher");
    let pairs: BTreeSet<_> = ends.map(|(one, other)| (one.clone().min(other.clone()), one.max(other))).collect();
    pairs.len()
}

/// Has `mib` MiB made by a job on worker `name`; returns the job's number and the digest.
pub fn made(dispatcher: &Host, name: &str, mib: u64) -> (String, String) {
    let script = format!("head -c {} /dev/urandom > made && sha256sum < made", mib * MIB);
    let label = format!("name={name}");
    let job = dispatcher.ok(["submit", "-q", "--label", &label, "--out", "made", &script]).trim().to_owned();
    dispatcher.ok(["wait", &job]);
    let sum = dispatcher.ok(["logs", &job]);
    (job, sum)
}

/// The arguments of a job on worker `name` that says the digest of what `job` made.
pub fn used(job: &str, name: &str) -> [String; 6] {
    let words = ["--label", &format!("name={name}"), "--in", &format!("{job}:made"), "--", "sha256sum < made"];
    words.map(str::to_owned)
}

/// Runs such a job and returns what it says.
pub fn run_with(dispatcher: &Host, arguments: &[String]) -> String {
    let ran = dispatcher.start([&["run".to_owned()], arguments].concat()).finish(PATIENCE);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout_text()
}

/// Bytes by the path they came, of the inputs of the last job.
pub fn transfers(dispatcher: &Host) -> Vec<(String, String, u64)> {
    let shown = dispatcher.json(["show", "last", "--tasks"])[0]["transfers"].clone();
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let rows = shown.as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| (text(row, "path"), text(row, "from"), row["bytes"].as_u64().expect("bytes"))).collect()
}
