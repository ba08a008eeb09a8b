//! Real QUIC on loopback, several nodes in one process: what links promise.
//!
//! The bodies speak a small language (`node`, `listener`, `let_in`); nothing
//! here looks inside a packet. Timing is never asserted; limits of time only keep a
//! failing test from hanging.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use octaskly::model::handshake::{Credential, Hello, Intent, Refusal, RefusalCode, Waiting, Welcome};
use octaskly::model::limits::{DATA_FRAME, MAX_FRAME, MAX_FRAME_UNAUTHENTICATED, PROTOCOL_VERSION};
use octaskly::model::trust::{JoinNews, JoinReply};
use octaskly::model::{Epoch, InstanceId, Millis, NodeId, Role, Timestamp};
use octaskly::transport::{
    Alpn, CloseCode, Endpoint, FrameRecv, FrameSend, Link, LinkEnd, TransportError, ask_to_join, hello,
};
use octaskly::trust::{AccessFile, Home, Identity, access};
use octaskly::wire::{DataFrame, Message, OutputStream, WireError};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// A frame of this test's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Numbered(u64, #[serde(with = "serde_bytes")] Vec<u8>);

impl Message for Numbered {}

/// Anything that decodes, and no hello.
#[derive(Serialize, Deserialize)]
struct Junk(u8);

impl Message for Junk {}

/// A node that only connects.
struct Node {
    id: NodeId,
    endpoint: Endpoint,
}

fn node() -> Node {
    let identity = Identity::ephemeral().unwrap();
    Node { id: identity.id(), endpoint: Endpoint::bind(&identity, any_port(), &[]).unwrap() }
}

