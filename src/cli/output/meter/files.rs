//! How files travel: up before a submission, down after an end.

use super::pace::Pace;
use super::{Surface, text, time_left};
use crate::client::files::ByteCount;

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moving {
    /// To the dispatcher.
    Up,
    /// To this machine.
    Down,
}

/// Shows how many bytes of files have moved; what takes a moment only passes without a word.
pub(crate) struct FileMeter {
    surface: Surface,
    way: Moving,
    count: ByteCount,
    /// How many are to move in all, as far as that is known.
    total: u64,
    pace: Pace,
}

impl FileMeter {
    pub(crate) fn new(way: Moving, quiet: bool) -> Self {
        Self { surface: Surface::new(quiet), way, count: ByteCount::default(), total: 0, pace: Pace::default() }
    }

    /// What whoever moves them counts with.
    pub(crate) fn count(&self) -> ByteCount {
        self.count.clone()
    }

    /// So many are left to move, whatever was said before.
    pub(crate) fn left(&mut self, bytes: u64) {
        self.begin();
        // While nothing could move there was no rate.
        self.pace = Pace::default();
        self.total = self.count.bytes().saturating_add(bytes);
    }

    /// So many more are to move.
    pub(crate) fn more(&mut self, bytes: u64) {
        self.begin();
        self.total = self.total.saturating_add(bytes);
    }

    /// Before anything is to move, time does not count.
    fn begin(&mut self) {
        if self.total == 0 {
            self.surface.begin();
        }
    }

    /// Waits for `work` and shows how far it is.
    pub(crate) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let Self { surface, way, count, total, pace } = self;
        let show = |surface: &mut Surface| {
            let now = surface.now();
            let done = count.bytes().min(*total);
            pace.note(now, done);
            let outlook = pace.per_second(now).map_or(String::new(), |rate| outlook(*total - done, rate));
            surface.show(done, *total, &facts(*way, done, *total), &outlook);
        };
        surface.meanwhile(work, show).await
    }

    /// Takes the bar away and says what it came to, if it was worth showing.
    pub(crate) fn end(&mut self) {
        let took = text::coarse(self.surface.now().since(self.surface.began_at));
        let word = match self.way {
            Moving::Up => "uploaded",
            Moving::Down => "fetched",
        };
        self.surface.end(false, &format!("{word} {} in {took}", text::bytes(self.count.bytes().min(self.total))));
    }
}

/// `uploading 120 MiB of 2 GiB`.
fn facts(way: Moving, done: u64, total: u64) -> String {
    let word = match way {
        Moving::Up => "uploading",
        Moving::Down => "fetching",
    };
    format!("{word} {} of {}", text::bytes(done), text::bytes(total))
}

/// How fast it goes and how long what is left takes, behind a comma.
fn outlook(left: u64, per_second: f64) -> String {
    format!(", {}/s{}", text::bytes(per_second as u64), time_left(left, per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_has_moved_and_how_long_the_rest_takes() {
        assert_eq!(facts(Moving::Up, 120 << 20, 2 << 30), "uploading 120 MiB of 2 GiB");
        assert_eq!(outlook(100 << 20, (10 << 20) as f64), ", 10 MiB/s, 10 s left");
        assert_eq!(outlook(0, 2048.0), ", 2 KiB/s");
    }

    #[test]
    fn what_moved_before_a_link_broke_counts_as_moved() {
        let mut meter = FileMeter::new(Moving::Up, true);
        meter.left(100);
        meter.count().add(30);
        meter.left(70);
        assert_eq!(meter.total, 100);
    }
}
