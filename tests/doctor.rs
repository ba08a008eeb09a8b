//! `octaskly doctor` on hosts of their own, healthy and not: what is wrong is
//! named, and so is the fix. `scripts/lan.sh` makes the hosts.
//!
//! Nothing here asserts how long something takes. Absent: which findings follow
//! from which observations (`src/cli/verb/doctor/findings.rs`).

#![cfg(target_os = "linux")]

mod harness;

use std::process::Command;

use harness::lan::{Host, Lan, on_a_lan};
use harness::{Cluster, Node, soon};
use serde_json::Value;

fn joined(dispatcher: &Host, on: &Host, name: &str) -> Node {
    let token = dispatcher.ok(["token", "create"]);
    let worker = on.works_for(dispatcher.address, name, &["--token", token.trim(), "--verbose"]);
    worker.says("Joined the dispatcher");
    worker
}

/// Waits until these many rows of `peers` have a link that stands.
fn linked(dispatcher: &Host, rows: usize) {
    soon("all are linked", || {
        let peers = dispatcher.json(["peers"]);
        let peers = peers.as_array().expect("an array").clone();
        peers.iter().filter(|row| row["link"] == "standing").count() == rows
    });
}

/// What doctor says: its exit code and its JSON.
fn examined(dispatcher: &Host) -> (Option<i32>, Value) {
    let ran = dispatcher.run(["doctor", "--json"]);
    let said = ran.stdout_text();
    (ran.code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// The problems: whom they concern, and the fix.
fn problems(found: &Value) -> Vec<(String, String)> {
    let findings = found["findings"].as_array().expect("an array").iter();
    let problems = findings.filter(|finding| finding["severity"] == "problem");
    let nodes = |finding: &Value| {
        let nodes = finding["nodes"].as_array().expect("an array").iter();
        nodes.map(|node| node.as_str().expect("a name").to_owned()).collect::<Vec<_>>().join("+")
    };
    problems.map(|finding| (nodes(finding), finding["fix"].as_str().expect("a text").to_owned())).collect()
}

/// Runs a command on a host.
fn on(host: &Host, program: &'static str, args: &[&str]) {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let ran = host.inside(move || Command::new(program).args(&args).status().expect("it starts"));
    assert!(ran.join().expect("it ran").success());
}

/// Drops what would come in by this UDP port of a host and nothing else, as a firewall does: at the switch, in front of
/// the host, where a class without room takes these packets.
fn block(lan: &Lan, host: usize, port: u16) {
    let commands = format!(
        "tc qdisc add dev host{host} root handle 1: htb default 10 r2q 1000000
         tc class add dev host{host} parent 1: classid 1:10 htb rate 10gbit
         tc class add dev host{host} parent 1: classid 1:20 htb rate 1mbit
         tc qdisc add dev host{host} parent 1:20 handle 20: pfifo limit 0
         tc filter add dev host{host} parent 1: protocol ip u32 \
            match ip protocol 17 0xff match ip dport {port} 0xffff flowid 1:20
         tc filter add dev host{host} parent 1: protocol ipv6 u32 \
            match ip6 protocol 17 0xff match ip6 dport {port} 0xffff flowid 1:20"
    );
    let ran = lan.at_the_switch(move || Command::new("sh").args(["-ec", &commands]).output().expect("sh starts"));
    let ran = ran.join().expect("it ran");
    assert!(ran.status.success(), "tc: {}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn a_healthy_lan_is_all_well_and_exits_0() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a");
        let _b = joined(dispatcher, lan.host(3), "b");
        linked(dispatcher, 6);
        let ran = dispatcher.run(["doctor"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stdout_text());
        assert!(ran.stdout_text().contains("All is well: 3 nodes, 6 pairs."), "{}", ran.stdout_text());
        let (code, found) = examined(dispatcher);
        assert_eq!((code, &found["ok"]), (Some(0), &Value::Bool(true)));
        let pair = found["pairs"].as_array().expect("an array").iter();
        let pair = pair.clone().find(|pair| pair["from"] == "a" && pair["to"] == "b").expect("a pair");
        assert_eq!((&pair["address"], &pair["via"]), (&"10.77.0.3:7879".into(), &"eth0 10.77.0.2".into()));
        linked(dispatcher, 6);
    });
}

#[test]
fn a_pair_that_is_cut_is_named() {
    on_a_lan(4, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let _workers = [(2, "a"), (3, "b"), (4, "c")].map(|(host, name)| joined(dispatcher, lan.host(host), name));
        linked(dispatcher, 12);
        lan.cut(lan.host(2), lan.host(3));
        let (code, found) = examined(dispatcher);
        let named = problems(&found);
        assert_eq!(code, Some(1), "{found:#}");
        assert!(!named.is_empty() && named.iter().all(|(nodes, _)| nodes == "a+b"), "{found:#}");
        lan.heal();
        linked(dispatcher, 12);
        assert_eq!(examined(dispatcher).0, Some(0));
    });
}

