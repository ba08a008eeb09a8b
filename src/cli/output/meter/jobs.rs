//! How far jobs are.

use super::pace::Pace;
use super::{Surface, text, time_left};
use crate::model::views::{JobView, TaskTotals};

/// Shows how far jobs are.
pub(crate) struct Meter {
    surface: Surface,
    /// Whether somebody has asked for it, and is told of the end in any case.
    asked: bool,
    shown: Shown,
}

/// What is shown of them.
#[derive(Default)]
struct Shown {
    name: String,
    totals: TaskTotals,
    pace: Pace,
}

impl Meter {
    /// For a command that shows progress beside what it is for: short jobs pass without a word.
    pub(crate) fn beside(quiet: bool) -> Self {
        Self { surface: Surface::new(quiet), asked: false, shown: Shown::default() }
    }

    /// For a command that was told to show it.
    pub(crate) fn asked_for(quiet: bool) -> Self {
        Self { asked: true, ..Self::beside(quiet) }
    }

    /// Takes note of how the jobs stand now.
    pub(crate) fn news(&mut self, jobs: &[JobView]) {
        self.shown.name = match jobs {
            [one] => format!("job {}", one.job),
            several => text::count(several.len() as u64, "job"),
        };
        self.shown.totals = sum(jobs.iter().map(|job| &job.tasks));
        self.shown.pace.note(self.surface.now(), self.shown.totals.ended());
        self.shown.on(&mut self.surface);
    }

    /// Waits for `work` and keeps what is shown alive meanwhile.
    pub(crate) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let shown = &self.shown;
        self.surface.meanwhile(work, |surface| shown.on(surface)).await
    }

    /// Takes the bar away and says what it came to.
    pub(crate) fn end(&mut self) {
        let Shown { name, totals, pace } = &self.shown;
        // Of what was over before anybody looked, nobody knows how long it took.
        let took = match pace.has_grown() {
            true => format!(" in {}", text::coarse(self.surface.now().since(self.surface.began_at))),
            false => String::new(),
        };
        self.surface.end(self.asked && totals.total > 0, &format!("{name}: {}{took}", counts(totals)));
    }
}

impl Shown {
    fn on(&self, surface: &mut Surface) {
        if self.totals.total > 0 {
            let outlook = outlook(&self.totals, self.pace.per_second(surface.now()));
            let facts = format!("{}: {}", self.name, counts(&self.totals));
            surface.show(self.totals.ended(), self.totals.total, &facts, &outlook);
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

/// How fast it goes and how long the rest will take at that, behind a comma.
fn outlook(totals: &TaskTotals, per_second: Option<f64>) -> String {
    let Some(rate) = per_second.filter(|rate| *rate > 0.0) else { return String::new() };
    format!(", {}{}", rate_text(rate), time_left(totals.total.saturating_sub(totals.ended()), rate))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_many_are_done_and_how_long_the_rest_takes() {
        let totals = TaskTotals { total: 1000, running: 4, succeeded: 118, failed: 2, ..TaskTotals::default() };
        assert_eq!(counts(&totals), "120 of 1000 done, 4 running, 2 failed");
        assert_eq!(outlook(&totals, None), "");
        assert_eq!(outlook(&totals, Some(12.5)), ", 12.5/s, 1 min left");
        let done = TaskTotals { total: 3, succeeded: 3, ..TaskTotals::default() };
        assert_eq!(outlook(&done, Some(1.0)), ", 1.0/s", "nothing is left");
    }

    #[test]
    fn what_is_slow_is_told_by_the_minute_or_the_hour() {
        let told = [1250.4, 99.0, 0.5, 0.001].map(rate_text);
        assert_eq!(told, ["1250/s", "99.0/s", "30.0/min", "3.6/h"]);
    }
}
