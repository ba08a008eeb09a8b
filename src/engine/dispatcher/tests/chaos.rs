//! Long random histories: nothing that the audit checks ever breaks, what is
//! written is what is so, and everything ends once the trouble does.

use super::*;
use crate::model::spec::{Backoff, Dependency, DependencyCondition, RetryPolicy};

const WORKERS: [&str; 4] = ["a", "b", "c", "d"];

/// A fixed sequence of numbers for a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() { None } else { Some(list[self.roll(list.len() as u64) as usize]) }
    }
}

struct Chaos {
    scene: Scene,
    dice: Dice,
    jobs: Vec<JobId>,
}

impl Chaos {
    fn spec(&mut self) -> JobSpec {
        let dice = &mut self.dice;
        let demand = Demand {
            cpu: MilliCpu(dice.roll(3) as u32 * 700),
            memory_bytes: dice.roll(4) * 300,
            gpus: if dice.one_in(4) { dice.roll(3) as u32 } else { 0 },
            resources: BTreeMap::new(),
        };
        let condition = if dice.one_in(2) { DependencyCondition::Succeeded } else { DependencyCondition::Ended };
        let alive: Vec<JobId> = self.jobs.iter().copied().filter(|job| self.scene.engine.knows(*job)).collect();
        let after = if dice.one_in(4) { dice.pick(&alive) } else { None };
        JobSpec {
            demand,
            priority: dice.roll(3) as i32,
            max_concurrent: dice.one_in(4).then_some(2),
            max_fails: dice.one_in(6).then_some(2),
            exclusive: dice.one_in(6),
            no_retry: dice.one_in(6),
            after: after.map(|job| Dependency { job, condition }).into_iter().collect(),
            retry: RetryPolicy {
                limit: Some(dice.roll(3) as u32),
                backoff: Backoff { min: Millis(100), max: Millis(3000) },
                ..RetryPolicy::default()
            },
            ..array(1 + dice.roll(9))
        }
    }

    fn capacity(who: &str) -> Capacity {
        let size = 1 + u32::from(who.as_bytes()[0] - b'a');
        Capacity {
            slots: 2 * size,
            cpu: MilliCpu(1500 * size),
            memory_bytes: 500 * u64::from(size),
            gpus: size - 1,
            resources: BTreeMap::new(),
        }
    }

    fn is_connected(&self, who: &'static str) -> bool {
        let link = self.scene.workers.get(who).map(|worker| worker.link);
        link.is_some_and(|link| self.scene.engine.links.contains_key(&link))
    }

    /// A worker that is not connected comes: as it was, or as a new instance.
    fn comes(&mut self, who: &'static str, anew: bool) {
        match self.scene.workers.get(who).map(|worker| worker.instance) {
            None => self.scene.worker(who, Self::capacity(who)),
            Some(_) if anew => self.scene.restarts(who),
            Some(_) => {
                let beats_again = |worker: &mut Played| worker.beats = true;
                self.scene.reconnects(who);
                beats_again(self.scene.workers.get_mut(who).expect("it came"));
                self.reports_what_it_is_told_to_end(who);
            }
        }
    }

    fn reports_what_it_is_told_to_end(&mut self, who: &'static str) {
        for cancel in std::mem::take(&mut self.scene.workers.get_mut(who).expect("a worker").told_to_end) {
            let held = self.scene.workers[who].holds.get(&cancel.id.task);
            if held.is_some_and(|held| held.fence == cancel.fence) {
                self.scene.ends(who, cancel.id.task, Outcome::Cancelled(cancel.why));
            }
        }
    }

    fn works(&mut self, who: &'static str) {
        let Some(task) = self.dice.pick(&self.scene.on(who)) else { return };
        match self.dice.roll(10) {
            0 => self.scene.starts(who, task),
            1 => self.scene.gives_back(who, task),
            2 => self.scene.ends(who, task, Outcome::Lost),
            3 | 4 => self.scene.ends(who, task, exit(1)),
            5 => {
                let assignment = self.scene.workers[who].holds[&task].clone();
                self.scene.ends(who, task, OK);
                self.scene.reports(who, &assignment, exit(1));
            }
            _ => self.scene.ends(who, task, OK),
        }
    }

