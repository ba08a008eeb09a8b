//! What goes wrong, and when.
//!
//! Invariant: everything that fails is whole again by the end of the plan's span.

use super::dice::Dice;
use super::disk::Crash;
use super::network::Party;
use super::plan::Plan;
use crate::model::{Millis, Timestamp};

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// The dispatcher goes down and comes back.
    DispatcherCrash { how: Crash, down: Millis },
    /// The dispatcher stands still.
    DispatcherPause { lasts: Millis },
    /// A worker goes down, with its processes, and comes back; its guard may have a word.
    WorkerCrash { worker: usize, how: Crash, guard: bool, down: Millis },
    /// A worker is stopped gracefully and started again.
    WorkerStop { worker: usize, down: Millis },
    /// An admin drains a worker, and lets it work again.
    Drain { worker: usize, lasts: Millis },
    /// An admin throws a worker out; it comes back under another key.
    Revoke { worker: usize },
    /// A worker's machine stands still.
    WorkerPause { worker: usize, lasts: Millis },
    /// A link breaks; its ends notice it soon or late.
    LinkBreak { party: Party, slow_to_notice: bool },
    /// Nothing gets through between the dispatcher and these.
    Partition { parties: Vec<Party>, one_way: bool, lasts: Millis },
    /// A direct link breaks; its ends notice it soon or late.
    PeerBreak { pair: (usize, usize), slow_to_notice: bool },
    /// Nothing gets through between two workers.
    PeerCut { pair: (usize, usize), lasts: Millis },
    /// A client closes its requests and asks anew.
    Impatience { client: usize },
    /// The dispatcher's disk takes its time.
    SlowDisk { write: Millis, sync: Millis, lasts: Millis },
    /// The dispatcher's disk takes long to sync, and then its machine loses its power.
    Brownout { sync: Millis, lasts: Millis, down: Millis },
    /// Messages take long and arrive twice.
    Storm { delay: u64, repeats: u64, lasts: Millis },
}

/// How long the dispatcher stands still where a plan says so: links outlive it.
const PAUSE: Millis = Millis::from_secs(18);

/// The faults of one simulation with the instants they begin at.
pub(super) fn schedule(plan: &Plan, begin: Timestamp, dice: &mut Dice) -> Vec<(Timestamp, Fault)> {
    let draw = |dice: &mut Dice| {
        let at = dice.between(0, plan.span.0);
        let left = plan.span.0 - at;
        // Mostly short, now and then longer than any lease.
        let lasts = |dice: &mut Dice| Millis(dice.mostly_short(1, 150_000).0.min(left));
        (begin + Millis(at), fault(plan, lasts(dice), dice))
    };
    let mut all: Vec<_> = (0..plan.faults).map(|_| draw(dice)).collect();
    all.extend((0..plan.outages).map(|_| {
        let at = dice.between(0, plan.span.0);
        (begin + Millis(at), brownout(Millis(plan.span.0 - at), dice))
    }));
    all.extend((0..plan.pauses).map(|number| {
        let at = Millis(plan.span.0 * u64::from(number + 1) / u64::from(plan.pauses + 1));
        (begin + at, Fault::DispatcherPause { lasts: PAUSE })
    }));
    let pairs = if plan.mesh && plan.workers > 1 { plan.peer_faults } else { 0 };
    all.extend((0..pairs).map(|_| {
        let at = dice.between(0, plan.span.0);
        let lasts = Millis(dice.mostly_short(1, 150_000).0.min(plan.span.0 - at));
        (begin + Millis(at), between_peers(plan, lasts, dice))
    }));
    all.sort_by_key(|(at, _)| *at);
    all
}

fn between_peers(plan: &Plan, lasts: Millis, dice: &mut Dice) -> Fault {
    let greater = dice.index(plan.workers - 1) + 1;
    let pair = (dice.index(greater), greater);
    if dice.percent(50) {
        Fault::PeerBreak { pair, slow_to_notice: dice.percent(50) }
    } else {
        Fault::PeerCut { pair, lasts }
    }
}

fn brownout(most: Millis, dice: &mut Dice) -> Fault {
    let sync = Millis(dice.one_of(&[500, 2_000, 10_000]));
    let lasts = dice.millis(0, most.0.min(10_000));
    Fault::Brownout { sync, lasts, down: dice.mostly_short(0, 30_000.min(most.0 - lasts.0)) }
}

fn fault(plan: &Plan, lasts: Millis, dice: &mut Dice) -> Fault {
    let worker = dice.index(plan.workers);
    let how = dice.one_of(&[Crash::Kill, Crash::PowerLoss]);
    match dice.between(0, 19) {
        0 | 1 => Fault::DispatcherCrash { how, down: lasts },
        2 => Fault::DispatcherPause { lasts },
        3..6 => Fault::WorkerCrash { worker, how, guard: how == Crash::Kill && dice.percent(60), down: lasts },
        6 => Fault::WorkerStop { worker, down: lasts },
        7 | 8 => Fault::WorkerPause { worker, lasts },
        9..12 => {
            let client = dice.percent(20);
            let party = if client { Party::Client(dice.index(plan.clients)) } else { Party::Worker(worker) };
            Fault::LinkBreak { party, slow_to_notice: dice.percent(50) }
        }
        12 | 13 => {
            let mut parties: Vec<Party> =
                (0..plan.workers).map(Party::Worker).chain((0..plan.clients).map(Party::Client)).collect();
            let share = dice.one_of(&[10, 50, 100]);
            parties.retain(|_| dice.percent(share));
            Fault::Partition { parties, one_way: dice.percent(30), lasts }
        }
        14 => Fault::Impatience { client: dice.index(plan.clients) },
        19 => brownout(lasts, dice),
        17 => Fault::Drain { worker, lasts },
        18 => Fault::Revoke { worker },
        15 => Fault::SlowDisk { write: dice.mostly_short(1, 2_000), sync: dice.mostly_short(1, 10_000), lasts },
        _ => Fault::Storm { delay: dice.mostly_short(1, 5_000).0, repeats: dice.between(0, 40), lasts },
    }
}
