//! `doctor` where no dispatcher answers: what can be said of this machine.
//!
//! Invariant: it only looks and listens, and asks the network once who is there,
//! as a worker without a dispatcher does. Absent: why no dispatcher answers,
//! which the caller says afterwards.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::DoctorArgs;
use crate::cli::error::CliError;
use crate::cli::output::{Page, json};
use crate::discovery::{self, Announcement, Config, DISCOVERY_PORT, Discovery, Standing};
use crate::model::{MilliCpu, Role, Timestamp};
use crate::node::addresses;
use crate::trust::Identity;

/// How long dispatchers are listened for: one that was asked answers within half a second, or two more when it has
/// just spoken.
const LISTEN_FOR: Duration = Duration::from_secs(3);

/// What there is to say of this machine.
pub(super) async fn look(args: &DoctorArgs) -> Result<(), CliError> {
    let addresses = addresses::lan_addresses();
    let (listens, heard) = listen().await?;
    let mute = discovery::mute_interfaces();
    let mut page = Page::begin();
    if args.json.json.is_some() {
        page.object(&json::Lonely::new(&addresses, listens, &mute, &heard))?;
        page.line("")?;
    } else {
        for line in lines(&addresses, listens, &mute, &heard) {
            page.line(line)?;
        }
    }
    page.end()
}

/// Whether the port of beacons is to be had, and the dispatchers that are heard there.
async fn listen() -> Result<(bool, Vec<String>), CliError> {
    let discovery = Discovery::start(Config {
        identity: Arc::new(Identity::ephemeral()?),
        port: DISCOVERY_PORT,
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
    tokio::time::sleep(LISTEN_FOR).await;
    let hearing = discovery.hearing();
    let offers = hearing.offers().into_iter().filter_map(|offer| offer.addresses.first().map(ToString::to_string));
    Ok((hearing.is_listening(), offers.collect()))
}

fn lines(addresses: &[IpAddr], listens: bool, mute: &[String], heard: &[String]) -> Vec<String> {
    let join = |list: Vec<String>| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let own = join(addresses.iter().map(ToString::to_string).collect());
    let mut lines = vec![
        "No dispatcher answers, so only this machine can be looked at.".to_owned(),
        format!("addresses    {own}"),
        format!(
            "UDP {DISCOVERY_PORT}     {}",
            if listens { "free for beacons" } else { "NOT to be had: another program has it" }
        ),
        format!("dispatchers  {} heard by beacon within {} s", join(heard.to_vec()), LISTEN_FOR.as_secs()),
    ];
    lines.extend(mute.iter().map(|name| format!("multicast    NOT on {name}: sudo ip link set {name} multicast on")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_alone_says_where_it_is_and_what_it_lacks() {
        let here = ["10.0.0.2".parse().expect("an address")];
        let good = lines(&here, true, &[], &["10.0.0.1:7878".to_owned()]).join("\n");
        assert!(good.contains("10.0.0.2") && good.contains("10.0.0.1:7878") && !good.contains("NOT"), "{good}");
        let bad = lines(&[], false, &["eth0".to_owned()], &[]).join("\n");
        assert!(bad.contains("addresses    none") && bad.matches("NOT").count() == 2, "{bad}");
    }
}
