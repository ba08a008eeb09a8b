//! A dispatcher that is killed again and again under work: nothing is lost, nothing is repeated, nobody notices.
//!
//! `OCTASKLY_TEST_TASKS=2000` makes it larger than the suite's time allows. Invariant: the test asserts what was started
//! and what was said, never how long anything took.

#![expect(clippy::disallowed_methods, reason = "the dispatcher dies and comes back by the clock of this machine")]

mod harness;

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use harness::Cluster;

/// How often the dispatcher is killed.
const KILLS: usize = 5;
/// Longer than everything here together, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Numbers below `below` that nobody has chosen.
fn drawn(below: u64) -> u64 {
    std::hash::RandomState::new().build_hasher().finish() % below
}

#[test]
fn a_dispatcher_that_is_killed_five_times_loses_nothing_repeats_nothing_and_nobody_notices() {
    let tasks: usize = std::env::var("OCTASKLY_TEST_TASKS").ok().and_then(|tasks| tasks.parse().ok()).unwrap_or(400);
    let cluster = Cluster::new();
    let mut dispatcher = cluster.dispatcher();
    let workers = ["a", "b"].map(|name| cluster.worker_with(&["--name", name, "--max-jobs", "12"]));
    workers.iter().for_each(|worker| worker.says("Joined the dispatcher"));
    let out = cluster.scratch().join("out");
    std::fs::create_dir(&out).expect("a folder");
    let append =
        format!("echo \"$OCTASKLY_ATTEMPT on $OCTASKLY_WORKER\" >>{}/$OCTASKLY_INDEX; sleep 0.4", out.display());
    let count = "i=0; while [ $i -lt 80 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 7";
    let counted: String = (0..80).map(|number| format!("line {number}\n")).collect();

    let attached = cluster.start(["run", "--", "sh", "-c", count]);
    let background = cluster.ok(["submit", "-q", "--retries", "0", "--", "sh", "-c", count]).trim().to_owned();
    let range = format!("1-{tasks}");
    let job =
        cluster.ok(["submit", "-q", "--retries", "0", "--array", &range, "--", "sh", "-c", &append]).trim().to_owned();
    let following = cluster.start(["logs", "-f", &background]);
    let waiting = cluster.start(["wait", &job]);
    let progress = cluster.start(["progress", &job]);
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(400 + drawn(1_200)));
        dispatcher.kill();
        std::thread::sleep(Duration::from_millis(drawn(600)));
        dispatcher = cluster.dispatcher();
    }

    let waited = waiting.finish(PATIENCE);
    assert_eq!(waited.code, Some(0), "{waited:?}");
    let shown = cluster.json(["show", &job]);
    assert_eq!(shown[0]["tasks"]["succeeded"].as_u64(), Some(tasks as u64), "{shown}");
    let repeated: Vec<String> = (1..=tasks)
        .map(|index| (index, std::fs::read_to_string(out.join(index.to_string())).unwrap_or_default()))
        .filter(|(_, starts)| starts.lines().count() != 1)
        .map(|(index, starts)| format!("{index}: {starts:?}"))
        .collect();
    assert_eq!(repeated, Vec::<String>::new(), "started once each");
    let ran = attached.finish(PATIENCE);
    assert_eq!((ran.code, ran.stdout_text()), (Some(7), counted.clone()), "{ran:?}");
    let followed = following.finish(PATIENCE);
    assert_eq!(followed.stdout_text(), counted, "{followed:?}");
    let progressed = progress.finish(PATIENCE);
    assert_eq!(progressed.code, Some(0), "{progressed:?}");
}