#[test]
fn a_firewall_that_drops_beacons_is_named_with_its_rule() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a");
        let _b = joined(dispatcher, lan.host(3), "b");
        linked(dispatcher, 6);
        block(lan, 3, 5555);
        let (code, found) = examined(dispatcher);
        let rule = "on b, let UDP 5555 in: sudo ufw allow 5555/udp".to_owned();
        assert_eq!((code, problems(&found)), (Some(1), vec![("b".to_owned(), rule)]), "{found:#}");
        assert_eq!(dispatcher.ok(["run", "--label", "name=b", "--", "echo", "works"]), "works\n");
    });
}

#[test]
fn a_firewall_in_front_of_a_workers_port_is_named_with_its_rule() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a");
        let _b = joined(dispatcher, lan.host(3), "b");
        linked(dispatcher, 6);
        block(lan, 3, 7879);
        let (code, found) = examined(dispatcher);
        let named = problems(&found);
        assert_eq!((code, named.len(), named[0].0.as_str()), (Some(1), 1, "a+b"), "{found:#}");
        let rule = "on b, let UDP 7879 in: sudo ufw allow from 10.77.0.2 to any port 7879 proto udp";
        assert!(named[0].1.starts_with(rule), "{}", named[0].1);
    });
}

#[test]
fn an_interface_without_multicast_is_named() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a");
        let _b = joined(dispatcher, lan.host(3), "b");
        linked(dispatcher, 6);
        on(lan.host(3), "ip", &["link", "set", "eth0", "multicast", "off"]);
        let (code, found) = examined(dispatcher);
        let node = found["nodes"].as_array().expect("an array").iter().find(|node| node["name"] == "b");
        assert_eq!(node.expect("b")["interfaces_without_multicast"], serde_json::json!(["eth0"]));
        let named = problems(&found);
        assert!(code == Some(1) && named.iter().any(|(nodes, _)| nodes.contains('b')), "{found:#}");
    });
}

#[test]
fn a_worker_under_the_dispatchers_user_is_a_warning_once_others_may_submit() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let warnings = || {
        let found = cluster.json(["doctor"]);
        let findings = found["findings"].as_array().expect("an array").clone();
        let of_users = |finding: &&Value| finding["text"].as_str().is_some_and(|text| text.contains("may submit"));
        findings.iter().filter(of_users).map(|finding| finding["severity"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(warnings(), Vec::<Value>::new());
    let token = cluster.ok(["token", "create", "--role", "client"]);
    let other = Cluster::new();
    other.ok(["list", "--dispatcher", &format!("127.0.0.1:{}", cluster.port()), "--token", token.trim()]);
    assert_eq!(warnings(), [Value::from("warning")]);
}

#[test]
fn without_a_dispatcher_it_says_what_it_can_and_exits_125() {
    on_a_lan(2, |lan| {
        let ran = lan.host(2).run(["doctor"]);
        assert_eq!(ran.code, Some(125));
        assert!(
            ran.stdout_text().contains("addresses    10.77.0.2") && ran.stdout_text().contains("none heard by beacon")
        );
        assert!(ran.stderr_text().starts_with("error: "), "{}", ran.stderr_text());
        let _serving = lan.host(1).serves();
        let (code, found) = examined(lan.host(2));
        assert_eq!(code, Some(125));
        assert_eq!(found["dispatchers_heard"], serde_json::json!(["10.77.0.1:7878"]));
    });
}

#[test]
fn where_peer_to_peer_is_off_only_links_to_the_dispatcher_are_looked_at() {
    on_a_lan(3, |lan| {
        let first = lan.host(1);
        let serving = first.node(first.command(["dispatcher", "--p2p-enabled", "false", "--verbose"]));
        serving.says("Dispatcher listening on");
        let _a = joined(first, lan.host(2), "a");
        let _b = joined(first, lan.host(3), "b");
        let ran = first.run(["doctor"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stdout_text());
        assert!(ran.stdout_text().contains("--p2p-enabled false"), "{}", ran.stdout_text());
    });
}
