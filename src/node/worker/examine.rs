//! A worker's answer to `doctor`: whom it reaches, and whose beacons come.
//!
//! Invariant: it takes about two seconds, whoever is silent, and changes
//! nothing. Absent: dialling (`mesh`), and any judgement of what is found.

use std::time::Duration;

use tokio::time::sleep;

use super::mesh::Mesh;
use crate::discovery::{self, Hearing};
use crate::model::examination::WorkerFindings;
use crate::model::limits::{MAX_BATCH, MAX_NEIGHBOURS};
use crate::node::Clock;

/// By when everybody has been asked; then all speak.
const BEFORE_SPEAKING: Duration = Duration::from_millis(300);
/// By when everybody has looked at its interfaces anew, which the first beacon does; only what comes later counts.
const BEFORE_LISTENING: Duration = Duration::from_millis(100);
/// Between two further beacons, of which one may be lost.
const BETWEEN: Duration = Duration::from_millis(300);
/// By when the last of them has arrived.
const BEFORE_COUNTING: Duration = Duration::from_millis(900);

/// What it takes to answer.
#[derive(Clone)]
pub(super) struct Examiner {
    pub(super) mesh: Mesh,
    /// `None` where no beacons are heard.
    pub(super) hearing: Option<Hearing>,
}

impl Examiner {
    /// Looks at everybody once.
    pub(super) async fn findings(&self) -> WorkerFindings {
        let (heard, peers) = tokio::join!(self.listen(), self.mesh.probe_all());
        let mut mute_interfaces = discovery::mute_interfaces();
        mute_interfaces.truncate(MAX_BATCH);
        WorkerFindings {
            clock: Clock::wall_now(),
            listens_for_beacons: self.hearing.as_ref().is_some_and(Hearing::is_listening),
            mute_interfaces,
            heard,
            peers,
        }
    }

    /// Speaks, while all others do, and says who was heard.
    async fn listen(&self) -> Vec<crate::model::NodeId> {
        let Some(hearing) = &self.hearing else { return Vec::new() };
        sleep(BEFORE_SPEAKING).await;
        hearing.speak_now();
        sleep(BEFORE_LISTENING).await;
        let since = hearing.now();
        for _ in 0..2 {
            sleep(BETWEEN).await;
            hearing.speak_now();
        }
        sleep(BEFORE_COUNTING).await;
        hearing.heard_since(since).into_iter().take(MAX_NEIGHBOURS).collect()
    }
}
