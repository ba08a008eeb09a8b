//! How far jobs are, while somebody looks: a bar on a terminal, else a line now
//! and then.
//!
//! The one invariant: a terminal shows the newest news with at most a moment's
//! delay; a file gets a line every few seconds at most, and only when something
//! has changed. `--quiet` gets nothing. Absent: where the news comes from.

use std::collections::VecDeque;
use std::time::Duration;

use super::{say, screen, text};
use crate::model::views::{JobView, TaskTotals};
use crate::model::{Millis, Timestamp};
use crate::node::Clock;

/// Between two looks at the clock while there is no news: what is left goes on shrinking.
const TICK: Duration = Duration::from_millis(250);

/// A bar that would be gone before anybody has read it is not shown.
const PATIENCE: Millis = Millis(500);

/// Between two lines where there is no bar.
const LINES_EVERY: Millis = Millis::from_secs(5);

/// How far back the rate is taken over, and between two samples for that.
const WINDOW: Millis = Millis::from_secs(30);
const SAMPLE: Millis = Millis(500);

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Bar,
    Lines,
}

/// Shows how far jobs are.
pub(crate) struct Meter {
    place: Place,
    /// Whether somebody has asked for it, and is told of the end in any case.
    asked: bool,
    clock: Clock,
    began_at: Timestamp,
    /// When the last line was written.
    told_at: Timestamp,
    /// Whether anything was shown.
    shown: bool,
    name: String,
    totals: TaskTotals,
    /// What the last line said.
    told: TaskTotals,
    pace: Pace,
}

impl Meter {
    /// For a command that shows progress beside what it is for: short jobs pass without a word.
    pub(crate) fn beside(quiet: bool) -> Self {
        Self::new(quiet, false)
    }

    /// For a command that was told to show it.
    pub(crate) fn asked_for(quiet: bool) -> Self {
        Self::new(quiet, true)
    }

    fn new(quiet: bool, asked: bool) -> Self {
        let place = match (quiet, screen::can_draw()) {
            (true, _) => Place::Nowhere,
            (false, true) => Place::Bar,
            (false, false) => Place::Lines,
        };
        let clock = Clock::anchored_now();
        let now = clock.now();
        Self {
            place,
            asked,
            clock,
            began_at: now,
            told_at: now,
            shown: false,
            name: String::new(),
            totals: TaskTotals::default(),
            told: TaskTotals::default(),
            pace: Pace::default(),
        }
    }

    /// Takes note of how the jobs stand now.
    pub(crate) fn news(&mut self, jobs: &[JobView]) {
        self.name = match jobs {
            [one] => format!("job {}", one.job),
            several => text::count(several.len() as u64, "job"),
        };
        self.totals = sum(jobs.iter().map(|job| &job.tasks));
        self.pace.note(self.clock.now(), self.totals.ended());
        self.show();
    }

    /// Waits for `work` and keeps what is shown alive meanwhile.
    pub(crate) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        if self.place == Place::Nowhere {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(TICK) => self.show(),
            }
        }
    }

    fn show(&mut self) {
        let now = self.clock.now();
        if self.totals.total == 0 {
            return;
        }
        match self.place {
            Place::Bar if self.shown || now.since(self.began_at) >= PATIENCE => {
                let text = format!("{}: {}", self.name, line(&self.totals, self.pace.per_second(now)));
                screen::draw(self.totals.ended(), self.totals.total, &text);
                self.shown = true;
            }
            Place::Lines if now.since(self.told_at) >= LINES_EVERY && self.totals != self.told => {
                say::plain(&format!("{}: {}", self.name, line(&self.totals, self.pace.per_second(now))));
                self.told_at = now;
                self.told = self.totals;
                self.shown = true;
            }
            _ => {}
        }
    }

    /// Takes the bar away and says what it came to.
    pub(crate) fn end(&mut self) {
        if self.place == Place::Bar {
            screen::clear();
        }
        if self.place != Place::Nowhere && (self.shown || self.asked) && self.totals.total > 0 {
            // Of what was over before anybody looked, nobody knows how long it took.
            let took = match self.pace.has_seen_an_end() {
                true => format!(" in {}", text::coarse(self.clock.now().since(self.began_at))),
                false => String::new(),
            };
            say::plain(&format!("{}: {}{took}", self.name, counts(&self.totals)));
        }
    }
}

