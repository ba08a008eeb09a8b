//! What is wrong with a cluster that was examined, and what to do about it.
//!
//! Pure. The one invariant: one cause is one finding, so a node that nobody
//! reaches is named once and not with each of the others. Absent: tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::apart;
use crate::cli::output::json;
use crate::model::examination::{Examination, ExaminedNode, ExaminedPair, Reach};
use crate::model::{NodeName, Role};

/// Clocks that are further apart than this are worth a word, in microseconds. Nothing depends on them but times in logs.
const CLOCKS_APART_US: u64 = 2_000_000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// Something does not work.
    Problem,
    /// It works, and should not stay like that.
    Warning,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// Whom it concerns.
    pub(super) nodes: Vec<NodeName>,
    /// One line.
    pub(super) text: String,
    /// What to do.
    pub(super) fix: String,
}

impl Finding {
    fn problem(nodes: &[&NodeName], text: String, fix: String) -> Self {
        Self { severity: Severity::Problem, nodes: nodes.iter().copied().cloned().collect(), text, fix }
    }

    fn warning(nodes: &[&NodeName], text: String, fix: String) -> Self {
        Self { severity: Severity::Warning, ..Self::problem(nodes, text, fix) }
    }

    fn word(&self) -> &'static str {
        match self.severity {
            Severity::Problem => "problem",
            Severity::Warning => "warning",
        }
    }

    /// As it is printed.
    pub(super) fn lines(&self) -> [String; 2] {
        [format!("{}: {}", self.word(), self.text), format!("  fix: {}", self.fix)]
    }

    /// As JSON has it.
    pub(super) fn shown(&self) -> json::FindingShown<'_> {
        let nodes = self.nodes.iter().map(NodeName::as_str).collect();
        json::FindingShown { severity: self.word(), nodes, text: &self.text, fix: &self.fix }
    }
}

/// Everything that is wrong, problems first.
pub(super) fn of(found: &Examination) -> Vec<Finding> {
    let mut findings = absent(found);
    if found.p2p {
        findings.extend(unreached(found));
        findings.extend(unheard(found));
    }
    findings.extend(clocks_and_versions(found));
    findings.extend(shared_user(found));
    findings.sort_by_key(|finding| finding.severity == Severity::Warning);
    findings
}

fn workers(found: &Examination) -> impl Iterator<Item = &ExaminedNode> {
    found.nodes.iter().filter(|node| node.role == Role::Worker)
}

fn absent(found: &Examination) -> Vec<Finding> {
    if workers(found).next().is_none() {
        let text = "no worker is connected, so there is little to look at".to_owned();
        return vec![Finding::warning(&[], text, "start one: octaskly worker".to_owned())];
    }
    let silent = workers(found).filter(|node| !node.answered);
    let finding = |node: &ExaminedNode| {
        let text = format!("{} is not connected, or did not answer: nothing is known of it", node.name);
        let fix = format!("see its log; octaskly revoke {} forgets it for good", node.name);
        Finding::problem(&[&node.name], text, fix)
    };
    silent.map(finding).collect()
}

/// Pairs without a direct way.
fn unreached(found: &Examination) -> Vec<Finding> {
    let dialled = found.pairs.iter().filter(|pair| pair.reach != Reach::NotDialled && is_worker(found, &pair.to));
    let mut of: BTreeMap<&NodeName, Vec<&ExaminedPair>> = BTreeMap::new();
    dialled.for_each(|pair| of.entry(&pair.to).or_default().push(pair));
    let failed = |pair: &ExaminedPair| matches!(pair.reach, Reach::Failed(_));
    let by_nobody = |pairs: &Vec<&ExaminedPair>| pairs.len() > 1 && pairs.iter().all(|pair| failed(pair));
    let cut_off: BTreeSet<&NodeName> = of.iter().filter(|(_, pairs)| by_nobody(pairs)).map(|(to, _)| *to).collect();

    let mut findings = Vec::new();
    for to in &cut_off {
        let port = of[to].iter().find_map(|pair| port(pair));
        let why = of[to].first().map(|pair| reason(pair)).unwrap_or_default();
        let text = format!("no other worker reaches {to} directly: {why}");
        findings.push(Finding::problem(&[to], text, open_port(to, None, port)));
    }
    let single = found.pairs.iter().filter(|pair| failed(pair) && !cut_off.contains(&pair.to));
    for pair in single.clone() {
        let back = single.clone().any(|other| other.from == pair.to && other.to == pair.from);
        let (from, to) = (&pair.from, &pair.to);
        let fix = open_port(to, own_address(pair), port(pair));
        if !back {
            let text = format!("{from} does not reach {to} directly, though {to} reaches {from}: {}", reason(pair));
            findings.push(Finding::problem(&[from, to], text, fix));
        } else if from < to {
            let text = format!("{from} and {to} do not reach each other directly: {}", reason(pair));
            let fix =
                format!("{fix}, and the other way round; or is a cable, a switch or a Wi-Fi between them in the way?");
            findings.push(Finding::problem(&[from, to], text, fix));
        }
    }
    findings
}

