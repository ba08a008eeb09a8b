//! Meshes of one process on loopback, with a dispatcher that is nothing but a
//! key and a clock: who is linked, by which link, and who is not.

mod giving;

use std::time::Duration;

use super::*;
use crate::model::{Epoch, Millis, Role};
use crate::node::worker::mesh::dialling::hello;
use crate::transport::{Alpn, Endpoint, TransportError, greet_peer};
use crate::trust::Signed;
use crate::trust::roster::{RosterEntry, RosterEpoch};

/// A dispatcher's key, and what it has signed so far.
struct Signer {
    identity: Identity,
    clock: Clock,
    change: u64,
}

/// One worker's mesh.
struct Peer {
    mesh: Mesh,
    id: NodeId,
    events: mpsc::Receiver<Event>,
}

impl Signer {
    fn new() -> Self {
        Self { identity: Identity::ephemeral().expect("a key"), clock: Clock::anchored_now(), change: 0 }
    }

    /// Signs a roster of these, issued so long ago.
    fn roster(&mut self, peers: &[&Peer], ago: Millis) -> Vec<u8> {
        self.change += 1;
        let entries = peers.iter().map(|peer| RosterEntry {
            node: peer.id,
            name: format!("w-{}", peer.id.short()).parse().expect("a name"),
            addresses: peer.mesh.listens().into_iter().collect(),
            role: Role::Worker,
        });
        let roster = Roster {
            epoch: RosterEpoch { start: Epoch(1), change: self.change },
            issued_at: Timestamp(self.clock.now().0 - ago.0 * 1000),
            entries: entries.collect(),
        };
        Signed::sign(&self.identity, &roster).expect("sound").to_bytes()
    }

    fn shows(&mut self, peers: &[&Peer]) -> Vec<u8> {
        let roster = self.roster(peers, Millis(0));
        peers.iter().for_each(|peer| peer.mesh.show(&roster));
        roster
    }

    /// A worker that this dispatcher has let in.
    async fn lets_in(&self, identity: Identity) -> Peer {
        let (events_in, events) = mpsc::channel(64);
        let id = identity.id();
        let mesh = Mesh::new(MeshConfig {
            identity: Arc::new(identity),
            instance: InstanceId(u64::from(id.0[0])),
            clock: self.clock,
            door: Door { listen: Some("127.0.0.1:0".parse().expect("an address")), advertise: None },
            hearing: None,
            events: events_in,
        });
        mesh.open(self.identity.id(), &self.welcome(true)).await.expect("a free port");
        Peer { mesh, id, events }
    }

    fn welcome(&self, p2p: bool) -> Welcome {
        Welcome {
            protocol: 1,
            software: "1.0.0".to_owned(),
            role: Role::Worker,
            name: "w".parse().expect("a name"),
            epoch: Epoch(1),
            now: self.clock.now(),
            heartbeat_interval: Millis(2000),
            task_timeout: Millis(1000),
            p2p,
        }
    }

    async fn lets_in_anybody(&self) -> Peer {
        self.lets_in(Identity::ephemeral().expect("a key")).await
    }

    /// Two workers, the smaller key first.
    async fn pair(&self) -> (Peer, Peer) {
        let (one, other) = (self.lets_in_anybody().await, self.lets_in_anybody().await);
        if one.id < other.id { (one, other) } else { (other, one) }
    }
}

impl Peer {
    fn linked(&self) -> Vec<NodeId> {
        self.mesh.peers().iter().map(|peer| peer.node).collect()
    }

    /// Waits until the mesh satisfies `wanted`.
    async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let mut changes = self.mesh.changes();
        let reached = async {
            while !wanted(self) {
                changes.changed().await.expect("the mesh is there");
            }
        };
        timeout(Duration::from_secs(20), reached).await.unwrap_or_else(|_| panic!("{what}: {:?}", self.mesh.peers()));
    }

    async fn is_linked_with(&self, others: &[&Peer]) {
        let mut ids: Vec<NodeId> = others.iter().map(|peer| peer.id).collect();
        ids.sort_unstable();
        self.until("linked with all", |peer| peer.linked() == ids).await;
    }

    /// A stranger, or somebody with this key, dials.
    async fn is_dialled_by(&self, identity: &Identity, alpn: Alpn) -> Result<Link, TransportError> {
        let endpoint = Endpoint::bind(identity, "127.0.0.1:0".parse().expect("an address"), &[]).expect("a port");
        let link = endpoint.connect(self.mesh.listens().expect("it listens"), self.id, alpn).await?;
        greet_peer(&link, &hello(InstanceId(7))).await.map(|_| link)
    }
}

