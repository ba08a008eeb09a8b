//! `doctor`'s question, put to every connected worker at once.
//!
//! Invariant: one examination at a time, so that no client makes workers dial
//! each other without end; it is over after [`PATIENCE`], whoever does not
//! answer. Absent: any judgement of what was found (`cli`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::neighbourhood::NAME;
use super::requests::{Trouble, put};
use super::shell::{Asker, Shell};
use crate::discovery::{self, Hearing};
use crate::engine::dispatcher::Call;
use crate::model::examination::{Examination, ExaminedNode, ExaminedPair, Reach, WorkerFindings};
use crate::model::limits::{MAX_FRAME, MAX_ROWS};
use crate::model::messages::StreamPurpose;
use crate::model::requests::{FailureCode, Reply};
use crate::model::views::{WorkerState, WorkerView};
use crate::model::{NodeId, NodeName, Role};
use crate::node::{Clock, addresses};
use crate::transport::{Link, TransportError};

/// How long a worker may take; it dials others, which takes up to two seconds for those that are silent.
const PATIENCE: Duration = Duration::from_secs(8);
/// When this dispatcher speaks, beside its workers, that is after they were asked and before they count.
/// What comes between the first beacon and the others does not count, for workers look at their interfaces anew then.
const SPEAKS_AFTER: [Duration; 3] =
    [Duration::from_millis(400), Duration::from_millis(350), Duration::from_millis(300)];

/// What one worker answered, and what that says of its clock.
struct Answered {
    findings: WorkerFindings,
    clock_ahead_us: i64,
}

/// Examines the cluster.
pub(super) async fn examine(shell: &Shell, asker: &Asker) -> Result<Reply, Trouble> {
    let Ok(_only_one) = shell.examining.try_lock() else {
        let hint = Some("try again in a few seconds");
        return Err(Trouble::refused(FailureCode::Conflict, "another examination is under way", hint));
    };
    let workers = match put(shell, asker, Call::Workers).await? {
        Reply::Workers(mut workers) => {
            shell.directory.complete(&mut workers);
            workers
        }
        other => return Ok(other),
    };
    let workers: Vec<WorkerView> =
        workers.into_iter().filter(|view| !matches!(view.state, WorkerState::Pending | WorkerState::Revoked)).collect();
    let hearing = shell.neighbourhood.hearing();
    let (answers, heard) = tokio::join!(ask_all(shell, &workers), listen(hearing));
    Ok(Reply::Examined(Box::new(put_together(shell, &workers, &answers, &heard))))
}

/// Asks every connected worker.
async fn ask_all(shell: &Shell, workers: &[WorkerView]) -> BTreeMap<NodeId, Answered> {
    let mut questions = JoinSet::new();
    for view in workers {
        if let Some(link) = shell.directory.link_to(view.node) {
            let node = view.node;
            questions.spawn(async move { (node, timeout(PATIENCE, ask(&link)).await) });
        }
    }
    let mut answers = BTreeMap::new();
    while let Some(answered) = questions.join_next().await {
        if let Ok((node, Ok(Ok(answer)))) = answered {
            answers.insert(node, answer);
        }
    }
    answers
}

async fn ask(link: &Link) -> Result<Answered, TransportError> {
    let (mut send, mut recv) = link.open_bi().await?;
    send.send(&StreamPurpose::Examine).await?;
    let findings: WorkerFindings = recv.recv(MAX_FRAME).await?.ok_or(TransportError::StreamClosed)?;
    // The answer left half a round trip ago.
    let there = Clock::wall_now().0.saturating_sub(u64::try_from(link.rtt().as_micros()).unwrap_or(0) / 2);
    let clock_ahead_us = i64::try_from(findings.clock.0).unwrap_or(i64::MAX).saturating_sub_unsigned(there);
    Ok(Answered { findings, clock_ahead_us })
}

/// Speaks beside the workers and says whom this dispatcher heard.
async fn listen(hearing: Option<&Hearing>) -> BTreeSet<NodeId> {
    let Some(hearing) = hearing else { return BTreeSet::new() };
    let until = Instant::now() + Duration::from_millis(1900);
    let [first, rest @ ..] = SPEAKS_AFTER;
    sleep(first).await;
    hearing.speak_now();
    let since = hearing.now();
    for pause in rest {
        sleep(pause).await;
        hearing.speak_now();
    }
    tokio::time::sleep_until(until).await;
    hearing.heard_since(since).into_iter().collect()
}