fn reason(pair: &ExaminedPair) -> String {
    match &pair.reach {
        Reach::Failed(why) => why.clone(),
        Reach::Reached(_) | Reach::NotDialled => String::new(),
    }
}

fn port(pair: &ExaminedPair) -> Option<u16> {
    pair.tried.iter().find_map(|at| at.parse::<SocketAddr>().ok()).map(|at| at.port())
}

/// The address behind the name of the interface.
fn own_address(pair: &ExaminedPair) -> Option<&str> {
    pair.way.as_deref()?.rsplit(' ').next()
}

/// The rule that lets workers in.
fn open_port(at: &NodeName, from: Option<&str>, port: Option<u16>) -> String {
    let Some(port) = port else { return format!("see the log of {at}: it does not listen for other workers") };
    match from {
        Some(from) => format!("on {at}, let UDP {port} in: sudo ufw allow from {from} to any port {port} proto udp"),
        None => format!("on {at}, let UDP {port} in: sudo ufw allow {port}/udp"),
    }
}

/// Beacons that did not come: first where the cause is plain, then by node, then by pair.
fn unheard(found: &Examination) -> Vec<Finding> {
    let mut findings = plainly_deaf(found);
    findings.extend(deaf_or_silent(found, &named(&findings)));
    findings.extend(apart_by_pair(found, &named(&findings)));
    findings
}

fn named(findings: &[Finding]) -> BTreeSet<NodeName> {
    findings.iter().flat_map(|finding| finding.nodes.clone()).collect()
}

/// The rule that lets beacons in.
fn open_beacons(at: &NodeName, port: u16) -> String {
    format!("on {at}, let UDP {port} in: sudo ufw allow {port}/udp")
}

/// Whether `name` hears anybody, and whether anybody hears it; `None` where there is nobody else.
fn hears_and_is_heard(found: &Examination, name: &NodeName) -> (Option<bool>, Option<bool>) {
    (heard(found, |pair| &pair.from == name), heard(found, |pair| &pair.to == name))
}

/// Nodes that say themselves what is wrong with them.
fn plainly_deaf(found: &Examination) -> Vec<Finding> {
    let port = found.discovery_port;
    let mut findings = Vec::new();
    for node in found.nodes.iter().filter(|node| node.answered) {
        let name = &node.name;
        if !node.listens_for_beacons {
            let text = format!("{name} does not have UDP {port}, the port of beacons: another program has it");
            let fix = format!(
                "find it on {name} with: sudo ss -ulpn 'sport = :{port}'; or give every node another --discovery-port"
            );
            findings.push(Finding::problem(&[name], text, fix));
        } else if hears_and_is_heard(found, name) == (Some(false), Some(false))
            && let Some(first) = node.mute_interfaces.first()
        {
            let mute = node.mute_interfaces.join(" and ");
            let text = format!("{name} hears no beacon and nobody hears its own: {mute} carries no multicast there");
            findings.push(Finding::problem(&[name], text, format!("on {name}: sudo ip link set {first} multicast on")));
        }
    }
    findings
}

