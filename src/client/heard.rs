//! A client's last resort: a dispatcher that it enrolled with is not where it
//! was, and may say by beacon where it is now.
//!
//! The one invariant: whom to expect comes from the enrolment, and a beacon
//! adds an address to try; the key has to be proved there as anywhere. Absent:
//! dispatchers that this client does not know.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::target::{known, of_pin};
use super::{Client, ClientError, ExpectedBy, Target};
use crate::discovery::{Announcement, Config, DISCOVERY_PORT, Discovery, Standing};
use crate::model::{MilliCpu, Role, Timestamp};
use crate::trust::{Home, Identity, Pin};

/// How long a dispatcher is listened for: one that was asked answers within half a second, or two more when it
/// has just spoken.
const LISTEN_FOR: Duration = Duration::from_secs(3);

/// Connects to `target`; when it is one that was enrolled with and does not answer, to whichever dispatcher of
/// `home`'s enrolments is heard by beacon.
///
/// # Errors
/// As [`Client::connect`]; what is wrong with `target` when nobody is heard.
pub async fn connect(identity: &Identity, home: &Home, target: &Target, software: &str) -> Result<Client, ClientError> {
    let failed = match Client::connect(identity, target, software).await {
        Ok(client) => return Ok(client),
        Err(failed) => failed,
    };
    if !is_lost(target, &failed) {
        return Err(failed);
    }
    let known = known(home)?;
    match timeout(LISTEN_FOR, listen(identity, &known)).await {
        Ok(Some(elsewhere)) => Client::connect(identity, &elsewhere, software).await.map_err(|_| failed),
        Ok(None) | Err(_) => Err(failed),
    }
}

/// Whether it was looked for where it was met last, and is not there.
fn is_lost(target: &Target, failed: &ClientError) -> bool {
    let remembered =
        target.named.is_none() && target.expected.first().is_some_and(|expected| expected.by == ExpectedBy::Enrolment);
    remembered && matches!(failed, ClientError::Unreachable { .. } | ClientError::OtherDispatcher { .. })
}

/// Waits for the beacon of one of the dispatchers that are `known`, the latest first, at an address that is news.
async fn listen(identity: &Identity, known: &[Pin]) -> Option<Target> {
    let discovery = Discovery::start(Config {
        identity: Arc::new(identity.clone()),
        port: DISCOVERY_PORT,
        // What a client says is not kept by anybody, so its starts need no order.
        started_at: Timestamp(0),
        announcement: Announcement {
            role: Role::Client,
            cpu: MilliCpu(0),
            memory_bytes: 0,
            gpus: 0,
            software: env!("CARGO_PKG_VERSION").to_owned(),
        },
        standing: Standing::Seeking { name: None },
        is_member: Box::new(|_| false),
    });
    let hearing = discovery.hearing();
    let mut changes = hearing.changes();
    loop {
        for pin in known.iter().rev() {
            let mut addresses = hearing.whereabouts(pin.dispatcher);
            addresses.retain(|address| !pin.addresses.contains(address));
            if !addresses.is_empty() {
                let found = Pin { dispatcher: pin.dispatcher, addresses };
                let expected = vec![of_pin(&found, &found.addresses)];
                return Some(Target { addresses: found.addresses, expected, named: None });
            }
        }
        changes.changed().await.ok()?;
    }
}
