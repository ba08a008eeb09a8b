//! `octaskly bench` as a user types it: figures come, whatever cluster there
//! is, and no job of it stays behind. That it is fast is tested nowhere.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use harness::{Cluster, SOON, soon};

/// As short as a bench can be.
const BRIEF: [&str; 4] = ["--rounds", "2", "--seconds", "1"];

fn bench<'a>(what: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&["bench", what], &BRIEF[..], options].concat()
}

/// Every figure stands beside a limit, and both are numbers that something was measured for.
fn all_are_figures(figures: &serde_json::Value, count: usize, cluster: &str) {
    let figures = figures.as_array().expect("an array of figures");
    assert_eq!(figures.len(), count, "{figures:?}");
    for figure in figures {
        let positive = |value: &serde_json::Value| value.as_f64().is_some_and(|number| number > 0.0);
        assert!(positive(&figure["median"]) && positive(&figure["limit"]["median"]), "{figure}");
        assert!(positive(&figure["ratio"]["median"]) && positive(&figure["rounds"]), "{figure}");
        assert!(figure["cluster"].as_str().is_some_and(|place| place.starts_with(cluster)), "{figure}");
    }
}

#[test]
fn without_a_dispatcher_a_cluster_of_one_is_measured_and_gone_afterwards() {
    let cluster = Cluster::new();
    all_are_figures(&cluster.json(bench("throughput", &["--tasks", "20"])), 1, "embedded");
    all_are_figures(&cluster.json(bench("latency", &["--tasks", "3"])), 2, "embedded");
    all_are_figures(&cluster.json(bench("transfer", &["--size", "1M"])), 7, "embedded");
    let left = std::fs::read_dir(cluster.temporary()).expect("a folder").count();
    assert_eq!(left, 0, "nothing stays in the folder for temporary files");
}

#[test]
fn output_of_the_size_of_a_packet_or_two_can_be_read_back_right_after_the_end_of_its_task() {
    let cluster = Cluster::new();
    let figures = cluster.json(["bench", "transfer", "--size", "64K", "--rounds", "40", "--seconds", "20"]);
    assert!(figures.as_array().is_some_and(|figures| !figures.is_empty()), "no byte is lost: {figures}");
}

#[test]
fn a_bench_of_a_real_cluster_leaves_no_job_behind() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    for (what, option, amount, figures) in
        [("throughput", "--tasks", "20", 1), ("latency", "--tasks", "3", 2), ("transfer", "--size", "1M", 7)]
    {
        all_are_figures(&cluster.json(bench(what, &[option, amount])), figures, "127.0.0.1:");
    }
    let table = cluster.ok(bench("throughput", &["--tasks", "8", "--", "sh", "-c", "exit 0"]));
    assert!(table.contains("limit: posix_spawn and wait") && table.contains("RATIO"), "{table}");
    let failing = cluster.run(bench("throughput", &["--tasks", "8", "--", "sh", "-c", "exit 3"]));
    assert_eq!(failing.code, Some(1), "{failing:?}");
    assert!(failing.stderr_text().contains("did not succeed"), "{failing:?}");
    assert_eq!(cluster.json(["list", "--all"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn an_interrupted_bench_takes_its_tasks_with_it() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let started = cluster.start(["bench", "throughput", "--seconds", "600", "--", "sleep", "600"]);
    soon("its tasks run", || {
        cluster.json(["list"]).as_array().is_some_and(|jobs| jobs.iter().any(|job| job["state"] == "running"))
    });
    started.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(started.finish(SOON).code, Some(130));
    soon("its job is gone", || cluster.json(["list", "--all"]).as_array().is_some_and(Vec::is_empty));
}

#[test]
fn without_a_worker_there_is_no_figure_and_a_hint() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let ran = cluster.run(["bench", "latency"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr_text().contains("hint: start one with `octaskly worker`"), "{ran:?}");
}
