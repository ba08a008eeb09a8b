//! Who is inside without being welcome yet.
//!
//! Invariant: at most [`MAX_STRANGERS`] connections are between their first
//! packet and their welcome, and those that are welcome never count. When there
//! is no room the oldest stranger goes, never the newest: a flood then pushes
//! out its own, and an honest node is through in milliseconds. Nodes that were
//! told to wait for approval are counted apart, at most [`MAX_HELD`], and a
//! flood of strangers does not touch them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::AbortHandle;

use super::settings::{MAX_HELD, MAX_STRANGERS, RETRY_ABOVE};
use super::{CloseCode, close};

/// The strangers of one endpoint.
#[derive(Default)]
pub(super) struct Gate(Mutex<Strangers>);

#[derive(Default)]
struct Strangers {
    next: u64,
    /// By order of arrival, so that the first is the oldest.
    inside: BTreeMap<u64, Stranger>,
    /// How many of them have not finished their handshake.
    handshakes: usize,
    /// Those that wait for approval. What is gone is noticed when the next one comes.
    held: Vec<Weak<HeldPlace>>,
}

/// The place of one connection that waits for approval: taken until its link's last clone is dropped, or
/// until the connection ends, whichever comes first.
pub(super) struct HeldPlace(quinn::Connection);

/// One connection that nobody has welcomed.
#[derive(Default)]
struct Stranger {
    /// What performs its handshake and reads its hello.
    task: Option<AbortHandle>,
    /// Once its handshake is finished.
    connection: Option<quinn::Connection>,
}

impl Gate {
    /// Whether a dialler must first show that it receives at its address.
    pub(super) fn is_busy(&self) -> bool {
        self.with(|strangers| strangers.handshakes > RETRY_ABOVE)
    }

    /// Lets one more stranger in, and the oldest out when there is no room.
    pub(super) fn enter(self: &Arc<Self>) -> Pass {
        let (number, evicted) = self.with(|strangers| {
            let evicted = if strangers.inside.len() >= MAX_STRANGERS { strangers.inside.pop_first() } else { None };
            if let Some((_, stranger)) = &evicted {
                strangers.handshakes -= usize::from(stranger.connection.is_none());
            }
            strangers.next += 1;
            strangers.handshakes += 1;
            strangers.inside.insert(strangers.next, Stranger::default());
            (strangers.next, evicted)
        });
        if let Some((_, stranger)) = evicted {
            stranger.leave(CloseCode::Crowded, "too many connections that have not been let in");
        }
        Pass { gate: self.clone(), number }
    }

    /// Names the task that serves stranger `number`, so that it can be ended.
    pub(super) fn served_by(&self, number: u64, task: AbortHandle) {
        self.with(|strangers| match strangers.inside.get_mut(&number) {
            Some(stranger) => stranger.task = Some(task),
            None => task.abort(),
        });
    }

    fn with<R>(&self, act: impl FnOnce(&mut Strangers) -> R) -> R {
        // Every change below is complete before anything can panic, so a poisoned lock is sound.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Stranger {
    fn leave(self, code: CloseCode, text: &str) {
        if let Some(connection) = self.connection {
            close::close(&connection, code, text);
        }
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

/// One stranger's place inside; given up when dropped, and its connection with it.
pub(super) struct Pass {
    gate: Arc<Gate>,
    number: u64,
}

impl Pass {
    /// Its number at the gate.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its handshake is finished.
    pub(super) fn shook_hands(&self, connection: &quinn::Connection) {
        self.gate.with(|strangers| match strangers.inside.get_mut(&self.number) {
            Some(stranger) => {
                stranger.connection = Some(connection.clone());
                strangers.handshakes -= 1;
            }
            None => close::close(connection, CloseCode::Crowded, "too many connections that have not been let in"),
        });
    }

    /// Closes its connection, if it has one, with a reason that it can read.
    pub(super) fn turn_away(self, code: CloseCode, text: &str) {
        self.leave(code, text);
    }

    fn leave(&self, code: CloseCode, text: &str) {
        if let Some(stranger) = self.gate.with(|strangers| strangers.remove(self.number)) {
            // Its task is the one that drops the pass, or is finished.
            Stranger { task: None, ..stranger }.leave(code, text);
        }
    }

    /// Finds a place for `connection` among those that wait for approval; `None` when there is none.
    pub(super) fn place_to_wait(&self, connection: &quinn::Connection) -> Option<Arc<HeldPlace>> {
        self.gate.with(|strangers| {
            strangers.held.retain(|place| place.upgrade().is_some_and(|place| place.0.close_reason().is_none()));
            (strangers.held.len() < MAX_HELD).then(|| {
                let place = Arc::new(HeldPlace(connection.clone()));
                strangers.held.push(Arc::downgrade(&place));
                place
            })
        })
    }

    /// It is welcome: its connection no longer counts and no longer depends on this pass.
    pub(super) fn admit(self) {
        // Only the entry goes; what is left of the pass finds nothing to close.
        drop(self.gate.with(|strangers| strangers.remove(self.number)));
    }
}

impl Strangers {
    fn remove(&mut self, number: u64) -> Option<Stranger> {
        let stranger = self.inside.remove(&number)?;
        self.handshakes -= usize::from(stranger.connection.is_none());
        Some(stranger)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.leave(CloseCode::Done, "not let in");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_pushes_out_the_oldest_stranger_and_never_grows_the_crowd() {
        let gate = Arc::new(Gate::default());
        let mut tasks = Vec::new();
        for _ in 0..MAX_STRANGERS + 10 {
            let pass = gate.enter();
            let number = pass.number();
            let task = tokio::spawn(async move {
                let _pass = pass;
                std::future::pending::<()>().await;
            });
            gate.served_by(number, task.abort_handle());
            tasks.push(task);
        }
        assert!(gate.is_busy());
        for (i, task) in tasks.drain(..10).enumerate() {
            assert!(task.await.unwrap_err().is_cancelled(), "stranger {i} is among the oldest");
        }
        gate.with(|strangers| {
            assert_eq!((strangers.inside.len(), strangers.handshakes), (MAX_STRANGERS, MAX_STRANGERS))
        });
        assert!(tasks.iter().all(|task| !task.is_finished()));
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        gate.with(|strangers| assert_eq!((strangers.inside.len(), strangers.handshakes), (0, 0)));
        assert!(!gate.is_busy());
    }

    #[test]
    fn who_is_welcome_no_longer_counts() {
        let gate = Arc::new(Gate::default());
        gate.enter().admit();
        gate.with(|strangers| assert_eq!((strangers.inside.len(), strangers.handshakes), (0, 0)));
    }
}
