//! Who hears whom by beacon, and which direct links stand: what this dispatcher
//! hears itself, and what its workers say.
//!
//! The one invariant: nobody is shown who is not on the roster, under the name
//! that he has there, so that no beacon and no worker's word puts a name before
//! anybody's eyes. Absent: any use of it but showing it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::DispatcherOptions;
use super::shell::Shell;
use crate::discovery::{Announcement, Config, Discovery, Hearing, Standing};
use crate::model::limits::MAX_NEIGHBOURS;
use crate::model::messages::HeardPeer;
use crate::model::peers::LinkedPeer;
use crate::model::views::{PeerLink, PeerView, WorkerState, WorkerView};
use crate::model::{LinkId, NodeId, NodeName, Role, Timestamp};
use crate::node::Clock;
use crate::node::hardware::Hardware;
use crate::trust::Identity;

/// What a dispatcher is called among its neighbours.
pub(super) const NAME: &str = "dispatcher";

/// Everything that was heard.
pub(super) struct Neighbourhood {
    own: NodeId,
    clock: Clock,
    /// Set once discovery runs; never where it is off.
    hearing: OnceLock<Hearing>,
    /// What each connected worker hears.
    reports: Mutex<BTreeMap<NodeId, Report>>,
}

/// What one worker has said on its link.
struct Report {
    link: LinkId,
    name: NodeName,
    heard: BTreeMap<NodeId, Heard>,
    /// With whom it has a direct link, and where.
    linked: BTreeMap<NodeId, Option<SocketAddr>>,
}

#[derive(Clone)]
struct Heard {
    address: Option<SocketAddr>,
    at: Timestamp,
}

impl Report {
    /// What was said on this link; what was said on an earlier one is forgotten.
    fn of<'a>(reports: &'a mut BTreeMap<NodeId, Self>, link: LinkId, node: NodeId, name: &NodeName) -> &'a mut Self {
        let fresh = || Self { link, name: name.clone(), heard: BTreeMap::new(), linked: BTreeMap::new() };
        let report = reports.entry(node).or_insert_with(fresh);
        if report.link != link {
            *report = fresh();
        }
        report
    }

    /// Everybody whom it hears or has a direct link with, once.
    fn seen(&self) -> impl Iterator<Item = (NodeId, Seen)> {
        let heard = self.heard.iter().map(|(node, heard)| {
            let link = self.linked.get(node);
            let address = heard.address.or(link.copied().flatten());
            (*node, Seen { address, heard_at: Some(heard.at), linked: link.is_some() })
        });
        let unheard = self.linked.iter().filter(|(node, _)| !self.heard.contains_key(node));
        heard.chain(unheard.map(|(node, address)| (*node, Seen { address: *address, heard_at: None, linked: true })))
    }
}

/// One node as another one sees it.
struct Seen {
    address: Option<SocketAddr>,
    /// When its last beacon came, if one did.
    heard_at: Option<Timestamp>,
    /// Whether a direct link stands between the two.
    linked: bool,
}

