//! Clusters in which one thing is wrong, and what is said of it.

use super::*;
use crate::model::NodeId;

/// A dispatcher and workers that find nothing wrong, until something is.
pub(in crate::cli::verb::doctor) struct Scene {
    pub(in crate::cli::verb::doctor) found: Examination,
}

fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

impl Scene {
    pub(in crate::cli::verb::doctor) fn of(names: &[&str]) -> Self {
        let node = |called: &str, role| ExaminedNode {
            name: name(called),
            node: NodeId([7; 32]),
            role,
            version: "1.0.0".to_owned(),
            address: Some("10.0.0.1:7878".to_owned()),
            answered: true,
            latency_us: Some(300),
            clock_ahead_us: 12_000,
            listens_for_beacons: true,
            mute_interfaces: Vec::new(),
            same_user: false,
        };
        let mut nodes = vec![node("dispatcher", Role::Dispatcher)];
        nodes.extend(names.iter().map(|called| node(called, Role::Worker)));
        let all: Vec<NodeName> = nodes.iter().map(|node| node.name.clone()).collect();
        let pairs = all.iter().flat_map(|from| all.iter().filter(move |to| *to != from).map(move |to| (from, to)));
        let pairs = pairs.map(|(from, to)| ExaminedPair {
            from: from.clone(),
            to: to.clone(),
            reach: if from.as_str() == "dispatcher" { Reach::NotDialled } else { Reach::Reached(format!("{to}:1")) },
            tried: vec!["10.0.0.9:7880".to_owned()],
            way: Some("eth0 10.0.0.2".to_owned()),
            linked: true,
            heard: true,
        });
        let pairs = pairs.collect();
        Self { found: Examination { p2p: true, discovery_port: 5555, nodes, pairs, clients: 0 } }
    }

    fn pair(&mut self, from: &str, to: &str) -> &mut ExaminedPair {
        let pairs = self.found.pairs.iter_mut();
        pairs.into_iter().find(|pair| pair.from.as_str() == from && pair.to.as_str() == to).expect("a pair")
    }

    fn node(&mut self, called: &str) -> &mut ExaminedNode {
        self.found.nodes.iter_mut().find(|node| node.name.as_str() == called).expect("a node")
    }

    pub(in crate::cli::verb::doctor) fn unreached(&mut self, from: &str, to: &str) {
        self.pair(from, to).reach = Reach::Failed("it does not answer at 10.0.0.9:7880".to_owned());
    }

    fn unheard(&mut self, by: &str, who: &str) {
        self.pair(by, who).heard = false;
    }

    /// What is found: whom it concerns, and whether it is a problem.
    fn findings(&self) -> Vec<(String, bool)> {
        let line = |finding: &Finding| {
            let nodes: Vec<&str> = finding.nodes.iter().map(NodeName::as_str).collect();
            (nodes.join("+"), finding.severity == Severity::Problem)
        };
        of(&self.found).iter().map(line).collect()
    }
}

fn problem(nodes: &str) -> (String, bool) {
    (nodes.to_owned(), true)
}

#[test]
fn a_healthy_cluster_has_no_findings() {
    assert_eq!(Scene::of(&["a", "b", "c"]).findings(), []);
}

#[test]
fn a_pair_that_is_cut_is_one_finding_that_names_both_and_the_rule() {
    let mut scene = Scene::of(&["a", "b", "c"]);
    scene.unreached("a", "b");
    scene.unreached("b", "a");
    assert_eq!(scene.findings(), [problem("a+b")]);
    let finding = &of(&scene.found)[0];
    assert!(finding.text.starts_with("a and b do not reach each other directly"), "{}", finding.text);
    assert!(finding.fix.contains("sudo ufw allow from 10.0.0.2 to any port 7880 proto udp"), "{}", finding.fix);
}

#[test]
fn a_node_that_nobody_reaches_is_named_once_and_a_single_direction_as_that() {
    let mut scene = Scene::of(&["a", "b", "c"]);
    scene.unreached("a", "b");
    assert_eq!(scene.findings(), [problem("a+b")]);
    assert!(of(&scene.found)[0].text.contains("though b reaches a"));
    scene.unreached("c", "b");
    assert_eq!(scene.findings(), [problem("b")]);
    assert!(of(&scene.found)[0].fix.ends_with("sudo ufw allow 7880/udp"));
}

#[test]
fn a_node_that_hears_nobody_is_told_the_rule_for_beacons() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.unheard("b", "a");
    scene.unheard("b", "dispatcher");
    assert_eq!(scene.findings(), [problem("b")]);
    assert_eq!(of(&scene.found)[0].fix, "on b, let UDP 5555 in: sudo ufw allow 5555/udp");
}

#[test]
fn an_interface_without_multicast_is_named() {
    let mut scene = Scene::of(&["a", "b"]);
    for other in ["a", "dispatcher"] {
        scene.unheard("b", other);
        scene.unheard(other, "b");
    }
    assert_eq!(scene.findings(), [problem("b")]);
    scene.node("b").mute_interfaces = vec!["eth0".to_owned()];
    assert_eq!(scene.findings(), [problem("b")]);
    assert_eq!(of(&scene.found)[0].fix, "on b: sudo ip link set eth0 multicast on");
    // One that is mute beside another that is not is nobody's trouble.
    let mut scene = Scene::of(&["a", "b"]);
    scene.node("b").mute_interfaces = vec!["docker0".to_owned()];
    assert_eq!(scene.findings(), []);
}

#[test]
fn a_port_of_beacons_that_somebody_else_has_is_named_as_that() {
    let mut scene = Scene::of(&["a"]);
    scene.node("a").listens_for_beacons = false;
    scene.unheard("a", "dispatcher");
    assert_eq!(scene.findings(), [problem("a")]);
    assert!(of(&scene.found)[0].fix.contains("sport = :5555"));
}

#[test]
fn two_that_hear_each_other_not_are_one_finding_and_one_direction_another() {
    let mut scene = Scene::of(&["a", "b", "c"]);
    scene.unheard("a", "b");
    assert_eq!(scene.findings(), [problem("a+b")]);
    scene.unheard("b", "a");
    assert_eq!(scene.findings(), [problem("a+b")]);
    assert!(of(&scene.found)[0].text.contains("each other's beacons"));
}

#[test]
fn clocks_versions_and_shared_users_are_warnings_and_a_silent_worker_is_a_problem() {
    let warning = |nodes: &str| (nodes.to_owned(), false);
    let mut scene = Scene::of(&["a", "b"]);
    scene.node("a").clock_ahead_us = -90_000_000;
    scene.node("b").version = "0.9.0".to_owned();
    assert_eq!(scene.findings(), [warning("a"), warning("b")]);
    assert!(of(&scene.found)[0].text.contains("behind the dispatcher's"));
    let mut scene = Scene::of(&["a", "b"]);
    scene.node("a").same_user = true;
    assert_eq!(scene.findings(), [], "where only its own user may submit that is how it should be");
    scene.found.clients = 2;
    assert_eq!(scene.findings(), [warning("a")]);
    scene.node("b").answered = false;
    assert_eq!(scene.findings(), [problem("b"), warning("a")]);
}

#[test]
fn where_peer_to_peer_is_off_nobody_is_missed() {
    let mut scene = Scene::of(&["a", "b"]);
    scene.found.p2p = false;
    scene.unheard("a", "b");
    assert_eq!(scene.findings(), []);
}
