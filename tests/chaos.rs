//! The real binaries on a LAN of namespaces, through kills, stops, cuts and full disks, and what became of every task.
//!
//! `scripts/chaos.sh` runs it for longer; by itself it takes half a minute of trouble. `OCTASKLY_CHAOS_SECONDS` and
//! `OCTASKLY_CHAOS_SEED` say how long and which; the seed decides what goes wrong when, though not how the machine takes it.
//! Invariant: what is asserted is what was started, recorded and left behind, never how long anything took.

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "trouble comes and goes by the clock of this machine")]

#[path = "chaos/dice.rs"]
mod dice;
#[path = "chaos/field.rs"]
mod field;
mod harness;
#[path = "chaos/journal.rs"]
mod journal;
#[path = "chaos/work.rs"]
mod work;

use std::time::{Duration, Instant};

use dice::Dice;
use field::Field;
use harness::lan::on_a_lan;
use work::Work;

/// Workers on hosts of their own.
const WORKERS: usize = 4;

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_and_nothing_forbidden_is_repeated_whatever_goes_wrong() {
    on_a_lan(WORKERS as u32 + 1, |lan| {
        let seconds = environment("OCTASKLY_CHAOS_SECONDS").unwrap_or(30);
        let seed = environment("OCTASKLY_CHAOS_SEED").unwrap_or_else(Dice::nobodys);
        eprintln!("chaos for {seconds} s with seed {seed}");
        let mut dice = Dice::new(seed);
        let mut field = Field::set_up(lan, WORKERS);
        let mut work = Work::new(field.dispatcher_host());
        let before = field.sizes();
        let end = Instant::now() + Duration::from_secs(seconds);
        // Who submits may have to wait for an answer; trouble does not.
        let mut wishes = Dice::new(seed.wrapping_add(1));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while Instant::now() < end {
                    work.submit(&mut wishes);
                    std::thread::sleep(Duration::from_millis(wishes.between(100, 800)));
                }
            });
            while Instant::now() < end {
                field.recover(Instant::now());
                field.go_wrong(&mut dice);
                std::thread::sleep(Duration::from_millis(dice.between(100, 1_000)));
            }
        });
        field.recover_all();
        let verdict = work.await_the_end();
        let after = field.sizes();
        println!("{}{}{}", field.table(), verdict.table(), field::growth(&before, &after));
        println!("seed {seed}");
        verdict.judge();
        work.nothing_is_left();
        field::judge_growth(&before, &after);
    });
}
