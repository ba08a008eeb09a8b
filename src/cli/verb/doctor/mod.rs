//! `octaskly doctor`: proves the setup pair by pair, and names the fix.
//!
//! The one invariant: it exits 0 exactly when nothing is wrong that it can see;
//! warnings are things that work and should not stay as they are. Absent: how
//! the cluster is examined (`node/`), and what is wrong with it (`findings`).

mod alone;
mod findings;

use std::process::ExitCode;

use self::findings::{Finding, Severity};
use super::Context;
use crate::cli::args::DoctorArgs;
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, Table, terminal_width};
use crate::cli::output::{Page, json, text};
use crate::model::Millis;
use crate::model::examination::{Examination, ExaminedNode, Reach};

/// What it exits with when something is wrong.
const WRONG: u8 = 1;

/// Examines the cluster, or this machine where there is none.
pub(super) fn perform(args: &DoctorArgs, context: &Context) -> Result<ExitCode, CliError> {
    context.as_client(async {
        let session = match context.connect(&args.connect).await {
            Ok(session) => session,
            Err(error) => {
                alone::look(args).await?;
                return Err(error);
            }
        };
        let found = session.client().examine().await?;
        session.close().await;
        let findings = findings::of(&found);
        let is_wrong = findings.iter().any(|finding| finding.severity == Severity::Problem);
        let mut page = Page::begin();
        if args.json.json.is_some() {
            page.object(&json::Diagnosis::new(&found, findings.iter().map(Finding::shown).collect(), !is_wrong))?;
            page.line("")?;
        } else {
            for line in screen(&found, &findings, terminal_width()) {
                page.line(line)?;
            }
        }
        page.end()?;
        Ok(if is_wrong { ExitCode::from(WRONG) } else { ExitCode::SUCCESS })
    })
}

fn screen(found: &Examination, findings: &[Finding], width: Option<u16>) -> Vec<String> {
    let mut lines = nodes(found).lines(width);
    lines.push(String::new());
    if found.pairs.is_empty() {
        lines.push("There are no two nodes to look at.".to_owned());
    } else {
        lines.extend(pairs(found).lines(width));
    }
    if !found.p2p {
        lines.push("Beacons and direct links are switched off (--p2p-enabled false).".to_owned());
    }
    lines.push(String::new());
    lines.extend(findings.iter().flat_map(Finding::lines));
    if findings.is_empty() {
        lines.push(format!("All is well: {} nodes, {} pairs.", found.nodes.len(), found.pairs.len()));
    }
    lines
}

fn nodes(found: &Examination) -> Table {
    let mut table = Table::new(&[
        Column::GivesWay("NODE"),
        Column::Left("ROLE"),
        Column::Left("VERSION"),
        Column::GivesWay("ADDRESS"),
        Column::Right("LATENCY"),
        Column::Right("CLOCK"),
    ]);
    for node in &found.nodes {
        table.row([
            node.name.to_string(),
            node.role.to_string(),
            node.version.clone(),
            node.address.clone().unwrap_or_else(|| "-".to_owned()),
            node.latency_us.map_or_else(|| "-".to_owned(), |us| format!("{:.1} ms", us as f64 / 1000.0)),
            if node.answered { clock(node) } else { "no answer".to_owned() },
        ]);
    }
    table
}

/// `+0.2 s`: how far it is ahead of the dispatcher's.
fn clock(node: &ExaminedNode) -> String {
    format!("{:+.1} s", node.clock_ahead_us as f64 / 1e6)
}

fn pairs(found: &Examination) -> Table {
    let mut table = Table::new(&[
        Column::GivesWay("FROM"),
        Column::GivesWay("TO"),
        Column::Left("DIRECT"),
        Column::Left("BEACON"),
        Column::GivesWay("VIA"),
    ]);
    for pair in &found.pairs {
        let direct = match &pair.reach {
            Reach::Reached(_) => "yes",
            Reach::Failed(_) => "NO",
            Reach::NotDialled => "-",
        };
        let beacon = match (found.p2p, pair.heard) {
            (false, _) => "-",
            (true, true) => "heard",
            (true, false) => "NOT HEARD",
        };
        table.row([
            pair.from.to_string(),
            pair.to.to_string(),
            direct.to_owned(),
            beacon.to_owned(),
            pair.way.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

/// An amount of seconds, the sign left out.
fn apart(microseconds: i64) -> String {
    text::coarse(Millis(microseconds.unsigned_abs() / 1000))
}

#[cfg(test)]
mod tests {
    use super::findings::tests::Scene;
    use super::*;

    #[test]
    fn a_healthy_cluster_is_two_tables_and_one_line_that_says_so() {
        let found = Scene::of(&["a", "b"]).found;
        let lines = screen(&found, &findings::of(&found), Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert!(lines[0].starts_with("NODE") && lines.iter().any(|line| line.starts_with("FROM")), "{lines:#?}");
        assert_eq!(lines.last().map(String::as_str), Some("All is well: 3 nodes, 6 pairs."));
        assert!(!lines.concat().contains("NOT HEARD"), "{lines:#?}");
    }

    #[test]
    fn what_is_wrong_stands_below_with_what_to_do() {
        let mut scene = Scene::of(&["a", "b"]);
        scene.unreached("a", "b");
        let lines = screen(&scene.found, &findings::of(&scene.found), Some(200));
        let at = lines.iter().position(|line| line.starts_with("problem: ")).expect("a problem");
        assert!(lines[at + 1].starts_with("  fix: "), "{lines:#?}");
        assert!(!lines.concat().contains("All is well"));
    }
}
