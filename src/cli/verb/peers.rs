//! `octaskly peers`: who hears whom.

use std::process::ExitCode;

use super::Context;
use crate::cli::args::PeersArgs;
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Page, json, text};
use crate::model::views::{PeerLink, PeerView};

/// Prints them.
pub(super) fn perform(args: &PeersArgs, context: &Context) -> Result<ExitCode, CliError> {
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let peers = session.client().peers().await?;
        Page::rows(args.json.json, peers.iter().map(json::Peer::from), || table(&peers))?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn table(peers: &[PeerView]) -> Table {
    let mut table = Table::new(&[
        Column::GivesWay("PEER"),
        Column::Left("ROLE"),
        Column::Left("ADDRESS"),
        Column::GivesWay("HEARD BY"),
        Column::Right("LAST HEARD"),
        Column::Left("LINK"),
    ]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for peer in peers {
        table.row([
            peer.name.to_string(),
            peer.role.to_string(),
            or_dash(json::peer_address(peer)),
            peer.heard_by.to_string(),
            or_dash(peer.silent_for.map(|silence| format!("{} ago", text::coarse(silence)))),
            or_dash((peer.link == PeerLink::Standing).then(|| "standing".to_owned())),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::json::peer_tests::sample_peer;

    #[test]
    fn who_hears_whom_fits_eighty_columns() {
        let long = PeerView { name: "p".repeat(63).parse().expect("a name"), ..sample_peer() };
        let lines = table(&[sample_peer(), long]).lines(Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        let words: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(words, ["worker-02", "worker", "192.168.1.12", "dispatcher", "12", "s", "ago", "standing"]);
    }
}