/// A node that others connect to.
fn listener() -> Node {
    let identity = Identity::ephemeral().unwrap();
    Node { id: identity.id(), endpoint: Endpoint::bind(&identity, any_port(), &Alpn::ALL).unwrap() }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

impl Node {
    async fn dial(&self, to: &Node) -> Link {
        self.endpoint.connect(to.endpoint.local_addr(), to.id, Alpn::Client).await.unwrap()
    }
}

fn client_hello() -> Hello {
    let software = "1.0.0".to_owned();
    let (intent, credential) = (Intent::Client, Credential::None);
    Hello { protocol_oldest: 1, protocol_newest: 1, software, instance: InstanceId(7), intent, credential }
}

fn welcome(protocol: u16) -> Welcome {
    Welcome {
        protocol,
        software: "1.0.0".to_owned(),
        role: Role::Client,
        name: "a".parse().unwrap(),
        epoch: Epoch(1),
        now: Timestamp::from_millis(1),
        heartbeat_interval: Millis::from_secs(2),
        task_timeout: Millis::from_secs(300),
        p2p: false,
    }
}

/// One end of a link that was welcomed, with its control stream.
struct End {
    link: Link,
    send: FrameSend,
    recv: FrameRecv,
}

/// Connects `from` to `to` and lets it in.
async fn let_in(from: &Node, to: &Node) -> (End, End) {
    let outer = async {
        let link = from.dial(to).await;
        let (_, send, recv) = hello(&link, &client_hello()).await.unwrap();
        End { link, send, recv }
    };
    let inner = async {
        let incoming = to.endpoint.accept().await.unwrap();
        let welcome = welcome(PROTOCOL_VERSION);
        let (link, send, recv) = incoming.welcome(welcome).await.unwrap();
        End { link, send, recv }
    };
    timeout(PATIENCE, async { tokio::join!(outer, inner) }).await.unwrap()
}

async fn end_of(link: &Link) -> LinkEnd {
    timeout(PATIENCE, link.closed()).await.expect("the link ends")
}

#[tokio::test]
async fn a_peers_id_equals_its_key_at_both_ends() {
    let (dispatcher, worker) = (listener(), node());
    let (ours, theirs) = let_in(&worker, &dispatcher).await;
    assert_eq!((ours.link.peer(), theirs.link.peer()), (dispatcher.id, worker.id));
    assert_eq!((ours.link.alpn(), theirs.link.alpn()), (Alpn::Client, Alpn::Client));
    assert_eq!(ours.link.remote_addr(), dispatcher.endpoint.local_addr());
    assert_eq!(theirs.link.remote_addr(), worker.endpoint.local_addr());
}

#[tokio::test]
async fn a_wrong_key_at_a_known_address_is_refused() {
    let (impostor, expected, worker) = (listener(), node(), node());
    let address = impostor.endpoint.local_addr();
    let error = worker.endpoint.connect(address, expected.id, Alpn::Worker).await.err().unwrap();
    assert!(matches!(error, TransportError::WrongKey { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn an_unknown_key_gets_a_refusal_with_text_and_hint() {
    let (dispatcher, stranger) = (listener(), node());
    let refusal = Refusal {
        code: RefusalCode::NotEnrolled,
        text: "this key is not enrolled here".into(),
        hint: Some("--token".into()),
    };
    let sent = refusal.clone();
    let inner = async { dispatcher.endpoint.accept().await.unwrap().refuse(sent).await };
    let outer = async {
        let link = stranger.dial(&dispatcher).await;
        hello(&link, &client_hello()).await.err().unwrap()
    };
    let (error, ()) = tokio::join!(outer, inner);
    assert!(matches!(error, TransportError::Refused(received) if received == refusal));
}

#[tokio::test]
async fn a_purpose_that_nobody_offers_is_named() {
    let identity = Identity::ephemeral().unwrap();
    let dispatcher = Endpoint::bind(&identity, any_port(), &[Alpn::Worker]).unwrap();
    let error = node().endpoint.connect(dispatcher.local_addr(), identity.id(), Alpn::Client).await.err().unwrap();
    assert!(error.to_string().contains("octaskly-client/1"), "{error}");
}

#[tokio::test]
async fn who_closes_a_link_says_why_and_the_other_side_reads_it() {
    let (dispatcher, worker) = (listener(), node());
    let (ours, theirs) = let_in(&worker, &dispatcher).await;
    theirs.link.close(CloseCode::Superseded, "a newer link of yours took this one's place");
    let text = "a newer link of yours took this one's place".to_owned();
    assert_eq!(end_of(&ours.link).await, LinkEnd::ByPeer { code: CloseCode::Superseded, text });
    assert_eq!(end_of(&theirs.link).await, LinkEnd::ByUs);
}

#[tokio::test]
async fn a_closed_endpoint_is_noticed_by_its_peers_and_its_owner() {
    let (dispatcher, worker) = (listener(), node());
    let (mut ours, _theirs) = let_in(&worker, &dispatcher).await;
    dispatcher.endpoint.close("stopping for an upgrade").await;
    let text = "stopping for an upgrade".to_owned();
    assert_eq!(end_of(&ours.link).await, LinkEnd::ByPeer { code: CloseCode::Stopping, text });
    assert!(matches!(ours.recv.recv::<Numbered>(MAX_FRAME).await, Err(TransportError::LinkLost(_))));
    assert!(dispatcher.endpoint.accept().await.is_none());
    dispatcher.endpoint.close("twice is no mistake").await;
}

#[tokio::test]
async fn an_endpoint_that_is_dropped_says_goodbye_too() {
    let (dispatcher, worker) = (listener(), node());
    let (ours, theirs) = let_in(&worker, &dispatcher).await;
    drop(worker);
    assert!(matches!(end_of(&theirs.link).await, LinkEnd::ByPeer { code: CloseCode::Stopping, .. }));
    assert_eq!(end_of(&ours.link).await, LinkEnd::ByUs);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_reported_as_that() {
    let free = UdpSocket::bind(any_port()).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let node = node();
    let error = node.endpoint.connect(address, node.id, Alpn::Client).await.err().unwrap();
    assert!(matches!(error, TransportError::NothingListens(at) if at == address), "{error:?}");
}

#[tokio::test]
async fn a_port_in_use_is_refused_by_address() {
    let first = listener();
    let address = first.endpoint.local_addr();
    let error = Endpoint::bind(&Identity::ephemeral().unwrap(), address, &Alpn::ALL).err().unwrap();
    assert!(matches!(error, TransportError::PortInUse(at) if at == address));
    assert!(error.to_string().contains(&address.to_string()));
}

#[tokio::test]
async fn fifty_thousand_frames_arrive_in_order() {
    const FRAMES: u64 = 50_000;
    let (dispatcher, worker) = (listener(), node());
    let (mut ours, mut theirs) = let_in(&worker, &dispatcher).await;
    let writer = tokio::spawn(async move {
        for number in 0..FRAMES {
            ours.send.feed(&Numbered(number, vec![0; (number % 97) as usize])).await.unwrap();
        }
        ours.send.finish().await.unwrap();
        ours
    });
    let reader = async {
        for number in 0..FRAMES {
            let frame = theirs.recv.recv::<Numbered>(MAX_FRAME).await.unwrap().unwrap();
            assert_eq!(frame, Numbered(number, vec![0; (number % 97) as usize]));
        }
        assert_eq!(theirs.recv.recv::<Numbered>(MAX_FRAME).await.unwrap(), None);
    };
    timeout(PATIENCE, reader).await.unwrap();
    writer.await.unwrap();
}

#[tokio::test]
async fn messages_and_data_share_a_stream_in_order() {
    let (dispatcher, worker) = (listener(), node());
    let (ours, theirs) = let_in(&worker, &dispatcher).await;
    let (mut send, _) = ours.link.open_bi().await.unwrap();
    let bytes = vec![7; DATA_FRAME];
    send.feed(&Numbered(1, Vec::new())).await.unwrap();
    send.feed_data(&DataFrame::Output { stream: OutputStream::Stderr, bytes: bytes.as_slice().into() }).await.unwrap();
    send.feed_data(&DataFrame::End).await.unwrap();
    send.finish().await.unwrap();
    let (_, mut recv) = theirs.link.accept_bi().await.unwrap();
    assert_eq!(recv.recv::<Numbered>(MAX_FRAME).await.unwrap(), Some(Numbered(1, Vec::new())));
    let output = recv.recv_data().await.unwrap().unwrap();
    assert!(matches!(&output, DataFrame::Output { stream: OutputStream::Stderr, bytes: got } if **got == bytes));
    assert_eq!(recv.recv_data().await.unwrap(), Some(DataFrame::End));
    assert_eq!(recv.recv_data().await.unwrap(), None);
}

#[tokio::test]
async fn a_sender_hears_that_all_is_kept_only_when_its_receiver_says_so() {
    let (dispatcher, worker) = (listener(), node());
    let (ours, theirs) = let_in(&worker, &dispatcher).await;
    for is_kept in [true, false] {
        let mut send = ours.link.open_uni().await.unwrap();
        send.feed(&Numbered(1, Vec::new())).await.unwrap();
        send.flush().await.unwrap();
        let mut recv = theirs.link.accept_uni().await.unwrap();
        assert_eq!(recv.recv::<Numbered>(MAX_FRAME).await.unwrap(), Some(Numbered(1, Vec::new())));
        if is_kept {
            recv.kept()
        } else {
            drop(recv)
        }
        assert_eq!(timeout(PATIENCE, send.until_kept()).await.unwrap().is_ok(), is_kept);
    }
}

#[tokio::test]
async fn a_cancelled_receive_or_send_loses_no_frame() {
    const FRAMES: u64 = 300;
    let (dispatcher, worker) = (listener(), node());
    let (mut ours, mut theirs) = let_in(&worker, &dispatcher).await;
    let moment = Duration::from_micros(200);
    let writer = tokio::spawn(async move {
        for number in 0..FRAMES {
            // Larger than the stream's window, so that it cannot leave at once.
            if timeout(moment, ours.send.send(&Numbered(number, vec![1; 700_000]))).await.is_err() {
                ours.send.flush().await.unwrap();
            }
        }
        ours
    });
    let reader = async {
        let mut expected = 0;
        while expected < FRAMES {
            if let Ok(frame) = timeout(moment, theirs.recv.recv::<Numbered>(MAX_FRAME)).await {
                assert_eq!(frame.unwrap().unwrap().0, expected);
                expected += 1;
            }
        }
    };
    timeout(3 * PATIENCE, reader).await.unwrap();
    writer.await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_holds_back_the_writer() {
    let (dispatcher, worker) = (listener(), node());
    let (mut ours, mut theirs) = let_in(&worker, &dispatcher).await;
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let piece = vec![0; DATA_FRAME];
    let total = 64u64 * 1024 * 1024;
    let writer = tokio::spawn(async move {
        while count.load(Ordering::Relaxed) < total {
            let output = DataFrame::Output { stream: OutputStream::Stdout, bytes: piece.as_slice().into() };
            ours.send.send_data(&output).await.unwrap();
            count.fetch_add(DATA_FRAME as u64, Ordering::Relaxed);
        }
        ours.send.finish().await.unwrap();
        ours
    });
    // The writer runs into the closed window: its count no longer moves.
    let mut before = u64::MAX;
    while before != written.load(Ordering::Relaxed) {
        before = written.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before < 2 * 1024 * 1024, "{before} bytes were taken from a writer that nobody reads");
    let reader = async {
        let mut read = 0;
        while let Some(frame) = theirs.recv.recv_data().await.unwrap() {
            read += frame.output_bytes();
        }
        read
    };
    assert_eq!(timeout(PATIENCE, reader).await.unwrap(), total);
    writer.await.unwrap();
}

#[tokio::test]
async fn streams_that_nobody_reads_do_not_hold_up_the_control_stream() {
    let (dispatcher, worker) = (listener(), node());
    let (mut ours, mut theirs) = let_in(&worker, &dispatcher).await;
    let mut stuck = Vec::new();
    for _ in 0..50 {
        let (mut send, recv) = ours.link.open_bi().await.unwrap();
        stuck.push(tokio::spawn(async move {
            let piece = vec![0; DATA_FRAME];
            let output = DataFrame::Output { stream: OutputStream::Stdout, bytes: piece.as_slice().into() };
            while send.send_data(&output).await.is_ok() {}
            drop(recv);
        }));
    }
    // Fifty full windows are more than one connection may have on its way unacknowledged.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in 0..10 {
        ours.send.send(&Numbered(number, Vec::new())).await.unwrap();
        let frame = timeout(PATIENCE, theirs.recv.recv::<Numbered>(MAX_FRAME)).await.unwrap();
        assert_eq!(frame.unwrap(), Some(Numbered(number, Vec::new())));
    }
    ours.link.close(CloseCode::Done, "done");
    for task in stuck {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn garbage_closes_only_the_link_it_came_by() {
    let (dispatcher, bad, good) = (listener(), node(), node());
    let (mut bad_end, mut bad_inner) = let_in(&bad, &dispatcher).await;
    let (mut good_end, mut good_inner) = let_in(&good, &dispatcher).await;
    bad_end.send.send(&Numbered(1, vec![1, 2, 3])).await.unwrap();
    let error = bad_inner.recv.recv::<Hello>(MAX_FRAME).await.unwrap_err();
    assert!(matches!(error, TransportError::Wire(WireError::Malformed(_))), "{error:?}");
    assert!(matches!(end_of(&bad_end.link).await, LinkEnd::ByPeer { code: CloseCode::Malformed, .. }));
    good_end.send.send(&Numbered(2, Vec::new())).await.unwrap();
    assert_eq!(good_inner.recv.recv::<Numbered>(MAX_FRAME).await.unwrap(), Some(Numbered(2, Vec::new())));
}

#[tokio::test]
async fn a_frame_over_the_cap_closes_the_link_before_it_is_read() {
    let (dispatcher, worker) = (listener(), node());
    let (mut ours, mut theirs) = let_in(&worker, &dispatcher).await;
    let writer = tokio::spawn(async move {
        let _ = ours.send.send(&Numbered(1, vec![0; 50_000_000])).await;
        ours.link
    });
    let error = theirs.recv.recv::<Numbered>(1024).await.unwrap_err();
    assert!(matches!(error, TransportError::Wire(WireError::TooLong { cap: 1024, .. })), "{error:?}");
    let LinkEnd::ByPeer { code, text } = end_of(&writer.await.unwrap()).await else { panic!("closed otherwise") };
    assert!(code == CloseCode::Malformed && text.contains("1024"), "{text}");
}

#[tokio::test]
async fn a_stranger_that_says_no_hello_but_something_else_is_turned_away() {
    let (dispatcher, stranger) = (listener(), node());
    let link = stranger.dial(&dispatcher).await;
    let (mut send, _recv) = link.open_bi().await.unwrap();
    send.send(&Junk(1)).await.unwrap();
    assert!(matches!(end_of(&link).await, LinkEnd::ByPeer { code: CloseCode::Malformed, .. }));

    let link = stranger.dial(&dispatcher).await;
    let (mut send, _recv) = link.open_bi().await.unwrap();
    let endless = Hello { software: "x".repeat(MAX_FRAME_UNAUTHENTICATED as usize), ..client_hello() };
    send.send(&endless).await.unwrap();
    assert!(matches!(end_of(&link).await, LinkEnd::ByPeer { code: CloseCode::Malformed, .. }));
    let_in(&node(), &dispatcher).await;
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_gone_after_the_deadline() {
    let (dispatcher, stranger) = (listener(), node());
    let link = stranger.dial(&dispatcher).await;
    assert!(matches!(end_of(&link).await, LinkEnd::ByPeer { code: CloseCode::TooSlow, .. }));
}

#[tokio::test]
async fn a_stranger_has_one_stream_until_it_is_welcome() {
    let (dispatcher, stranger) = (listener(), node());
    let link = stranger.dial(&dispatcher).await;
    let moment = Duration::from_millis(300);
    let control = link.open_bi().await.unwrap();
    assert!(timeout(moment, link.open_bi()).await.is_err(), "no second stream");
    assert!(timeout(moment, link.open_uni()).await.is_err(), "no stream one way");
    drop(control);
    let (ours, theirs) = let_in(&stranger, &dispatcher).await;
    let mut open = Vec::new();
    for number in 0..20 {
        let (mut send, recv) = timeout(PATIENCE, ours.link.open_bi()).await.unwrap().unwrap();
        send.send(&Numbered(number, Vec::new())).await.unwrap();
        open.push((send, recv));
    }
    for number in 0..20 {
        let (_, mut recv) = theirs.link.accept_bi().await.unwrap();
        assert_eq!(recv.recv::<Numbered>(MAX_FRAME).await.unwrap(), Some(Numbered(number, Vec::new())));
    }
    timeout(PATIENCE, ours.link.open_uni()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_crowd_that_connects_at_once_gets_in() {
    let (dispatcher, from) = (Arc::new(listener()), Arc::new(node()));
    let host = dispatcher.clone();
    let accepting = tokio::spawn(async move {
        let mut inside = Vec::new();
        while inside.len() < 200 {
            let incoming = host.endpoint.accept().await.unwrap();
            let welcome = welcome(PROTOCOL_VERSION);
            inside.push(incoming.welcome(welcome).await.unwrap());
        }
        inside
    });
    let mut dials = Vec::new();
    for _ in 0..200 {
        let (dispatcher, from) = (dispatcher.clone(), from.clone());
        dials.push(tokio::spawn(async move {
            let link = from.dial(&dispatcher).await;
            let (_, send, recv) = hello(&link, &client_hello()).await.unwrap();
            End { link, send, recv }
        }));
    }
    let mut ends = Vec::new();
    for dial in dials {
        ends.push(timeout(PATIENCE, dial).await.unwrap().unwrap());
    }
    assert_eq!(timeout(PATIENCE, accepting).await.unwrap().unwrap().len(), ends.len());
}

/// Connects `from` to `to` as one that joins, and lets it wait.
async fn waiting(from: &Node, to: &Node, expected: Option<NodeId>) -> (End, End) {
    let outer = async {
        let link = from.endpoint.connect_join(to.endpoint.local_addr(), expected).await.unwrap();
        let (waiting, send, recv) = ask_to_join(&link, &join_hello()).await.unwrap();
        assert_eq!(waiting.name.to_string(), "worker-b");
        End { link, send, recv }
    };
    let inner = async {
        let incoming = to.endpoint.accept().await.unwrap();
        let (link, send, recv) = incoming.hold(told_to_wait()).await.unwrap();
        End { link, send, recv }
    };
    timeout(PATIENCE, async { tokio::join!(outer, inner) }).await.unwrap()
}

fn join_hello() -> Hello {
    Hello { intent: Intent::Join { name: Some("worker-b".parse().unwrap()) }, ..client_hello() }
}

fn told_to_wait() -> Waiting {
    Waiting { protocol: 1, software: "1.0.0".to_owned(), name: "worker-b".parse().unwrap() }
}

const LABEL: &[u8] = b"EXPORTER-octaskly-join/1";

#[tokio::test]
async fn who_joins_an_unknown_dispatcher_learns_the_key_that_answered_and_both_ends_share_a_secret() {
    let (dispatcher, worker) = (listener(), node());
    let (mut ours, mut theirs) = waiting(&worker, &dispatcher, None).await;
    assert_eq!((ours.link.peer(), theirs.link.peer()), (dispatcher.id, worker.id));
    assert_eq!((ours.link.alpn(), theirs.link.alpn()), (Alpn::Join, Alpn::Join));
    assert_eq!(ours.link.exporter(LABEL).unwrap(), theirs.link.exporter(LABEL).unwrap());
    let (again, _) = waiting(&worker, &dispatcher, Some(dispatcher.id)).await;
    assert_ne!(ours.link.exporter(LABEL).unwrap(), again.link.exporter(LABEL).unwrap(), "one for each connection");

    theirs.send.send(&JoinNews::Proof([1; 32])).await.unwrap();
    assert_eq!(ours.recv.recv::<JoinNews>(100).await.unwrap(), Some(JoinNews::Proof([1; 32])));
    ours.send.send(&JoinReply::WrongCode { left: 2 }).await.unwrap();
    assert_eq!(theirs.recv.recv::<JoinReply>(100).await.unwrap(), Some(JoinReply::WrongCode { left: 2 }));
}

#[tokio::test]
async fn somebody_between_a_joiner_and_its_dispatcher_shares_no_secret_with_both() {
    let (dispatcher, between, between_out, worker) = (listener(), listener(), node(), node());
    let (victim, _) = waiting(&worker, &between, None).await;
    let (_, real) = waiting(&between_out, &dispatcher, None).await;
    assert_ne!(victim.link.exporter(LABEL).unwrap(), real.link.exporter(LABEL).unwrap());
    assert_ne!(victim.link.peer(), dispatcher.id);
}

#[tokio::test]
async fn a_joiner_that_knows_its_dispatcher_demands_its_key() {
    let (impostor, expected, worker) = (listener(), node(), node());
    let address = impostor.endpoint.local_addr();
    let error = worker.endpoint.connect_join(address, Some(expected.id)).await.err().unwrap();
    assert!(matches!(error, TransportError::WrongKey { .. }), "{error:?}");
}

#[tokio::test]
async fn a_joiner_that_waits_gets_no_more_room_than_a_stranger() {
    let (dispatcher, worker) = (listener(), node());
    let (ours, _theirs) = waiting(&worker, &dispatcher, None).await;
    let moment = Duration::from_millis(300);
    assert!(timeout(moment, ours.link.open_bi()).await.is_err(), "no second stream");
    assert!(timeout(moment, ours.link.open_uni()).await.is_err(), "no stream one way");
}

#[tokio::test]
async fn a_joiner_that_waits_outlives_the_deadlines_of_strangers_and_a_flood_of_them() {
    let (dispatcher, worker) = (Arc::new(listener()), node());
    let (mut ours, mut theirs) = waiting(&worker, &dispatcher, None).await;
    let crowd = Arc::new(node());
    let flood = (0..600).map(|_| {
        let (dispatcher, crowd) = (dispatcher.clone(), crowd.clone());
        tokio::spawn(async move {
            // One that is pushed out during its handshake has no link to read why from.
            let address = dispatcher.endpoint.local_addr();
            let Ok(link) = crowd.endpoint.connect(address, dispatcher.id, Alpn::Client).await else { return };
            let end = end_of(&link).await;
            assert!(matches!(end, LinkEnd::ByPeer { code: CloseCode::Crowded | CloseCode::TooSlow, .. }), "{end:?}");
        })
    });
    for stranger in flood.collect::<Vec<_>>() {
        timeout(3 * PATIENCE, stranger).await.expect("every stranger is gone").unwrap();
    }
    theirs.send.send(&JoinNews::Enrolled).await.unwrap();
    let news = timeout(PATIENCE, ours.recv.recv::<JoinNews>(100)).await.unwrap().unwrap();
    assert_eq!(news, Some(JoinNews::Enrolled));
}

#[tokio::test]
async fn only_so_many_wait_and_a_place_is_free_again_when_one_has_gone() {
    let (dispatcher, worker) = (listener(), node());
    let mut all = Vec::new();
    for _ in 0..64 {
        all.push(waiting(&worker, &dispatcher, None).await);
    }
    let outer = async {
        let link = worker.endpoint.connect_join(dispatcher.endpoint.local_addr(), None).await.unwrap();
        ask_to_join(&link, &join_hello()).await.err().unwrap()
    };
    let inner = async { dispatcher.endpoint.accept().await.unwrap().hold(told_to_wait()).await.err().unwrap() };
    let (outside, inside) = timeout(PATIENCE, async { tokio::join!(outer, inner) }).await.unwrap();
    assert!(matches!(inside, TransportError::TooManyWaiting), "{inside:?}");
    let TransportError::Refused(refusal) = outside else { panic!("{outside:?}") };
    assert!(refusal.code == RefusalCode::TooManyJoining && refusal.code.is_temporary());

    let (ours, theirs) = all.pop().unwrap();
    ours.link.close(CloseCode::Done, "gone");
    end_of(&theirs.link).await;
    waiting(&worker, &dispatcher, None).await;
}

#[tokio::test]
async fn datagrams_of_noise_disturb_nobody() {
    let (dispatcher, worker) = (listener(), node());
    let (mut ours, mut theirs) = let_in(&worker, &dispatcher).await;
    let socket = UdpSocket::bind(any_port()).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for length in (0..1400).cycle().take(5_000) {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let _ = socket.send_to(&noise, dispatcher.endpoint.local_addr());
    }
    ours.send.send(&Numbered(1, Vec::new())).await.unwrap();
    assert!(timeout(PATIENCE, theirs.recv.recv::<Numbered>(MAX_FRAME)).await.unwrap().unwrap().is_some());
    let_in(&node(), &dispatcher).await;
}

#[tokio::test]
async fn a_stream_that_is_given_up_is_not_mistaken_for_a_complete_one() {
    let (dispatcher, worker) = (listener(), node());
    let (ours, theirs) = let_in(&worker, &dispatcher).await;
    let mut send = ours.link.open_uni().await.unwrap();
    send.send(&Numbered(1, Vec::new())).await.unwrap();
    let mut recv = theirs.link.accept_uni().await.unwrap();
    recv.recv::<Numbered>(MAX_FRAME).await.unwrap();
    send.abandon();
    let error = timeout(PATIENCE, recv.recv::<Numbered>(MAX_FRAME)).await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::StreamClosed), "{error:?}");
}

/// Where the dispatcher of the next test keeps its home, in the process that is it.
const LISTENER_HOME: &str = "OCTASKLY_TEST_LISTENER_HOME";

/// Not a test by itself: the process that the next test starts and kills.
#[tokio::test]
async fn a_dispatcher_of_its_own_when_asked_to_be_one() {
    let Some(home) = std::env::var_os(LISTENER_HOME) else { return };
    let home = Home::locate(Some(home.into())).unwrap();
    let dir = home.dispatcher().unwrap();
    let identity = Identity::load_or_create(&dir).unwrap();
    let endpoint = Endpoint::bind(&identity, any_port(), &Alpn::ALL).unwrap();
    let file = AccessFile::new(identity.id(), endpoint.local_addr()).unwrap();
    access::write(&home.access_file(), &file).unwrap();
    let mut inside = Vec::new();
    while let Some(incoming) = endpoint.accept().await {
        let welcome = welcome(PROTOCOL_VERSION);
        inside.push(incoming.welcome(welcome).await);
    }
}

#[tokio::test]
async fn a_dispatcher_that_was_killed_and_restarted_is_noticed_with_the_next_frame() {
    let place = tempfile::tempdir().unwrap();
    let home = Home::locate(Some(place.path().join("home"))).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_dispatcher_of_its_own_when_asked_to_be_one"])
        .env(LISTENER_HOME, home.root())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let access = timeout(PATIENCE, written(&home.access_file())).await.unwrap();

    let worker = node();
    let link = worker.endpoint.connect(access.addresses[0], access.dispatcher, Alpn::Client).await.unwrap();
    let (_, mut send, _recv) = hello(&link, &client_hello()).await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let identity = Identity::load_or_create(&home.dispatcher().unwrap()).unwrap();
    assert_eq!(identity.id(), access.dispatcher);
    let _restarted = Endpoint::bind(&identity, access.addresses[0], &Alpn::ALL).unwrap();
    send.send(&Numbered(1, Vec::new())).await.unwrap();
    assert_eq!(end_of(&link).await, LinkEnd::Reset);
}

async fn written(path: &Path) -> AccessFile {
    loop {
        if let Ok(Some(file)) = access::read(path) {
            return file;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
