//! What a guard says for a worker that was killed: that its instance has ended
//! and nothing of it runs any more.
//!
//! The one invariant: it is said with the worker's own key, and only about the
//! instance that died; a worker that is running again is not touched by it.
//! Absent: noticing the death and cleaning up (`exec::guard`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exec::Guard;
use crate::exec::guard::GuardBriefing;
use crate::model::handshake::{Credential, Hello, Intent};
use crate::model::limits::{LOST_AFTER, PROTOCOL_OLDEST, PROTOCOL_VERSION};
use crate::model::{InstanceId, NodeId};
use crate::transport::{Alpn, Endpoint, TransportError};
use crate::trust::{Identity, NodeDir};

/// Pause between two tries at reaching the dispatcher.
const PAUSE: Duration = Duration::from_millis(500);

/// What a guard knows: who died, and whom to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Briefing {
    /// The worker's folder, with its key.
    folder: PathBuf,
    /// The start of the worker that this guard watches.
    instance: InstanceId,
    /// Whom to tell.
    dispatcher: NodeId,
    /// Where.
    address: SocketAddr,
}

/// The worker's side: keeps its guard informed.
pub(super) struct Briefer {
    pub(super) guard: Guard,
    pub(super) folder: PathBuf,
    pub(super) instance: InstanceId,
    pub(super) dispatcher: NodeId,
}

impl Briefer {
    /// Tells the guard where the dispatcher was last met.
    pub(super) fn brief(&self, address: SocketAddr) {
        let folder = self.folder.clone();
        let briefing = Briefing { folder, instance: self.instance, dispatcher: self.dispatcher, address };
        let mut bytes = Vec::new();
        // A path that is no UTF-8 has no text form: such a worker's end is noticed by its silence alone.
        if ciborium::into_writer(&briefing, &mut bytes).is_ok() {
            self.guard.brief(bytes);
        }
    }
}

/// Runs in the guard, after the worker's death: tells the dispatcher.
///
/// Gives up after [`LOST_AFTER`], by when a dispatcher with the default `--heartbeat-timeout` has noticed by
/// itself; a worker is not told of another one. With a longer one, a dispatcher that could not be reached all
/// that time notices by silence. Nothing is reported to anybody else: a guard has no one to tell.
pub fn speak(briefing: &GuardBriefing) {
    let Ok(briefing) = ciborium::from_reader::<Briefing, _>(&briefing.0[..]) else { return };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let _ = tokio::time::timeout(LOST_AFTER.as_duration(), tell(&briefing)).await;
    });
}

async fn tell(briefing: &Briefing) {
    let Some(identity) = identity(&briefing.folder) else { return };
    loop {
        match tell_once(briefing, &identity).await {
            // A refusal is an answer too: the dispatcher knows better.
            Ok(()) | Err(TransportError::Refused(_)) => return,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn tell_once(briefing: &Briefing, identity: &Identity) -> Result<(), TransportError> {
    let any: SocketAddr = match briefing.address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::bind(identity, any, &[])?;
    let link = endpoint.connect(briefing.address, briefing.dispatcher, Alpn::Worker).await?;
    let hello = Hello {
        protocol_oldest: PROTOCOL_OLDEST,
        protocol_newest: PROTOCOL_VERSION,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        instance: briefing.instance,
        intent: Intent::Guard,
        credential: Credential::None,
    };
    let answered = crate::transport::hello(&link, &hello).await.map(|_| ());
    endpoint.close("told").await;
    answered
}

/// The dead worker's key, if its folder still has one.
fn identity(folder: &Path) -> Option<Identity> {
    Identity::load_or_create(&NodeDir::of_dead_worker(folder.to_owned())).ok()
}
