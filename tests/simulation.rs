//! Simulated clusters: fixed seeds that once found something or cover a size,
//! and one seed that is new every time. Every seed is printed; to run one again:
//!
//! `OCTASKLY_SIM_SEED=… cargo test --no-default-features --test simulation -- --nocapture any_seed`
//!
//! With `OCTASKLY_SIM_ALOUD=1` as well, everything that happens is printed;
//! with `OCTASKLY_SIM_RUNS=100`, a hundred seeds are tried from there on.

use std::hash::{BuildHasher as _, Hasher as _};

use octaskly::model::Millis;
use octaskly::sim::{Plan, Report, Variety, simulate};

/// Simulates, and prints what it takes to do so again before anything can go wrong.
fn run(plan: &Plan, seed: u64) -> Report {
    eprintln!("simulating {} workers and {} tasks with seed {seed}", plan.workers, plan.tasks);
    let report = simulate(plan, seed);
    eprintln!("{report:?}");
    report
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seed asked for, or one that nobody has chosen.
fn any() -> u64 {
    environment("OCTASKLY_SIM_SEED").unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish())
}

fn aloud() -> bool {
    environment("OCTASKLY_SIM_ALOUD").is_some()
}

fn small() -> Plan {
    Plan { aloud: aloud(), ..Plan::small() }
}

#[test]
fn any_seed_keeps_every_promise() {
    let first = any();
    for more in 0..environment("OCTASKLY_SIM_RUNS").unwrap_or(1) {
        let seed = first.wrapping_add(more);
        run(&Plan { aloud: aloud(), ..Plan::drawn(seed) }, seed);
    }
}

#[test]
fn fixed_seeds_keep_every_promise() {
    for seed in 1..=10 {
        run(&small(), seed);
    }
}

#[test]
fn no_slot_stays_free_beside_waiting_work_while_the_dispatcher_stands_still() {
    let plan = Plan {
        workers: 4,
        tasks: 1_500,
        variety: Variety::Plain,
        faults: 0,
        peer_faults: 0,
        pauses: 8,
        watch_idle: true,
        ..small()
    };
    let handed_over: u64 = (1..=2).map(|seed| run(&plan, seed).tallies.handed_over).sum();
    assert!(handed_over > 0, "nothing that waited was handed to a worker with a free slot");
}

#[test]
fn attempts_change_hands_through_every_fault_between_workers_and_start_once() {
    let plan = Plan { workers: 6, peer_faults: 120, repeats: 20, delicate: 5, long: 50, ..small() };
    let handed_over: u64 = (1..=6).map(|seed| run(&plan, seed).tallies.handed_over).sum();
    assert!(handed_over > 0, "no attempt changed hands");
}

#[test]
fn what_runs_through_a_power_loss_of_the_dispatcher_is_put_back_on_record() {
    let plan = Plan { faults: 10, outages: 12, delicate: 0, long: 70, slots: 2, mesh: false, ..small() };
    let reclaimed: u64 = [1, 2, 3, 22].into_iter().map(|seed| run(&plan, seed).tallies.reclaimed).sum();
    assert!(reclaimed > 0, "no power loss made the dispatcher forget anything");
}

#[test]
fn fifty_workers_share_two_thousand_tasks_through_every_fault() {
    let plan = Plan { workers: 50, max_workers: 50, clients: 5, tasks: 2_000, faults: 100, ..small() };
    run(&plan, 50);
}

#[test]
fn a_thousand_workers_and_a_hundred_thousand_tasks_do_the_same_twice() {
    let plan = Plan {
        workers: 1_000,
        max_workers: 1_000,
        clients: 8,
        tasks: 100_000,
        variety: Variety::Plain,
        faults: 200,
        span: Millis::from_secs(120),
        audit_every: 5_000,
        mesh: false,
        trace_messages: false,
        ..small()
    };
    assert_eq!(run(&plan, 1000), run(&plan, 1000));
}

#[test]
fn tasks_of_silent_workers_are_started_a_second_time_and_end_once() {
    let plan = Plan { workers: 8, long: 70, delicate: 20, faults: 60, mesh: false, ..small() };
    // Clients that are gone end a fifth of the jobs before any worker is silent, so it takes some seeds.
    let seconds: u64 = (1..=30).map(|seed| run(&plan, seed).tallies.seconds).sum();
    assert!(seconds > 10, "{seconds} tasks were started a second time");
}
