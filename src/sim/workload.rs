//! What simulated clients want: jobs of every kind, and what they do about them.
//!
//! Invariant: every job could run on worker 0 alone, so all of them can end
//! once the faults are over.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::plan::{Plan, Variety};
use super::process::{Character, good};
use crate::model::node::WorkerProfile;
use crate::model::spec::{
    Backoff, CommandLine, DependencyCondition, Isolation, OutputMode, RetryOn, RetryPolicy, TimeLimit,
};
use crate::model::{Capacity, Demand, Items, JobSpec, MilliCpu, Millis, RawString};

/// One submission and what its client does about it.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Its idempotency key, and its job's name, by which its processes know how to behave.
    pub(super) key: String,
    /// What to run; its dependencies are filled in when it is submitted.
    pub(super) spec: JobSpec,
    /// Earlier wishes that it waits for.
    pub(super) after: Vec<(usize, DependencyCondition)>,
    pub(super) character: Character,
    /// When it is submitted.
    pub(super) at: Millis,
    /// When it is cancelled after it was acknowledged, if it is.
    pub(super) cancel: Option<Millis>,
    /// Whether it is retried once it has ended.
    pub(super) retry: bool,
    /// Whether it is forgotten once it has ended.
    pub(super) forget: bool,
}

/// The wishes of one simulation, in order of their time.
pub(super) fn wishes(plan: &Plan, dice: &mut Dice) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut left = plan.tasks;
    while left > 0 {
        let number = wishes.len();
        let wish = match plan.variety {
            Variety::Plain => plain(number, left, dice),
            Variety::Everything => anything(number, left, plan, dice),
        };
        left -= wish.spec.items.count();
        wishes.push(wish);
    }
    for wish in &mut wishes {
        wish.at = dice.millis(0, plan.span.0 * 2 / 3);
    }
    wishes.sort_by_key(|wish| wish.at);
    // Dependencies go to earlier ones, so they are drawn when the order is known.
    if plan.variety == Variety::Everything {
        for (number, wish) in wishes.iter_mut().enumerate().skip(1) {
            while dice.percent(20) {
                let condition = dice.one_of(&[DependencyCondition::Succeeded, DependencyCondition::Ended]);
                wish.after.push((dice.index(number), condition));
            }
        }
    }
    wishes
}

fn wish(number: usize, items: Items, character: Character) -> Wish {
    let key = format!("wish-{number}");
    let spec =
        JobSpec { name: Some(key.clone()), items, ..JobSpec::single(CommandLine::Exec(vec!["simulated".into()])) };
    Wish { key, spec, after: Vec::new(), character, at: Millis(0), cancel: None, retry: false, forget: false }
}

/// Big arrays of tasks of seconds; one in fifty fails.
fn plain(number: usize, left: u64, dice: &mut Dice) -> Wish {
    let count = dice.between(1, 10_000).min(left);
    let items = Items::Range { first: 1, last: count, step: 1 };
    wish(number, items, Character { fails: 2, ..good(500, 15_000) })
}

/// One of every kind of job, at random.
fn anything(number: usize, left: u64, plan: &Plan, dice: &mut Dice) -> Wish {
    let items = items(left, plan, dice);
    let mut wish = wish(number, items, character(plan, dice));
    let spec = &mut wish.spec;
    spec.priority = i32::try_from(dice.between(0, 4)).unwrap_or(0) - 1;
    spec.demand = demand(dice);
    if dice.percent(20) {
        let label = dice.one_of(&[("zone", "a"), ("name", "w0"), ("os", "linux"), ("arch", "x86_64")]);
        spec.labels = BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]);
    }
    spec.time_limit = match dice.between(0, 9) {
        // Many that hang, for five minutes each and one after another, would only make it long.
        0..6 if wish.character.hangs < 10 => TimeLimit::Dispatcher,
        6 if wish.character.hangs == 0 => TimeLimit::Unlimited,
        _ => TimeLimit::Limited(dice.millis(500, 40_000)),
    };
    spec.retry = retry(dice);
    spec.max_concurrent = dice.percent(20).then(|| u32::try_from(dice.between(1, 5)).unwrap_or(1));
    spec.max_fails = dice.percent(15).then(|| u32::try_from(dice.between(1, 5)).unwrap_or(1));
    spec.exclusive = dice.percent(plan.delicate);
    spec.no_retry = dice.percent(plan.delicate);
    if items_are_single(&spec.items) && dice.percent(25) {
        spec.output = OutputMode::Attached;
    }
    // A `run` of an array streams nothing and has a client all the same.
    spec.client_grace = dice.percent(20).then(|| dice.mostly_short(0, 120_000));
    spec.isolation = dice.one_of(&[Isolation::None, Isolation::Basic]);
    wish.cancel = dice.percent(12).then(|| dice.mostly_short(0, 30_000));
    wish.retry = dice.percent(15);
    wish.forget = dice.percent(10);
    wish
}