/// Starts discovery for a dispatcher that takes part in it.
pub(super) fn listen(options: &DispatcherOptions, identity: Arc<Identity>, shell: &Arc<Shell>) -> Option<Discovery> {
    if options.embedded || !options.p2p_enabled {
        return None;
    }
    let hardware = Hardware::detect();
    let members = Arc::clone(shell);
    let config = Config {
        port: options.discovery_port,
        started_at: shell.neighbourhood.clock.now(),
        announcement: Announcement {
            role: Role::Dispatcher,
            cpu: hardware.cpu,
            memory_bytes: hardware.memory_bytes,
            gpus: hardware.gpu_count(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
        },
        standing: Standing::Member { cluster: identity.id(), name: NAME.parse().ok()?, listens: Some(shell.address) },
        identity,
        is_member: Box::new(move |node| members.directory.is_connected(node)),
    };
    let discovery = Discovery::start(config);
    let hearing = discovery.hearing();
    if hearing.is_listening() {
        tracing::info!("P2P discovery on UDP {}", options.discovery_port);
    }
    let _ = shell.neighbourhood.hearing.set(hearing);
    Some(discovery)
}

impl Neighbourhood {
    pub(super) fn new(own: NodeId, clock: Clock) -> Self {
        Self { own, clock, hearing: OnceLock::new(), reports: Mutex::new(BTreeMap::new()) }
    }

    /// Whom this dispatcher hears itself, where it hears anybody.
    pub(super) fn hearing(&self) -> Option<&Hearing> {
        self.hearing.get()
    }

    /// Now, in the time of this dispatcher.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Takes note of what the worker `node` hears.
    pub(super) fn report(&self, link: LinkId, node: NodeId, name: &NodeName, news: Vec<HeardPeer>) {
        let now = self.clock.now();
        let mut reports = self.reports();
        let report = Report::of(&mut reports, link, node, name);
        for HeardPeer { node, address, silent_for } in news {
            let Some(silence) = silent_for else {
                report.heard.remove(&node);
                continue;
            };
            if report.heard.len() < MAX_NEIGHBOURS || report.heard.contains_key(&node) {
                let at = Timestamp(now.0.saturating_sub(silence.0.saturating_mul(1000)));
                let address = address.and_then(|address| address.parse().ok());
                report.heard.insert(node, Heard { address, at });
            }
        }
    }

    /// Takes note of with whom the worker `node` has direct links: these, and no others.
    pub(super) fn linked(&self, link: LinkId, node: NodeId, name: &NodeName, peers: Vec<LinkedPeer>) {
        let mut reports = self.reports();
        let report = Report::of(&mut reports, link, node, name);
        report.linked = peers.into_iter().map(|peer| (peer.node, peer.address.parse().ok())).collect();
    }

    /// The link `link` of the worker `node` has ended, and what it said there is no news any more.
    pub(super) fn leave(&self, node: NodeId, link: LinkId) {
        let mut reports = self.reports();
        if reports.get(&node).is_some_and(|report| report.link == link) {
            reports.remove(&node);
        }
    }

    /// Who hears whom and who is linked with whom, of those on `roster` and this dispatcher. `has_link` says whether a worker is connected.
    pub(super) fn view(&self, roster: &[WorkerView], has_link: impl Fn(NodeId) -> bool) -> Vec<PeerView> {
        let now = self.clock.now();
        let belongs = |view: &&WorkerView| !matches!(view.state, WorkerState::Pending | WorkerState::Revoked);
        let names: BTreeMap<NodeId, &NodeName> =
            roster.iter().filter(belongs).map(|view| (view.node, &view.name)).collect();
        let Ok(own_name) = NAME.parse::<NodeName>() else { return Vec::new() };
        let row = |heard_by: &NodeName, listener: NodeId, node: NodeId, seen: Seen| {
            let (name, role) = match names.get(&node) {
                Some(name) => ((*name).clone(), Role::Worker),
                None if node == self.own => (own_name.clone(), Role::Dispatcher),
                None => return None,
            };
            let to_dispatcher = [(listener, node), (node, listener)];
            let to_dispatcher = to_dispatcher.iter().any(|(one, other)| *one == self.own && has_link(*other));
            Some(PeerView {
                name,
                node,
                role,
                address: seen.address.map(|address| address.to_string()),
                heard_by: heard_by.clone(),
                heard_at: seen.heard_at,
                silent_for: seen.heard_at.map(|at| now.since(at)),
                link: if seen.linked || to_dispatcher { PeerLink::Standing } else { PeerLink::Absent },
            })
        };
        let own = self.hearing.get().map(Hearing::neighbours).unwrap_or_default();
        let own = own.into_iter().filter_map(|neighbour| {
            let address = neighbour.addresses.first().copied();
            let seen = Seen { address, heard_at: Some(neighbour.heard_at), linked: false };
            row(&own_name, self.own, neighbour.node, seen)
        });
        let reports = self.reports();
        let of_workers = reports.iter().flat_map(|(listener, report)| {
            report.seen().map(move |(node, seen)| (&report.name, *listener, node, seen))
        });
        let of_workers = of_workers.filter_map(|(name, listener, node, seen)| row(name, listener, node, seen));
        let mut rows: Vec<PeerView> = own.chain(of_workers).collect();
        rows.sort_by(|one, other| (&one.name, &one.heard_by).cmp(&(&other.name, &other.heard_by)));
        rows
    }

    fn reports(&self) -> MutexGuard<'_, BTreeMap<NodeId, Report>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;
    use crate::model::files::FileTraffic;
    use crate::model::views::Usage;

    const OWN: NodeId = NodeId([1; 32]);
    const A: NodeId = NodeId([2; 32]);
    const B: NodeId = NodeId([3; 32]);
    const STRANGER: NodeId = NodeId([4; 32]);

    fn name(text: &str) -> NodeName {
        text.parse().expect("a name")
    }

    fn worker(node: NodeId, called: &str, state: WorkerState) -> WorkerView {
        let none = Usage::default();
        WorkerView {
            name: name(called),
            node,
            state,
            slots: none,
            cpu: none,
            memory_bytes: none,
            gpus: none,
            address: None,
            latency_us: None,
            version: "1.0.0".to_owned(),
            labels: BTreeMap::new(),
            tasks_done: 0,
            shortage: None,
            is_drained: false,
            drain_act: None,
            outputs_to_copy: None,
            traffic: FileTraffic::default(),
        }
    }

    fn heard(node: NodeId) -> HeardPeer {
        HeardPeer { node, address: Some("10.0.0.2:0".to_owned()), silent_for: Some(Millis(500)) }
    }

    fn scene() -> Neighbourhood {
        let scene = Neighbourhood::new(OWN, Clock::anchored_now());
        scene.report(LinkId(1), A, &name("a"), vec![heard(B), heard(OWN), heard(STRANGER)]);
        scene
    }

    fn shown(scene: &Neighbourhood, b_is: WorkerState) -> Vec<(String, String, PeerLink)> {
        let roster = [worker(A, "a", WorkerState::Idle), worker(B, "b", b_is)];
        let rows = scene.view(&roster, |node| node == A);
        rows.iter().map(|row| (row.name.to_string(), row.heard_by.to_string(), row.link)).collect()
    }

    fn row(peer: &str, by: &str, link: PeerLink) -> (String, String, PeerLink) {
        (peer.to_owned(), by.to_owned(), link)
    }

    #[test]
    fn only_who_is_on_the_roster_is_shown_whatever_a_worker_says() {
        let expected = [row("b", "a", PeerLink::Absent), row("dispatcher", "a", PeerLink::Standing)];
        assert_eq!(shown(&scene(), WorkerState::Idle), expected);
        for outside in [WorkerState::Pending, WorkerState::Revoked] {
            assert_eq!(shown(&scene(), outside), expected[1..]);
        }
    }

    #[test]
    fn a_direct_link_is_shown_also_where_no_beacon_was_heard_and_as_long_as_its_worker_says_so() {
        let scene = scene();
        let linked = |node| LinkedPeer { node, address: "10.0.0.3:7879".to_owned() };
        scene.linked(LinkId(1), A, &name("a"), vec![linked(B), linked(STRANGER)]);
        scene.linked(LinkId(2), B, &name("b"), vec![linked(A)]);
        let to_dispatcher = row("dispatcher", "a", PeerLink::Standing);
        let expected = [row("a", "b", PeerLink::Standing), row("b", "a", PeerLink::Standing), to_dispatcher.clone()];
        assert_eq!(shown(&scene, WorkerState::Idle), expected);
        let roster = [worker(A, "a", WorkerState::Idle), worker(B, "b", WorkerState::Idle)];
        let unheard = scene.view(&roster, |_| false).into_iter().find(|row| row.node == A).expect("a row");
        assert_eq!((unheard.heard_at, unheard.address.as_deref()), (None, Some("10.0.0.3:7879")));
        scene.linked(LinkId(1), A, &name("a"), vec![]);
        scene.leave(B, LinkId(2));
        assert_eq!(shown(&scene, WorkerState::Idle), [row("b", "a", PeerLink::Absent), to_dispatcher]);
    }

    #[test]
    fn who_has_gone_is_gone_and_what_an_ended_link_said_with_it() {
        let scene = scene();
        scene.report(LinkId(1), A, &name("a"), vec![HeardPeer { silent_for: None, ..heard(B) }]);
        assert_eq!(shown(&scene, WorkerState::Idle).len(), 1);
        scene.leave(A, LinkId(9));
        assert_eq!(shown(&scene, WorkerState::Idle).len(), 1, "an older link of the same worker");
        scene.report(LinkId(2), A, &name("a"), vec![heard(B)]);
        assert_eq!(shown(&scene, WorkerState::Idle), [row("b", "a", PeerLink::Absent)], "a new link starts anew");
        scene.leave(A, LinkId(2));
        assert_eq!(shown(&scene, WorkerState::Idle), []);
    }

    #[test]
    fn a_worker_that_never_stops_telling_fills_its_own_page_and_no_more() {
        let scene = scene();
        for round in 0..10u8 {
            let many = (0..1000u16).map(|number| {
                let mut key = [round; 32];
                key[..2].copy_from_slice(&number.to_be_bytes());
                heard(NodeId(key))
            });
            scene.report(LinkId(1), A, &name("a"), many.collect());
        }
        assert_eq!(scene.reports()[&A].heard.len(), MAX_NEIGHBOURS);
    }

    #[test]
    fn what_is_no_address_is_not_shown() {
        let scene = scene();
        let rude = HeardPeer { address: Some("\u{1b}[2J".to_owned()), ..heard(B) };
        scene.report(LinkId(1), A, &name("a"), vec![rude]);
        let rows = scene.view(&[worker(B, "b", WorkerState::Idle)], |_| false);
        assert_eq!(rows.iter().find(|row| row.node == B).map(|row| row.address.clone()), Some(None));
    }
}