/// Nodes that hear nobody, or are heard by nobody.
fn deaf_or_silent(found: &Examination, explained: &BTreeSet<NodeName>) -> Vec<Finding> {
    let port = found.discovery_port;
    // With one other node alone nobody knows which of the two it is.
    let is_among_others = |name: &NodeName| found.pairs.iter().filter(|pair| &pair.from == name).count() > 1;
    let mut findings = Vec::new();
    for node in found.nodes.iter().filter(|node| node.answered && !explained.contains(&node.name)) {
        let name = &node.name;
        if !is_among_others(name) {
            continue;
        }
        let (text, fix) = match hears_and_is_heard(found, name) {
            (Some(false), Some(false)) => (
                format!("{name} hears no beacon on UDP {port}, and nobody hears its own"),
                format!("{}, and let it out; or does its network drop multicast?", open_beacons(name, port)),
            ),
            (Some(false), _) => (format!("{name} hears no beacon on UDP {port}"), open_beacons(name, port)),
            (_, Some(false)) => (
                format!("nobody hears the beacons of {name} on UDP {port}"),
                format!("on {name}, let UDP {port} out: sudo ufw allow out {port}/udp"),
            ),
            _ => continue,
        };
        findings.push(Finding::problem(&[name], text, fix));
    }
    findings
}

/// What is left.
fn apart_by_pair(found: &Examination, explained: &BTreeSet<NodeName>) -> Vec<Finding> {
    let port = found.discovery_port;
    let left = found.pairs.iter().filter(|pair| !pair.heard);
    let left = left.filter(|pair| !explained.contains(&pair.from) && !explained.contains(&pair.to));
    let mut findings = Vec::new();
    for pair in left.clone() {
        let back = left.clone().any(|other| other.from == pair.to && other.to == pair.from);
        let (from, to) = (&pair.from, &pair.to);
        if !back {
            let text = format!("{from} does not hear the beacons of {to} on UDP {port}");
            findings.push(Finding::problem(&[from, to], text, open_beacons(from, port)));
        } else if from < to {
            let text = format!("{from} and {to} do not hear each other's beacons on UDP {port}");
            let fix = format!("{}, and likewise on {to}", open_beacons(from, port));
            findings.push(Finding::problem(&[from, to], text, fix));
        }
    }
    findings
}

/// Whether any of these pairs hears; `None` when there is none.
fn heard(found: &Examination, of: impl Fn(&ExaminedPair) -> bool) -> Option<bool> {
    let mut pairs = found.pairs.iter().filter(|pair| of(pair)).peekable();
    pairs.peek()?;
    Some(pairs.any(|pair| pair.heard))
}

fn clocks_and_versions(found: &Examination) -> Vec<Finding> {
    let own = found.nodes.iter().find(|node| node.role == Role::Dispatcher).map(|node| node.version.as_str());
    let mut findings = Vec::new();
    for node in workers(found).filter(|node| node.answered) {
        let name = &node.name;
        if node.clock_ahead_us.unsigned_abs() > CLOCKS_APART_US {
            let direction = if node.clock_ahead_us > 0 { "ahead of" } else { "behind" };
            let text = format!("the clock of {name} is {} {direction} the dispatcher's", apart(node.clock_ahead_us));
            findings.push(Finding::warning(&[name], text, format!("on {name}: sudo timedatectl set-ntp true")));
        }
        if let Some(own) = own.filter(|own| *own != node.version) {
            let text = format!("{name} runs octaskly {}, the dispatcher {own}", node.version);
            findings.push(Finding::warning(&[name], text, "install the same version on all machines".to_owned()));
        }
    }
    findings
}

/// Whoever may submit can read what the worker's user can read.
fn shared_user(found: &Examination) -> Option<Finding> {
    let shared: Vec<&NodeName> = workers(found).filter(|node| node.same_user).map(|node| &node.name).collect();
    if found.clients == 0 || shared.is_empty() {
        return None;
    }
    let names: Vec<&str> = shared.iter().map(|name| name.as_str()).collect();
    let text = format!(
        "{} of the dispatcher's own user, and {} may submit: their tasks can read the dispatcher's key and queue",
        if names.len() == 1 {
            format!("worker {} runs tasks", names[0])
        } else {
            format!("workers {} run tasks", names.join(", "))
        },
        if found.clients == 1 {
            "a client of another".to_owned()
        } else {
            format!("{} clients of others", found.clients)
        },
    );
    let fix = "run these workers as a user of their own, with a token (docs/SECURITY.md)".to_owned();
    Some(Finding::warning(&shared, text, fix))
}

fn is_worker(found: &Examination, name: &NodeName) -> bool {
    workers(found).any(|node| &node.name == name)
}

#[cfg(test)]
pub(super) mod tests;
