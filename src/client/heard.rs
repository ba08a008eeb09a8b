//! A client's last resort: a dispatcher that it knows is not where it was, and
//! may say by beacon where it is now.
//!
//! The one invariant: whom to expect comes from the enrolment or the access
//! file, and a beacon adds an address to try; the key has to be proved there as anywhere. Absent:
//! dispatchers that this client does not know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::target::{known, of_pin};
use super::{Client, ClientError, Expected, ExpectedBy, Target};
use crate::discovery::{Announcement, Config, DISCOVERY_PORT, Discovery, Standing};
use crate::model::{MilliCpu, Role, Timestamp};
use crate::trust::{Home, Identity};

/// How long a dispatcher is listened for: one that was asked answers within half a second, or two more when it
/// has just spoken.
const LISTEN_FOR: Duration = Duration::from_secs(3);

/// Connects to `target`; when it does not answer and may be elsewhere, to whichever dispatcher that this home's
/// clients know is heard by beacon.
///
/// # Errors
/// As [`Client::connect`]; what is wrong with `target` when nobody is heard.
pub async fn connect(identity: &Identity, home: &Home, target: &Target, software: &str) -> Result<Client, ClientError> {
    let failed = match Client::connect(identity, target, software).await {
        Ok(client) => return Ok(client),
        Err(failed) => failed,
    };
    let is_lost = matches!(failed, ClientError::Unreachable { .. } | ClientError::OtherDispatcher { .. });
    if !target.may_be_heard || !is_lost {
        return Err(failed);
    }
    let meant = match target.expected.first() {
        // This home's own, or none: the others are other dispatchers, with other jobs.
        Some(own) if own.by == ExpectedBy::Access => vec![(own.clone(), target.addresses.clone())],
        _ => known(home)?.iter().rev().map(|pin| (of_pin(pin, &pin.addresses), pin.addresses.clone())).collect(),
    };
    match timeout(LISTEN_FOR, listen(identity, &meant)).await {
        Ok(Some(elsewhere)) => Client::connect(identity, &elsewhere, software).await.map_err(|_| failed),
        Ok(None) | Err(_) => Err(failed),
    }
}

/// Waits for the beacon of one of these dispatchers, the first one preferred, at an address that is news.
async fn listen(identity: &Identity, meant: &[(Expected, Vec<SocketAddr>)]) -> Option<Target> {
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
        for (expected, tried) in meant {
            let mut addresses = hearing.whereabouts(expected.dispatcher);
            addresses.retain(|address| !tried.contains(address));
            if !addresses.is_empty() {
                return Some(Target { addresses, expected: vec![expected.clone()], named: None, may_be_heard: false });
            }
        }
        changes.changed().await.ok()?;
    }
}
