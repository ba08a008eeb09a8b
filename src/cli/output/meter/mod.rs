//! How far something is, while somebody looks: a bar on a terminal, else a line
//! now and then.
//!
//! The one invariant: a terminal shows the newest news with at most a moment's
//! delay; a file gets a line every few seconds at most, and only when something
//! has changed. `--quiet` gets nothing. Absent: where the news comes from.

mod files;
mod jobs;
mod pace;

use std::time::Duration;

pub(crate) use files::{FileMeter, Moving};
pub(crate) use jobs::Meter;

use super::{say, screen, text};
use crate::model::{Millis, Timestamp};
use crate::node::Clock;

/// Between two looks at the clock while there is no news: what is left goes on shrinking.
const TICK: Duration = Duration::from_millis(250);

/// A bar that would be gone before anybody has read it is not shown.
const PATIENCE: Millis = Millis(500);

/// Between two lines where there is no bar.
const LINES_EVERY: Millis = Millis::from_secs(5);

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Bar,
    Lines,
}

/// The place where one thing's progress is shown, and when that was done last.
struct Surface {
    place: Place,
    clock: Clock,
    began_at: Timestamp,
    /// When the last line was written.
    told_at: Timestamp,
    /// What it said.
    told: String,
    /// Whether anything was shown.
    shown: bool,
}

impl Surface {
    fn new(quiet: bool) -> Self {
        let place = match (quiet, screen::can_draw()) {
            (true, _) => Place::Nowhere,
            (false, true) => Place::Bar,
            (false, false) => Place::Lines,
        };
        let clock = Clock::anchored_now();
        let now = clock.now();
        Self { place, clock, began_at: now, told_at: now, told: String::new(), shown: false }
    }

    /// What is shown begins now.
    fn begin(&mut self) {
        self.began_at = self.now();
        self.told_at = self.began_at;
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits for `work`; what is shown is kept alive by `show` meanwhile.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>, mut show: impl FnMut(&mut Self)) -> T {
        if self.place == Place::Nowhere {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(TICK) => show(self),
            }
        }
    }

    /// Shows `facts` where it is time to, and behind them `outlook`, which alone is no reason for another line.
    fn show(&mut self, done: u64, total: u64, facts: &str, outlook: &str) {
        let now = self.now();
        match self.place {
            Place::Bar if self.shown || now.since(self.began_at) >= PATIENCE => {
                screen::draw(done, total, &format!("{facts}{outlook}"));
            }
            Place::Lines if now.since(self.told_at) >= LINES_EVERY && self.told != facts => {
                say::plain(&format!("{facts}{outlook}"));
                self.told_at = now;
                facts.clone_into(&mut self.told);
            }
            _ => return,
        }
        self.shown = true;
    }

    /// Takes the bar away and, where anything was shown or `always`, says what it came to.
    fn end(&mut self, always: bool, text: &str) {
        if self.place == Place::Bar {
            screen::clear();
        }
        if self.place != Place::Nowhere && (self.shown || always) {
            say::plain(text);
        }
        self.shown = false;
    }
}

impl Drop for Surface {
    /// However the command ends, no bar is left standing.
    fn drop(&mut self) {
        if self.place == Place::Bar && self.shown {
            screen::clear();
        }
    }
}

/// How long what is left takes at this rate, behind a comma; empty when nothing is left or the rate is not known.
fn time_left(left: u64, per_second: f64) -> String {
    if left == 0 || per_second <= 0.0 {
        return String::new();
    }
    let millis = (left as f64 / per_second * 1000.0).max(1000.0);
    format!(", {} left", text::coarse(Millis(millis as u64)))
}