#[tokio::test]
async fn workers_on_one_roster_are_linked_each_with_each() {
    let mut dispatcher = Signer::new();
    let peers = [
        dispatcher.lets_in_anybody().await,
        dispatcher.lets_in_anybody().await,
        dispatcher.lets_in_anybody().await,
        dispatcher.lets_in_anybody().await,
    ];
    dispatcher.shows(&peers.each_ref());
    for peer in &peers {
        let others: Vec<&Peer> = peers.iter().filter(|other| other.id != peer.id).collect();
        peer.is_linked_with(&others).await;
    }
}

/// Both want a link, have one, it is the same one, and each hears on it what the other says. On a busy machine either
/// may be told that none stands yet, or see its first one replaced.
async fn speak_on_the_same_link(one: &Peer, other: &Peer) -> bool {
    let (here, there) = tokio::join!(one.mesh.link(other.id), other.mesh.link(one.id));
    let (Ok(here), Ok(there)) = (here, there) else { return false };
    let secret = |link: &Link| link.exporter(b"which link is it").expect("TLS is finished");
    let answers =
        async |link: &Link| streams::probe(link).await.is_ok_and(|answer| answer.software == visitors::SOFTWARE);
    secret(&here) == secret(&there) && answers(&here).await && answers(&there).await
}

