//! Exclusive attempts: what is not renewed is ended by its shim, without anybody telling it to.

use octaskly::exec::since_boot_us;
use octaskly::model::{JobSpec, Outcome};
use octaskly::wire::OutputStream;
use octaskly::wire::shim::TaskLease;

use crate::rig::{Rig, output, processes_with, shell};

const SECOND_US: u64 = 1_000_000;

fn exclusive(spec: JobSpec) -> JobSpec {
    JobSpec { exclusive: true, ..spec }
}

/// Over in so many seconds from now, and ten more for the last of it.
fn lease(seconds: u64) -> TaskLease {
    let terminate_at_us = since_boot_us() + seconds * SECOND_US;
    TaskLease { terminate_at_us, kill_at_us: terminate_at_us + 10 * SECOND_US }
}

#[tokio::test]
async fn an_exclusive_task_runs_while_it_has_a_lease_and_not_without_one() {
    let mut rig = Rig::new();
    let ending = rig.run(exclusive(shell("echo ran"))).await;
    assert_eq!((ending.outcome, ending.stdout_bytes), (Outcome::Lost, 0), "nobody gave it a lease");
    assert!(rig.started.is_empty(), "it never had a process");
    rig.executor.renew(lease(3600));
    assert_eq!(rig.run(exclusive(shell("exit 7"))).await.outcome, Outcome::Exited(7));
    rig.executor.renew(TaskLease { terminate_at_us: 0, kill_at_us: 0 });
    assert_eq!(rig.run(exclusive(shell("exit 7"))).await.outcome, Outcome::Lost);
    assert_eq!(rig.run(shell("exit 7")).await.outcome, Outcome::Exited(7), "the others need none");
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends_the_whole_task() {
    let mut rig = Rig::new();
    let mark = format!("unrenewed-{}", std::process::id());
    rig.executor.renew(lease(3600));
    let mut spec = exclusive(shell("trap 'echo asked; exit 0' TERM; (trap '' TERM; echo up; sleep 600) & wait"));
    spec.env.insert("OCTASKLY_TEST_MARK".into(), mark.as_str().into());
    let id = rig.start(spec);
    rig.printed(id, "up\n").await;
    rig.executor.renew(lease(1));
    let ending = rig.end_of(id).await;
    assert_eq!(output(&ending, OutputStream::Stdout), b"up\nasked\n", "first it is asked to end");
    assert_eq!(ending.outcome, Outcome::Lost, "however it took that");
    assert!(processes_with(&mark).is_empty(), "and what does not end is killed");
}

#[tokio::test]
async fn a_lease_that_is_renewed_holds_until_it_is_over() {
    let mut rig = Rig::new();
    rig.executor.renew(lease(3600));
    let id = rig.start(exclusive(shell("echo up; sleep 600")));
    rig.printed(id, "up\n").await;
    rig.executor.renew(lease(7200));
    rig.executor.renew(TaskLease { terminate_at_us: 0, kill_at_us: 0 });
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Lost);
}
