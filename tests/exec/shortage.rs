//! What a worker lacks, and what the kernel kills, is told from what a task does wrong.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use octaskly::exec::Executor;
use octaskly::model::Outcome;
use octaskly::model::obstacle::{DirectoryFault, Obstacle, Shortage};
use octaskly::model::spec::Workdir;

use super::rig::{Rig, config, exec, in_a_process_of_its_own, shell};

#[tokio::test]
async fn a_directory_that_is_not_there_is_no_failure_of_the_task() {
    let mut rig = Rig::new();
    let file = rig.work.path().join("file");
    std::fs::write(&file, "x").expect("a file");
    let file = file.to_str().expect("text").to_owned();
    for (directory, fault) in [
        ("/no/such/directory", DirectoryFault::Missing),
        (&file, DirectoryFault::NotDirectory),
        (&format!("{file}/beneath"), DirectoryFault::NotDirectory),
    ] {
        // A program that is only there, or not even that, is not looked for.
        for program in ["true", "frobnicate", "./run.sh"] {
            let mut spec = exec([program]);
            spec.workdir = Workdir::Existing(directory.into());
            let id = rig.start(spec);
            assert_eq!(rig.not_started(id).await.obstacle, Obstacle::Directory(fault), "{program} in {directory}");
        }
    }
    assert_eq!(rig.run(exec(["true"])).await.outcome, Outcome::Exited(0), "the shim is still good");
}

#[tokio::test]
async fn a_scratch_directory_that_cannot_be_made_is_no_failure_of_the_task() {
    let mut rig = Rig::new();
    let work = rig.work.path().join("work");
    let run = std::fs::read_dir(&work).expect("a folder").flatten().find(|entry| entry.path().is_dir());
    std::fs::remove_dir_all(run.expect("its folder").path().join("scratch")).expect("removed");
    let id = rig.start(exec(["true"]));
    let unstarted = rig.not_started(id).await;
    assert_eq!(unstarted.obstacle, Obstacle::Shortage(Shortage::Other));
    assert_eq!(unstarted.detail, "make its directory: no such file or directory");
}

#[tokio::test]
async fn a_shim_that_cannot_get_ready_is_no_failure_of_the_task() {
    let work = tempfile::tempdir().expect("a directory");
    let program = work.path().join("shim");
    std::fs::write(&program, "#!/bin/sh\nexit 70\n").expect("a file");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
    let mut config = config(work.path(), None);
    config.shim_program = program;
    let (executor, events) = Executor::start(config).expect("an executor");
    let mut rig = Rig::around(executor, events, work);
    let id = rig.start(exec(["true"]));
    assert_eq!(rig.not_started(id).await.obstacle, Obstacle::Shortage(Shortage::Other));
}

#[tokio::test]
async fn tasks_that_find_no_descriptors_left_are_not_started_and_the_others_run() {
    if !in_a_process_of_its_own("shortage::tasks_that_find_no_descriptors_left_are_not_started_and_the_others_run") {
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, 48, 48).expect("lower limits are allowed");
    let mut rig = Rig::new();
    let ids: Vec<_> = (0..24).map(|_| rig.start(shell("echo $OCTASKLY_JOB_ID; exec sleep 60"))).collect();
    let mut started = Vec::new();
    for id in ids {
        match rig.has_started(id).await {
            true => started.push(id),
            false => {
                let obstacle = rig.not_started(id).await.obstacle;
                assert_eq!(obstacle, Obstacle::Shortage(Shortage::Descriptors));
            }
        }
    }
    assert!((2..24).contains(&started.len()), "{} of 24 were started", started.len());
    for id in &started {
        rig.terminate(*id, 0);
        assert_eq!(rig.end_of(*id).await.outcome, Outcome::Signalled(9));
    }
    assert_eq!(rig.text_of(shell("echo again")).await, "again\n");
}

#[tokio::test]
async fn tasks_get_the_limit_of_open_files_that_their_worker_was_started_with() {
    if !in_a_process_of_its_own("shortage::tasks_get_the_limit_of_open_files_that_their_worker_was_started_with") {
        return;
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(hard > 200, "a machine that allows {hard} open files is too small for this test");
    setrlimit(Resource::RLIMIT_NOFILE, 200, hard).expect("lower limits are allowed");
    let mut rig = Rig::new();
    assert_eq!(rig.text_of(shell("ulimit -Sn; ulimit -Hn")).await, format!("200\n{hard}\n"));
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).expect("a limit"), (hard, hard));
}

#[tokio::test]
async fn a_task_that_the_kernel_killed_for_memory_is_told_from_one_that_somebody_killed() {
    let work = tempfile::tempdir().expect("a directory");
    let events = work.path().join("memory.events");
    std::fs::write(&events, "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n").expect("a file");
    let mut config = config(work.path(), None);
    config.oom_counter = Some(events.clone());
    let (executor, received) = Executor::start(config).expect("an executor");
    let mut rig = Rig::around(executor, received, work);
    let counted = |kills: u32| format!("echo oom_kill {kills} > {};", events.display());

    assert_eq!(rig.run(shell("kill -9 $$")).await.outcome, Outcome::Signalled(9), "nothing was counted");
    assert_eq!(rig.run(shell(&(counted(2) + "kill -9 $$"))).await.outcome, Outcome::OomKilled);
    assert_eq!(rig.run(shell("kill -9 $$")).await.outcome, Outcome::Signalled(9), "one kill explains one death");
    let by_its_shell = counted(3) + "sh -c 'kill -9 $$'; exit $?";
    assert_eq!(rig.run(shell(&by_its_shell)).await.outcome, Outcome::OomKilled);
    assert_eq!(rig.run(shell("exit 137")).await.outcome, Outcome::Exited(137));
    let survived = counted(4) + "sh -c 'kill -9 $$'; exit 3";
    assert_eq!(rig.run(shell(&survived)).await.outcome, Outcome::Exited(3), "it went on without its child");
    let id = rig.start(shell(&(counted(5) + "echo counted; exec sleep 60")));
    rig.printed(id, "counted").await;
    rig.terminate(id, 0);
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Signalled(9), "its worker killed it");
}