#[tokio::test]
async fn two_that_dial_each_other_at_once_keep_the_same_link() {
    for _ in 0..20 {
        let mut dispatcher = Signer::new();
        let (small, great) = dispatcher.pair().await;
        dispatcher.shows(&[&small, &great]);
        let agreed = async {
            while !speak_on_the_same_link(&small, &great).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let settled = timeout(Duration::from_secs(20), agreed).await;
        settled.unwrap_or_else(|_| panic!("{:?} and {:?}", small.mesh.peers(), great.mesh.peers()));
    }
}

#[tokio::test]
async fn a_roster_without_a_peer_ends_its_link_at_once_and_lets_it_in_no_more() {
    let mut dispatcher = Signer::new();
    let (one, other) = dispatcher.pair().await;
    dispatcher.shows(&[&one, &other]);
    one.is_linked_with(&[&other]).await;
    let link = one.mesh.link(other.id).await.expect("it stands");
    let without = dispatcher.roster(&[&one], Millis(0));
    one.mesh.show(&without);
    assert_eq!(one.linked(), [], "at once");
    assert!(matches!(link.closed().await, crate::transport::LinkEnd::ByUs));
    assert_eq!(one.mesh.link(other.id).await.err(), Some(MeshError::NotOnRoster(other.id)));
    other.until("the other end is gone", |other| other.linked().is_empty()).await;
    // It goes on dialling, and is told why not.
    other.until("it was told", |other| {
        matches!(other.mesh.0.why_not(one.id), MeshError::Unreachable { why, .. } if why.contains("does not name you"))
    })
    .await;
}

#[tokio::test]
async fn an_old_roster_shown_again_brings_nobody_back_and_a_forged_one_nobody_in() {
    let mut dispatcher = Signer::new();
    let (one, other) = dispatcher.pair().await;
    let with = dispatcher.shows(&[&one, &other]);
    one.is_linked_with(&[&other]).await;
    let without = dispatcher.roster(&[&one], Millis(0));
    one.mesh.show(&without);
    one.mesh.show(&with);
    assert_eq!(one.mesh.roster().expect("held").entries.len(), 1);
    let mut forger = Signer::new();
    forger.change = 100;
    one.mesh.show(&forger.roster(&[&one, &other], Millis(0)));
    one.mesh.show(b"nothing at all");
    assert_eq!((one.linked(), one.mesh.roster().expect("held").entries.len()), (vec![], 1));
}

#[tokio::test]
async fn nobody_comes_in_who_is_not_on_the_roster_whatever_it_dials_for() {
    let mut dispatcher = Signer::new();
    let (one, other) = dispatcher.pair().await;
    dispatcher.shows(&[&one, &other]);
    let stranger = Identity::ephemeral().expect("a key");
    match one.is_dialled_by(&stranger, Alpn::Peer).await.err() {
        Some(TransportError::Refused(refusal)) => {
            assert_eq!(refusal.code, crate::model::handshake::RefusalCode::NotOnRoster);
        }
        unexpected => panic!("{unexpected:?}"),
    }
    for alpn in [Alpn::Worker, Alpn::Client, Alpn::Join] {
        let error = one.is_dialled_by(&stranger, alpn).await.err();
        assert!(matches!(error, Some(TransportError::NotOffered { .. })), "{error:?}");
    }
    one.is_linked_with(&[&other]).await;
}

#[tokio::test]
async fn a_roster_that_has_run_out_ends_every_link_and_lets_nobody_in() {
    let mut dispatcher = Signer::new();
    let (one, other) = dispatcher.pair().await;
    let almost_over = Millis(600_000 - 3_000);
    let roster = dispatcher.roster(&[&one, &other], almost_over);
    [&one, &other].iter().for_each(|peer| peer.mesh.show(&roster));
    one.is_linked_with(&[&other]).await;
    one.until("the links end with it", |one| one.linked().is_empty()).await;
    assert_eq!(one.mesh.roster(), None);
    assert_eq!(one.mesh.link(other.id).await.err(), Some(MeshError::NotOnRoster(other.id)));
    // The dispatcher is back.
    dispatcher.shows(&[&one, &other]);
    one.is_linked_with(&[&other]).await;
}

#[tokio::test]
async fn what_a_worker_says_of_itself_reaches_its_peers_and_their_loops() {
    let mut dispatcher = Signer::new();
    let (one, mut other) = dispatcher.pair().await;
    dispatcher.shows(&[&one, &other]);
    one.is_linked_with(&[&other]).await;
    one.mesh.stand((3, 12, true), one.mesh.dispatcher_time());
    let wanted = PeerStatus { instance: InstanceId(u64::from(one.id.0[0])), free_slots: 3, ready: 12, accepting: true };
    other.until("it is known", |other| other.mesh.peers().iter().any(|peer| peer.status == Some(wanted))).await;
    loop {
        match timeout(Duration::from_secs(20), other.events.recv()).await.expect("in time") {
            Some(Event::Peer { from, message: PeerMessage::Status(status) }) if status == wanted => {
                break assert_eq!(from, one.id);
            }
            Some(Event::Peer { .. }) => {}
            _ => panic!("something else"),
        }
    }
    assert!(
        one.mesh.send(other.id, PeerMessage::Status(wanted)) && !one.mesh.send(one.id, PeerMessage::Status(wanted))
    );
}

#[tokio::test]
async fn a_link_that_broke_comes_back_by_itself_and_at_once_for_who_wants_it() {
    let mut dispatcher = Signer::new();
    let (one, other) = dispatcher.pair().await;
    dispatcher.shows(&[&one, &other]);
    for peer in [&one, &other] {
        let whom = if peer.id == one.id { &other } else { &one };
        peer.until("linked", |peer| peer.linked() == [whom.id]).await;
        let link = peer.mesh.link(whom.id).await.expect("it stands");
        link.close(CloseCode::Done, "cut");
        let again = peer.mesh.link(whom.id).await;
        assert!(again.is_ok_and(|again| !again.is_same(&link)));
    }
}

#[tokio::test]
async fn where_the_dispatcher_wants_no_direct_links_nothing_listens() {
    let dispatcher = Signer::new();
    let peer = dispatcher.lets_in_anybody().await;
    assert!(peer.mesh.listens().is_some());
    peer.mesh.open(dispatcher.identity.id(), &dispatcher.welcome(false)).await.expect("nothing to open");
    assert_eq!(peer.mesh.listens(), None);
    assert_eq!(peer.mesh.link(NodeId([1; 32])).await.err(), Some(MeshError::Closed));
}

#[tokio::test]
async fn a_port_that_the_user_gave_and_somebody_has_is_an_error_that_names_it() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let door = Door { listen: Some(address), advertise: None };
    let error = door.open(&Identity::ephemeral().expect("a key")).await.err().expect("it is taken");
    assert!(matches!(error, NodeError::PeerSocket { address: named, .. } if named == address));
    assert!(error.hint().is_some_and(|hint| hint.contains("--listen")));
}

#[tokio::test]
async fn a_worker_that_stops_is_no_peer_any_more_from_that_moment() {
    let mut dispatcher = Signer::new();
    let (one, other) = dispatcher.pair().await;
    dispatcher.shows(&[&one, &other]);
    one.is_linked_with(&[&other]).await;
    other.is_linked_with(&[&one]).await;
    other.mesh.close("it stops").await;
    one.until("its link is gone", |one| one.linked().is_empty()).await;
    assert_eq!(other.mesh.listens(), None);
}