fn items_are_single(items: &Items) -> bool {
    matches!(items, Items::Single)
}

fn items(left: u64, plan: &Plan, dice: &mut Dice) -> Items {
    match dice.between(0, 9) {
        0..4 => Items::Single,
        4..7 => {
            let count = dice.between(1, 12).min(left);
            Items::List((0..count).map(|item| RawString::from(item.to_string())).collect())
        }
        _ => {
            let count = dice.between(1, (plan.tasks / 4).max(1)).min(left);
            let (first, step) = (dice.between(0, 50), dice.between(1, 7));
            let range = Items::Range { first, last: first + (count - 1) * step, step };
            // Some are lists of numbers: every third one is left out.
            let kept = (0..count).filter(|position| step != 7 || position % 3 != 1).collect();
            range.clone().at_positions(&kept).unwrap_or(range)
        }
    }
}

fn character(plan: &Plan, dice: &mut Dice) -> Character {
    let long = dice.percent(plan.long);
    let runs = if long { (5_000, 90_000) } else { dice.one_of(&[(1, 50), (20, 3_000), (500, 10_000)]) };
    match dice.between(0, 9) {
        0..5 => good(runs.0, runs.1),
        5 => Character { fails: 100, ..good(runs.0, runs.1) },
        6 => Character { unstartable: 30, ..good(runs.0, runs.1) },
        7 => Character { hangs: 30, stubborn: 50, ..good(runs.0, runs.1) },
        _ => Character { fails: 20, crashes: 10, unstartable: 2, hangs: 2, stubborn: 20, ..good(runs.0, runs.1) },
    }
}

fn demand(dice: &mut Dice) -> Demand {
    let mut demand = Demand::default();
    if dice.percent(30) {
        demand.cpu = MilliCpu(dice.one_of(&[250, 1000, 2000, 4000]));
    }
    if dice.percent(20) {
        demand.memory_bytes = dice.one_of(&[1 << 28, 1 << 30, 6 << 30]);
    }
    if dice.percent(10) {
        demand.gpus = dice.one_of(&[1, 1, 2]);
    }
    if dice.percent(10) {
        demand.resources = BTreeMap::from([("licence".to_owned(), dice.between(1, 3))]);
    }
    demand
}

fn retry(dice: &mut Dice) -> RetryPolicy {
    let limit = dice.one_of(&[None, None, Some(0), Some(1), Some(6)]);
    let backoff =
        Backoff { min: Millis(dice.one_of(&[0, 100, 1_000])), max: Millis(dice.one_of(&[1_000, 20_000, 60_000])) };
    let on = RetryOn {
        codes: dice.percent(20).then(|| vec![1, 2]),
        signal: dice.percent(80),
        oom: true,
        timeout: dice.percent(30),
    };
    RetryPolicy { limit, backoff, on }
}

/// What worker `number` brings; worker 0 has some of everything.
pub(super) fn profile(number: usize, plan: &Plan, dice: &mut Dice) -> WorkerProfile {
    let capacity = if number == 0 || plan.variety == Variety::Plain {
        let resources = BTreeMap::from([("licence".to_owned(), 3)]);
        Capacity { slots: plan.slots, cpu: MilliCpu(8_000), memory_bytes: 16 << 30, gpus: 2, resources }
    } else {
        Capacity {
            slots: u32::try_from(dice.between(1, u64::from(plan.slots))).unwrap_or(1),
            cpu: MilliCpu(dice.one_of(&[1_000, 2_000, 4_000, 8_000])),
            memory_bytes: dice.one_of(&[1 << 30, 4 << 30, 16 << 30]),
            gpus: dice.one_of(&[0, 0, 1, 2]),
            resources: BTreeMap::new(),
        }
    };
    let named = number == 0 || dice.percent(70);
    let asked = if plan.twins && number == 2 { 1 } else { number };
    let zone = if number == 0 { "a" } else { dice.one_of(&["a", "b"]) };
    WorkerProfile {
        name: if named { format!("w{asked}").parse().ok() } else { None },
        capacity,
        labels: BTreeMap::from([("zone".to_owned(), zone.to_owned())]),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        isolation: Isolation::Basic,
        place: None,
    }
}