    fn misbehaves(&mut self, who: &'static str) {
        match (self.is_connected(who), self.dice.roll(5)) {
            (true, 0 | 1) => self.scene.loses_its_link(who),
            (true, 2) => self.scene.guard_reports(who),
            (true, 3) => self.scene.falls_silent(who),
            (true, _) => {
                self.scene.says(who, WorkerMessage::Stopping);
                self.scene.loses_its_link(who);
                self.scene.workers.get_mut(who).expect("a worker").holds.clear();
            }
            (false, roll) => self.comes(who, roll < 2),
        }
    }

    fn is_asked(&mut self) {
        let Some(id) = self.dice.pick(&self.jobs) else { return };
        if !self.scene.ledger.has(id) {
            return;
        }
        let one = vec![Part::Task(task(id, 1 + self.dice.roll(3)))];
        match self.dice.roll(6) {
            0 => {
                _ = self.scene.answer(
                    "admin",
                    Call::Cancel { parts: job(id), whose: Whose::Allowed, why: Cancellation::Interrupted },
                )
            }
            1 => {
                _ = self
                    .scene
                    .answer("admin", Call::Cancel { parts: one, whose: Whose::Allowed, why: Cancellation::Interrupted })
            }
            2 | 3 => {
                let parts = if self.dice.one_in(2) { job(id) } else { one };
                let recalled = self.scene.ledger.recall(id).filter(|_| self.scene.ended(id).is_some());
                let (failed_only, recalled) = (self.dice.one_in(2), recalled.into_iter().collect());
                _ = self.scene.answer("admin", Call::Retry { parts, whose: Whose::Allowed, failed_only, recalled });
            }
            4 => _ = self.scene.ask("admin", Call::Watch(vec![id])),
            _ => {
                _ = self.scene.answer("admin", Call::Explain(job(id)));
                _ = self.scene.answer("admin", Call::Forget { jobs: vec![(id, key("admin"))], whose: Whose::Own });
            }
        }
    }

    fn step(&mut self) {
        let who = self.dice.pick(&WORKERS).expect("there are workers");
        match self.dice.roll(40) {
            0..4 => {
                let spec = self.spec();
                let job = self.scene.submit(spec);
                self.jobs.push(job);
            }
            4..8 => self.is_asked(),
            8..11 => self.misbehaves(who),
            11..16 => {
                let span = Millis(self.dice.roll(2000));
                self.scene.pass(span);
            }
            16 if self.dice.one_in(4) => self.scene.pass(secs(30)),
            17 if self.dice.one_in(10) => self.scene.dispatcher_restarts(),
            _ if self.is_connected(who) => {
                self.reports_what_it_is_told_to_end(who);
                if self.is_connected(who) {
                    self.works(who);
                }
            }
            _ => {}
        }
        self.compare();
    }

    /// What is written down is what is so.
    fn compare(&self) {
        let engine = &self.scene.engine;
        for job in engine.jobs.iter().filter(|job| job.ended_at.is_none()) {
            for position in 0..job.spec().items.count() {
                let task = job.task_id(position);
                let (is, written) = (job.state_of(position), self.scene.state(task));
                let same = match (is, written) {
                    (TaskState::Waiting | TaskState::Ready, TaskState::Waiting | TaskState::Ready) => true,
                    _ => is == written,
                };
                assert!(same, "{task} is {is} and written down as {written}");
            }
        }
    }

    /// The trouble is over: everybody comes back and works.
    fn calms_down(&mut self) {
        for who in WORKERS {
            if !self.is_connected(who) {
                self.comes(who, false);
            }
            self.scene.workers.get_mut(who).expect("it came").beats = true;
        }
        for _ in 0..400 {
            for who in WORKERS {
                if !self.is_connected(who) {
                    self.comes(who, false);
                }
                self.reports_what_it_is_told_to_end(who);
            }
            self.scene.works_off();
            self.scene.pass(secs(2));
            self.compare();
        }
    }
}

#[test]
fn random_histories_break_nothing_and_end() {
    for seed in 1..=8 {
        let mut chaos = Chaos { scene: Scene::new(), dice: Dice(seed), jobs: Vec::new() };
        for _ in 0..400 {
            chaos.step();
        }
        chaos.calms_down();
        for id in chaos.jobs.clone() {
            let over = chaos.scene.ended(id).is_some() || !chaos.scene.ledger.has(id);
            let explained = chaos.scene.answer("admin", Call::Explain(job(id)));
            assert!(over, "seed {seed}: job {id} has not ended: {explained:?}");
        }
    }
}