impl Drop for Meter {
    /// However the command ends, no bar is left standing.
    fn drop(&mut self) {
        if self.place == Place::Bar && self.shown {
            screen::clear();
        }
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a TaskTotals>) -> TaskTotals {
    all.fold(TaskTotals::default(), |sum, one| TaskTotals {
        total: sum.total + one.total,
        waiting: sum.waiting + one.waiting,
        ready: sum.ready + one.ready,
        running: sum.running + one.running,
        succeeded: sum.succeeded + one.succeeded,
        failed: sum.failed + one.failed,
        cancelled: sum.cancelled + one.cancelled,
    })
}

/// `120 of 1000 done, 4 running, 2 failed`.
fn counts(totals: &TaskTotals) -> String {
    let mut text = format!("{} of {} done", totals.ended(), totals.total);
    for (count, word) in [(totals.running, "running"), (totals.failed, "failed"), (totals.cancelled, "cancelled")] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text
}

/// The same with how fast it goes and how long it will take at that.
fn line(totals: &TaskTotals, per_second: Option<f64>) -> String {
    let mut text = counts(totals);
    if let Some(rate) = per_second.filter(|rate| *rate > 0.0) {
        text.push_str(&format!(", {}", rate_text(rate)));
        let left = totals.total.saturating_sub(totals.ended()) as f64 / rate;
        if left > 0.0 {
            text.push_str(&format!(", {} left", text::coarse(Millis((left * 1000.0).max(1000.0) as u64))));
        }
    }
    text
}

/// `1250/s`, `12.3/s`, or by the minute or hour what is slower than that.
fn rate_text(per_second: f64) -> String {
    match per_second {
        fast if fast >= 100.0 => format!("{fast:.0}/s"),
        rate if rate >= 1.0 => format!("{rate:.1}/s"),
        slow if slow * 60.0 >= 1.0 => format!("{:.1}/min", slow * 60.0),
        slower => format!("{:.1}/h", slower * 3600.0),
    }
}

/// How fast tasks end: over the last half minute, or since the last end that is older than that.
#[derive(Debug, Default)]
struct Pace {
    /// When how many had ended, oldest first; at most a window of them and one before it.
    samples: VecDeque<(Timestamp, u64)>,
    latest: u64,
}

impl Pace {
    fn note(&mut self, now: Timestamp, ended: u64) {
        self.latest = ended;
        // Tasks that are done again have not ended any more.
        while self.samples.back().is_some_and(|(_, before)| *before > ended) {
            self.samples.pop_back();
        }
        if self.samples.back().is_none_or(|(at, before)| now.since(*at) >= SAMPLE && *before != ended) {
            self.samples.push_back((now, ended));
        }
        // The one before the window stays: slow tasks may not end more often than that.
        while self.samples.get(1).is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Whether anything has ended while we looked.
    fn has_seen_an_end(&self) -> bool {
        self.samples.front().is_some_and(|(_, before)| *before < self.latest)
    }

    /// `None` before anything has ended while we looked.
    fn per_second(&self, now: Timestamp) -> Option<f64> {
        let (since, before) = self.samples.front()?;
        let span = now.since(*since).0 as f64 / 1000.0;
        (self.latest > *before && span > 0.0).then(|| (self.latest - before) as f64 / span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_line_says_how_many_are_done_and_how_long_the_rest_takes() {
        let totals = TaskTotals { total: 1000, running: 4, succeeded: 118, failed: 2, ..TaskTotals::default() };
        assert_eq!(line(&totals, None), "120 of 1000 done, 4 running, 2 failed");
        assert_eq!(line(&totals, Some(12.5)), "120 of 1000 done, 4 running, 2 failed, 12.5/s, 1 min left");
        let done = TaskTotals { total: 3, succeeded: 3, ..TaskTotals::default() };
        assert_eq!(line(&done, Some(1.0)), "3 of 3 done, 1.0/s");
    }

    #[test]
    fn what_is_slow_is_told_by_the_minute_or_the_hour() {
        let told = [1250.4, 99.0, 0.5, 0.001].map(rate_text);
        assert_eq!(told, ["1250/s", "99.0/s", "30.0/min", "3.6/h"]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let mut pace = Pace::default();
        pace.note(at(0), 500);
        assert_eq!(pace.per_second(at(1)), None, "nothing has ended while we looked");
        for second in 1..=100 {
            pace.note(at(second), 500 + second);
        }
        for second in 101..=200 {
            pace.note(at(second), 600 + (second - 100) * 10);
        }
        assert!(pace.per_second(at(200)).is_some_and(|rate| (9.0..11.0).contains(&rate)), "{pace:?}");
        assert!(pace.samples.len() <= 64, "samples are kept for the window alone");
    }

    #[test]
    fn slow_tasks_have_a_rate_as_well_and_those_done_again_do_no_harm() {
        let mut pace = Pace::default();
        pace.note(at(0), 0);
        pace.note(at(600), 4);
        assert!(pace.per_second(at(600)).is_some_and(|rate| (0.005..0.01).contains(&rate)), "{pace:?}");
        pace.note(at(601), 1);
        assert!(pace.per_second(at(601)).is_none_or(|rate| rate >= 0.0));
    }
}
