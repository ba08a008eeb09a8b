//! What a link costs on loopback: getting in, asking, and moving bytes.
//!
//! Both ends share this machine and its processors, so a link between two
//! machines has more of either; the figures are for comparing builds.

#![expect(clippy::unwrap_used, reason = "a bench that cannot set itself up has nothing to measure")]

use std::net::SocketAddr;
use std::sync::OnceLock;

use divan::counter::{BytesCount, ItemsCount};
use octaskly::model::handshake::{Credential, Hello, Intent, Welcome};
use octaskly::model::limits::{DATA_FRAME, MAX_FRAME};
use octaskly::model::messages::WorkerMessage;
use octaskly::model::{Epoch, InstanceId, Millis, NodeId, Role, Timestamp};
use octaskly::transport::{Alpn, CloseCode, Endpoint, FrameRecv, Link, hello};
use octaskly::trust::Identity;
use octaskly::wire::{DataFrame, OutputStream};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// A dispatcher that lets everybody in, echoes heartbeats on control streams and swallows data on others.
struct Bed {
    runtime: Runtime,
    dispatcher: NodeId,
    address: SocketAddr,
    client: Endpoint,
}

fn bed() -> &'static Bed {
    static BED: OnceLock<Bed> = OnceLock::new();
    BED.get_or_init(|| {
        let runtime = Runtime::new().unwrap();
        let identity = Identity::ephemeral().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let endpoint = Endpoint::bind(&identity, any, &Alpn::ALL).unwrap();
        let address = endpoint.local_addr();
        let client = Endpoint::bind(&Identity::ephemeral().unwrap(), any, &[]).unwrap();
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(async move {
                    let welcome = welcome(1);
                    let Ok((link, mut send, mut recv)) = incoming.welcome(welcome).await else { return };
                    tokio::spawn(swallow(link));
                    while let Ok(Some(message)) = recv.recv::<WorkerMessage>(MAX_FRAME).await {
                        if send.send(&message).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Bed { runtime, dispatcher: identity.id(), address, client }
    })
}

/// Reads streams to their end and then ends the way back.
async fn swallow(link: Link) {
    while let Ok((mut send, mut recv)) = link.accept_bi().await {
        tokio::spawn(async move {
            while let Ok(Some(_)) = recv.recv_data().await {}
            let _ = send.finish().await;
        });
    }
}

fn welcome(protocol: u16) -> Welcome {
    Welcome {
        protocol,
        software: "1.0.0".into(),
        role: Role::Worker,
        name: "a".parse().unwrap(),
        epoch: Epoch(1),
        now: Timestamp::from_millis(1),
        heartbeat_interval: Millis::from_secs(2),
        task_timeout: Millis::from_secs(300),
        p2p: false,
    }
}

fn said() -> Hello {
    let (intent, credential) = (Intent::Client, Credential::None);
    Hello {
        protocol_oldest: 1,
        protocol_newest: 1,
        software: "1.0.0".into(),
        instance: InstanceId(1),
        intent,
        credential,
    }
}

impl Bed {
    async fn join(&self) -> (Link, octaskly::transport::FrameSend, FrameRecv) {
        let link = self.client.connect(self.address, self.dispatcher, Alpn::Client).await.unwrap();
        let (_, send, recv) = hello(&link, &said()).await.unwrap();
        (link, send, recv)
    }
}

#[divan::bench(sample_count = 200)]
fn handshake_hello_and_welcome() {
    let bed = bed();
    bed.runtime.block_on(async {
        let (link, ..) = bed.join().await;
        link.close(CloseCode::Done, "done");
    });
}

/// What every client command pays for its connection.
#[divan::bench(sample_count = 50)]
fn endpoint_handshake_hello_and_goodbye() {
    let bed = bed();
    bed.runtime.block_on(async {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let client = Endpoint::bind(&Identity::ephemeral().unwrap(), any, &[]).unwrap();
        let link = client.connect(bed.address, bed.dispatcher, Alpn::Client).await.unwrap();
        hello(&link, &said()).await.unwrap();
        link.close(CloseCode::Done, "done");
        client.close("done").await;
    });
}

#[divan::bench(sample_count = 200)]
fn heartbeat_and_echo(bencher: divan::Bencher) {
    let bed = bed();
    let (_link, mut send, mut recv) = bed.runtime.block_on(bed.join());
    bencher.bench_local(|| {
        bed.runtime.block_on(async {
            send.send(&WorkerMessage::Heartbeat { sequence: 1 }).await.unwrap();
            recv.recv::<WorkerMessage>(MAX_FRAME).await.unwrap().unwrap();
        });
    });
}

#[divan::bench(sample_count = 20)]
fn ten_thousand_small_messages_and_their_echoes(bencher: divan::Bencher) {
    const MESSAGES: u64 = 10_000;
    let bed = bed();
    let (_link, send, recv) = bed.runtime.block_on(bed.join());
    let (mut send, mut recv) = (Some(send), recv);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        bed.runtime.block_on(async {
            let mut sender = send.take().unwrap();
            let writer = tokio::spawn(async move {
                for sequence in 0..MESSAGES {
                    sender.feed(&WorkerMessage::Heartbeat { sequence }).await.unwrap();
                }
                sender.flush().await.unwrap();
                sender
            });
            for _ in 0..MESSAGES {
                recv.recv::<WorkerMessage>(MAX_FRAME).await.unwrap().unwrap();
            }
            send = Some(writer.await.unwrap());
        });
    });
}

#[divan::bench(args = [1, 4], sample_count = 10)]
fn data_over_streams(bencher: divan::Bencher, streams: u64) {
    const BYTES: u64 = 256 * 1024 * 1024;
    let bed = bed();
    let (link, _send, _recv) = bed.runtime.block_on(bed.join());
    bencher.counter(BytesCount::new(BYTES)).bench_local(|| {
        bed.runtime.block_on(async {
            let mut writers = Vec::new();
            for _ in 0..streams {
                let (mut send, mut recv) = link.open_bi().await.unwrap();
                writers.push(tokio::spawn(async move {
                    let piece = vec![7; DATA_FRAME];
                    let output = DataFrame::Output { stream: OutputStream::Stdout, bytes: piece.as_slice().into() };
                    for _ in 0..BYTES / streams / DATA_FRAME as u64 {
                        send.feed_data(&output).await.unwrap();
                    }
                    send.finish().await.unwrap();
                    assert!(recv.recv_data().await.unwrap().is_none());
                }));
            }
            for writer in writers {
                writer.await.unwrap();
            }
        });
    });
}
