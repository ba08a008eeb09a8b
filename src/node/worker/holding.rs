//! Whether outputs stay on this worker, and what becomes of them when it drains
//! or stops.
//!
//! ```text
//! drain, stop ─▶ bring home ─▶ BroughtHome ─▶ (stop) the loop ends
//! ```
//!
//! The one invariant: a worker that stops in order leaves nothing behind that
//! only it has, unless it was told to hurry or has no dispatcher; and then it
//! says so. Absent: moving bytes (`files`).

use std::time::Duration;

use tokio::task::AbortHandle;

use super::shell::{Event, Shell};
use crate::engine::worker::WorkerNotice;

/// Time between two reviews of what is held: a forgotten job's outputs stay no longer than this beyond it.
const REVIEW_EVERY: Duration = Duration::from_secs(600);
/// The same after one that failed, on a link that stands: until there was one nothing is removed.
const REVIEW_AGAIN: Duration = Duration::from_secs(5);

/// How a worker stands to its outputs.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Whether the dispatcher's cluster lets nodes hold anything for each other.
    agreed: bool,
    /// Whether this worker is to be emptied.
    draining: bool,
    /// Reviews what is held, link after link.
    reviews: Option<AbortHandle>,
    bringing_home: BringingHome,
}

/// How far a worker that stops is with what only it has.
#[derive(Debug, Default)]
enum BringingHome {
    #[default]
    NotBegun,
    Underway(AbortHandle),
    Over,
}

impl Shell {
    /// The dispatcher has let this worker in, and nodes of its cluster may hold outputs or may not.
    pub(super) fn holding_agreed(&mut self, agreed: bool) {
        self.holding.agreed = agreed;
        if !self.stock.outlives_worker() || self.stopping {
            return;
        }
        let stock = self.stock.clone();
        let reviews = self.tasks.spawn(async move {
            loop {
                let pause = match stock.review().await {
                    Ok(_) => REVIEW_EVERY,
                    Err(error) => {
                        tracing::debug!("What is held here is looked at later: failed to {error}");
                        REVIEW_AGAIN
                    }
                };
                tokio::time::sleep(pause).await;
            }
        });
        if let Some(former) = self.holding.reviews.replace(reviews) {
            former.abort();
        }
        if self.holding.draining {
            // The link on which that was begun may have broken.
            self.bring_home(false);
        }
    }

    /// Whether the outputs of an attempt that ends now stay here.
    pub(super) fn holds_outputs(&self) -> bool {
        self.holding.agreed && !self.holding.draining && !self.stopping && self.stock.can_hold()
    }

    /// A worker that drains is on its way out: what only it has goes to the dispatcher at once.
    pub(super) fn note_draining(&mut self, notice: &WorkerNotice) {
        match notice {
            WorkerNotice::Draining => {
                self.holding.draining = true;
                self.bring_home(false);
            }
            WorkerNotice::Resumed => self.holding.draining = false,
            _ => {}
        }
    }

    fn bring_home(&mut self, to_stop: bool) -> AbortHandle {
        let (stock, events) = (self.stock.clone(), self.wires.events.clone());
        self.tasks.spawn(async move {
            let brought = stock.bring_home().await.map_err(|error| error.to_string());
            let _ = events.send(Event::BroughtHome { to_stop, brought }).await;
        })
    }

    /// Whether a worker that has stopped otherwise may go: what only it has is with the dispatcher, or cannot get there.
    pub(super) fn left_nothing_behind(&mut self) -> bool {
        if let Some(reviews) = self.holding.reviews.take() {
            reviews.abort();
        }
        let held = self.stock.held_count();
        match &self.holding.bringing_home {
            BringingHome::Over => return true,
            BringingHome::Underway(_) if !self.hurried => return false,
            BringingHome::Underway(handing) => {
                handing.abort();
                say_left_behind(held, "told to hurry");
            }
            BringingHome::NotBegun if !self.stock.outlives_worker() => {}
            BringingHome::NotBegun if self.hurried || self.outgoing.is_none() => {
                say_left_behind(held, if self.hurried { "told to hurry" } else { "no dispatcher is connected" });
            }
            BringingHome::NotBegun => {
                if held > 0 {
                    tracing::info!("Stopping: copying outputs that only this worker has to the dispatcher");
                }
                self.holding.bringing_home = BringingHome::Underway(self.bring_home(true));
                return false;
            }
        }
        self.holding.bringing_home = BringingHome::Over;
        true
    }

    /// What only this worker had was copied, or was not.
    pub(super) fn brought_home(&mut self, to_stop: bool, brought: Result<u64, String>) {
        match brought {
            Ok(0) => {}
            Ok(1) => tracing::info!("Copied 1 output that only this worker had to the dispatcher"),
            Ok(count) => tracing::info!("Copied {count} outputs that only this worker had to the dispatcher"),
            Err(error) => tracing::warn!("Outputs that only this worker has stay here: failed to {error}"),
        }
        // One that a drain began does not know of all that the stop has to bring.
        if let (true, BringingHome::Underway(_)) = (to_stop, &self.holding.bringing_home) {
            self.holding.bringing_home = BringingHome::Over;
        }
    }

    /// A worker that stops does not wait for a dispatcher that has gone.
    pub(super) fn link_lost_in_bringing_home(&mut self) {
        if let BringingHome::Underway(handing) = &self.holding.bringing_home {
            handing.abort();
            say_left_behind(self.stock.held_count(), "the dispatcher has gone");
            self.holding.bringing_home = BringingHome::Over;
        }
    }
}

fn say_left_behind(held: u64, why: &str) {
    match held {
        0 => {}
        1 => tracing::warn!("Stopping: 1 output that only this worker has stays here ({why})"),
        more => tracing::warn!("Stopping: {more} outputs that only this worker has stay here ({why})"),
    }
}
