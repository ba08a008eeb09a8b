//! How long finished jobs are kept, on a machine whose clock is set between two
//! starts of the dispatcher. The store's file stands in for that clock: what it
//! says of a job's end is changed while no dispatcher runs.

#![cfg(unix)]

mod harness;

use harness::{Cluster, soon};
use rusqlite::{Connection, params};

const HOUR_MS: i64 = 3_600_000;

/// The numbers of the jobs that the dispatcher has.
fn jobs(cluster: &Cluster) -> Vec<u64> {
    let rows = cluster.json(["list", "--all"]);
    let mut numbers: Vec<u64> =
        rows.as_array().expect("an array").iter().filter_map(|row| row["id"].as_u64()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_finished_job_is_kept_for_the_time_that_the_dispatcher_ran_whatever_its_clock_said() {
    let (cluster, mut dispatcher, _worker) = Cluster::with_a_worker();
    for _ in 0..4 {
        cluster.ok(["submit", "--wait", "--", "true"]);
    }
    assert_eq!(dispatcher.stop(), Some(0));

    let store = Connection::open(cluster.home().join("dispatcher/store.sqlite")).expect("a store");
    // It has run for two hours. Jobs 1 and 2 ended a moment ago, 3 and 4 two hours ago; the clock said 1970 at the
    // ends of 1 and 3, and a hundred years later at those of 2 and 4.
    store.execute("UPDATE meta SET value = ?1 WHERE name = 'uptime'", [2 * HOUR_MS]).expect("changed");
    for (job, ended_at_s, ended_uptime) in
        [(1, 300, 2 * HOUR_MS), (2, 4_000_000_000_i64, 2 * HOUR_MS), (3, 300, 0), (4, 4_000_000_000, 0)]
    {
        let sql = "UPDATE jobs SET ended_at = ?2, ended_uptime = ?3 WHERE job = ?1";
        assert_eq!(store.execute(sql, params![job, ended_at_s * 1_000_000, ended_uptime]).expect("changed"), 1);
    }
    drop(store);

    let mut dispatcher = cluster.dispatcher_with(&["--retention", "1h"]);
    dispatcher.says("Removed 2 finished jobs whose --retention is over: 3-4");
    soon("only those are gone", || jobs(&cluster) == [1, 2]);
    assert_eq!(dispatcher.stop(), Some(0));
    let store = Connection::open(cluster.home().join("dispatcher/store.sqlite")).expect("a store");
    let uptime: i64 =
        store.query_row("SELECT value FROM meta WHERE name = 'uptime'", [], |row| row.get(0)).expect("a number");
    assert!((2 * HOUR_MS + 1..3 * HOUR_MS).contains(&uptime), "it counts on: {uptime}");
}

#[test]
fn a_finished_job_goes_when_its_time_is_over_and_the_log_names_it() {
    let cluster = Cluster::new();
    let dispatcher = cluster.dispatcher_with(&["--retention", "1s"]);
    let worker = cluster.worker("worker-a");
    worker.says("Joined the dispatcher");
    cluster.ok(["submit", "--wait", "--", "true"]);
    dispatcher.says("Removed 1 finished jobs whose --retention is over: 1");
    soon("it is gone", || jobs(&cluster).is_empty());
}