fn put_together(
    shell: &Shell,
    workers: &[WorkerView],
    answers: &BTreeMap<NodeId, Answered>,
    heard: &BTreeSet<NodeId>,
) -> Examination {
    let own = shell.access.dispatcher;
    let own_name: Option<NodeName> = NAME.parse().ok();
    let mut nodes = Vec::new();
    nodes.extend(own_name.clone().map(|name| own_node(shell, name)));
    nodes.extend(workers.iter().map(|view| node(shell, view, answers.get(&view.node))));
    let mut pairs = Vec::new();
    for from in workers {
        if let (Some(answer), Some(name)) = (answers.get(&from.node), &own_name) {
            pairs.push(to_dispatcher(shell, from, answer, name, own));
            pairs.push(from_dispatcher(from, name, heard.contains(&from.node)));
        }
        let others = workers.iter().filter(|to| to.node != from.node && answers.contains_key(&to.node));
        pairs.extend(others.filter_map(|to| between(from, to, answers.get(&from.node)?)));
    }
    // Of too many the worst are shown.
    pairs.sort_by_key(|pair| (!matches!(pair.reach, Reach::Failed(_)), pair.heard));
    pairs.truncate(MAX_ROWS as usize);
    pairs.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
    nodes.truncate(MAX_ROWS as usize);
    Examination {
        p2p: shell.discovery_port.is_some(),
        discovery_port: shell.discovery_port.unwrap_or(0),
        nodes,
        pairs,
        clients: shell.enrolled.borrow().clients,
    }
}

fn own_node(shell: &Shell, name: NodeName) -> ExaminedNode {
    ExaminedNode {
        name,
        node: shell.access.dispatcher,
        role: Role::Dispatcher,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        address: Some(shell.address.to_string()),
        answered: true,
        latency_us: None,
        clock_ahead_us: 0,
        listens_for_beacons: shell.neighbourhood.hearing().is_some_and(Hearing::is_listening),
        mute_interfaces: discovery::mute_interfaces(),
        same_user: true,
    }
}

fn node(shell: &Shell, view: &WorkerView, answer: Option<&Answered>) -> ExaminedNode {
    ExaminedNode {
        name: view.name.clone(),
        node: view.node,
        role: Role::Worker,
        version: view.version.clone(),
        address: view.address.clone(),
        answered: answer.is_some(),
        latency_us: view.latency_us,
        clock_ahead_us: answer.map_or(0, |answer| answer.clock_ahead_us),
        listens_for_beacons: answer.is_some_and(|answer| answer.findings.listens_for_beacons),
        mute_interfaces: answer.map(|answer| answer.findings.mute_interfaces.clone()).unwrap_or_default(),
        same_user: shell.directory.is_of_own_user(view.node),
    }
}

/// A worker always dials its dispatcher, and has done so, for it has answered.
fn to_dispatcher(shell: &Shell, from: &WorkerView, answer: &Answered, name: &NodeName, own: NodeId) -> ExaminedPair {
    ExaminedPair {
        from: from.name.clone(),
        to: name.clone(),
        reach: Reach::Reached(shell.address.to_string()),
        tried: Vec::new(),
        way: from.address.as_ref().map(|address| format!("from {address}")),
        linked: true,
        heard: answer.findings.heard.contains(&own),
    }
}

fn from_dispatcher(to: &WorkerView, name: &NodeName, heard: bool) -> ExaminedPair {
    let way = to.address.as_ref().and_then(|address| addresses::way_to(address.parse().ok()?));
    ExaminedPair {
        from: name.clone(),
        to: to.name.clone(),
        reach: Reach::NotDialled,
        tried: Vec::new(),
        way,
        linked: true,
        heard,
    }
}

/// `None` where the one does not know the other, for the roster that names it is on its way.
fn between(from: &WorkerView, to: &WorkerView, answer: &Answered) -> Option<ExaminedPair> {
    let probed = answer.findings.peers.iter().find(|peer| peer.node == to.node)?;
    Some(ExaminedPair {
        from: from.name.clone(),
        to: to.name.clone(),
        reach: probed.reach.clone(),
        tried: probed.tried.clone(),
        way: probed.way.clone(),
        linked: probed.linked,
        heard: answer.findings.heard.contains(&to.node),
    })
}
