//! Everything a stranger, or a peer gone wrong, can throw at a dispatcher and
//! a worker, while those who belong go on working.
//!
//! How much of its rate enrolled work keeps is printed, never asserted: it
//! depends on the machine, and the attackers run on it too. Asserted is that
//! work goes on, that its results are right, that memory stays bounded, and that
//! afterwards everything is as before. Absent: who may do what (`lan`).

#![cfg(target_os = "linux")]

#[path = "hostile/foe.rs"]
mod foe;
mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use foe::{Dice, Foe, Trap, datagrams, nonsense};
use harness::{Cluster, Node, peak_memory_of, soon};
use octaskly::trust::Alpn;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How long each attack goes on, and as long is measured before it.
const ROUND: Duration = Duration::from_secs(3);
/// What attacks may add to the most memory a node ever had: the bounds of its strangers (512 of them, 4 MiB of
/// dials) many times over, and far less than any of them would take without bounds.
const MEMORY: u64 = 128 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// The tests of this file measure; one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// A dispatcher and a worker with more to do than they will ever finish.
struct Scene {
    cluster: Cluster,
    dispatcher: Node,
    worker: Node,
    /// The memory and descriptors of both before anything happened.
    before: [(u64, usize); 2],
}

impl Scene {
    fn set() -> Self {
        let cluster = Cluster::new();
        let dispatcher = cluster.dispatcher();
        let worker = cluster.worker_with(&["--name", "a", "--max-jobs", "8"]);
        worker.says("Joined the dispatcher");
        // Tasks that leave the processors to the attackers, who would have their own in life: what is measured is
        // then what the attack costs the dispatcher, not what it costs the machine.
        cluster.ok(["submit", "--array", "1-1000000", "--", "sleep", "0.05"]);
        let scene = Self { cluster, dispatcher, worker, before: [(0, 0); 2] };
        soon("work goes on", || scene.finished() > 50);
        Self { before: scene.footprints(), ..scene }
    }

    fn footprints(&self) -> [(u64, usize); 2] {
        [&self.dispatcher, &self.worker].map(|node| (node.peak_memory(), descriptors(node.pid())))
    }

    /// Tasks of the large job that have succeeded so far.
    fn finished(&self) -> u64 {
        let jobs = self.cluster.json(["list", "--all"]);
        let rows = jobs.as_array().expect("an array");
        let row = rows.iter().find(|row| row["id"] == 1).expect("the large job");
        assert_eq!(row["tasks"]["failed"], 0, "{row}");
        row["tasks"]["succeeded"].as_u64().expect("a number")
    }

    /// Measures a round in peace and one under `attack`, which is given that long.
    async fn under<F: Future<Output = ()>>(&self, what: &str, attack: F) {
        let peace = self.rate(sleep(ROUND)).await;
        let war = self
            .rate(async {
                tokio::join!(attack, sleep(ROUND));
            })
            .await;
        println!("{what}: {war:.0} of {peace:.0} tasks/s, {:.0} %", 100.0 * war / peace);
        assert!(war > 0.0, "nothing was done during: {what}");
        let ran = self.cluster.run(["run", "--priority", "9", "--", "sh", "-c", "echo right; exit 3"]);
        assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(3), "right\n"), "after {what}: {ran:?}");
    }

    /// Tasks finished in a second while `this` goes on.
    async fn rate(&self, this: impl Future<Output = ()>) -> f64 {
        let (count, begun) = (self.finished(), Instant::now());
        this.await;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let done = (self.finished() - count) as f64;
        done / begun.elapsed().as_secs_f64()
    }

    /// Everything is as before: memory, descriptors, the roster, the log; and the work is still right.
    fn ends_as_before(mut self) {
        let names = ["dispatcher", "worker"];
        for ((name, before), after) in names.iter().zip(self.before).zip(self.footprints()) {
            println!("{name}: at most {} MiB of memory, {} before", after.0 >> 20, before.0 >> 20);
            assert!(after.0 < before.0 + MEMORY, "the {name} took {} bytes more", after.0 - before.0);
        }
        let opened = |scene: &Self| scene.footprints().map(|(_, descriptors)| descriptors);
        let before = self.before.map(|(_, descriptors)| descriptors);
        // Shims and readers of the store come and go with the work; a leak would be in the hundreds.
        soon("descriptors are closed", || opened(&self).iter().zip(before).all(|(now, then)| *now <= then + 16));
        let roster = self.cluster.json(["workers"]);
        assert_eq!((roster.as_array().map(Vec::len), &roster[0]["name"]), (Some(1), &"a".into()), "{roster}");
        assert_eq!(self.worker.log().matches("Joined the dispatcher").count(), 1, "{}", self.worker.log());
        assert!(self.dispatcher.is_running() && self.worker.is_running());
        let said = self.dispatcher.log();
        assert!(!said.contains("crashed") && !said.contains("panicked"), "{said}");
        assert!(said.len() < 256 * 1024, "strangers filled {} bytes of log", said.len());
        self.cluster.ok(["cancel", "1"]);
        soon("the job is cancelled", || self.cluster.job_state("1").as_deref() == Some("cancelled"));
        assert_eq!(self.cluster.ok(["run", "seq {} 3", ":::", "1"]), "1\n2\n3\n");
        assert_eq!((self.worker.stop(), self.dispatcher.stop()), (Some(0), Some(0)));
    }
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// The UDP ports that a process has.
fn ports(node: &Node) -> BTreeSet<u16> {
    let files = fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("it runs");
    let sockets: BTreeSet<PathBuf> = files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).collect();
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter_map(|row| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let port = u16::from_str_radix(columns.get(1)?.rsplit(':').next()?, 16).ok()?;
        sockets.contains(&PathBuf::from(format!("socket:[{}]", columns.get(9)?))).then_some(port)
    })
    .collect()
}

#[tokio::test]
async fn enrolled_work_goes_on_whatever_strangers_do_and_nothing_of_them_stays() {
    let _turn = TURN.lock().await;
    let scene = Scene::set();
    let home = scene.cluster.home();
    let mut dice = Dice::new(fastrand::u64(..));

    let every_port: BTreeSet<u16> = ports(&scene.dispatcher).union(&ports(&scene.worker)).copied().collect();
    assert!(every_port.contains(&scene.cluster.port()) && every_port.len() >= 2, "{every_port:?}");
    let mut storm = JoinSet::new();
    for port in &every_port {
        // 20,000 of them, spread over the round.
        storm.spawn(datagrams(*port, 20_000, 200, ROUND / 110, dice.fork()));
    }
    let what = format!("20,000 random datagrams at each of the ports {every_port:?}");
    scene.under(&what, async { while storm.join_next().await.is_some() {} }).await;

    scene.under("1,000 connections that say nothing", silence(Foe::of(&home, Alpn::Client), 1000)).await;
    scene.under("100 connections that talk nonsense", babble(&home, 100, false, &mut dice)).await;
    scene.under("100 that do so again and again, as fast as they can", babble(&home, 100, true, &mut dice)).await;
    scene.under("one that opens streams as fast as it can", streams(Foe::of(&home, Alpn::Worker))).await;
    scene.under("an enrolled client that does so", enrolled_streams(Foe::of(&home, Alpn::Client))).await;
    scene.ends_as_before();
}

/// So many connections that finish their handshake and then wait; all of them are closed by the other side.
async fn silence(foe: Foe, count: usize) {
    let mut silent = JoinSet::new();
    for _ in 0..count {
        let foe = foe.clone();
        silent.spawn(async move {
            // One that is pushed out during its handshake is as good.
            if let Ok(connection) = foe.dial().await {
                let closed = timeout(PATIENCE, connection.closed()).await;
                closed.expect("who says nothing is turned away");
            }
        });
    }
    while let Some(ended) = silent.join_next().await {
        ended.expect("no connection stays");
    }
}

/// So many connections at once, each with another kind of nonsense; with `again` one after the other in their places
/// until the round is over.
async fn babble(home: &Path, count: usize, again: bool, dice: &mut Dice) {
    let mut babbling = JoinSet::new();
    let over = Instant::now() + ROUND;
    for number in 0..count {
        let alpn = Alpn::ALL[number % Alpn::ALL.len()];
        let (foe, mut dice) = (Foe::of(home, alpn), dice.fork());
        babbling.spawn(async move {
            let mut rounds = 0..;
            while Instant::now() < over && (again || rounds.next() == Some(0)) {
                let Ok(connection) = foe.dial().await else { continue };
                let kinds = nonsense(&mut dice);
                let (_, bytes) = &kinds[number % kinds.len()];
                if let Ok((mut send, _recv)) = connection.open_bi().await {
                    let _ = send.write_all(bytes).await;
                    let _ = send.finish();
                    let _ = timeout(Duration::from_secs(1), connection.closed()).await;
                }
                connection.close(0u32.into(), b"");
            }
        });
    }
    while let Some(ended) = babbling.join_next().await {
        ended.expect("it babbles to the end");
    }
}

/// A stranger that opens a stream as soon as it may, says a byte and gives it up.
async fn streams(foe: Foe) {
    let over = Instant::now() + ROUND;
    let mut opened = 0;
    while Instant::now() < over {
        let Ok(connection) = foe.dial().await else { continue };
        while let Ok(Ok((mut send, mut recv))) = timeout(ROUND, connection.open_bi()).await {
            let _ = send.write_all(&[0]).await;
            let _ = (send.reset(0u32.into()), recv.stop(0u32.into()));
            opened += 1;
        }
    }
    println!("(it opened {opened} streams)");
}

/// The same by somebody whom the dispatcher knows: a client gone wrong.
async fn enrolled_streams(foe: Foe) {
    let over = Instant::now() + ROUND;
    let mut opened = 0;
    let (connection, _send, _recv) = foe.let_in().await;
    while Instant::now() < over {
        let stream = timeout(ROUND, connection.open_bi()).await.expect("streams given up make room for others");
        let (mut send, mut recv) = stream.expect("its link stays");
        let _ = send.write_all(&[0]).await;
        let _ = (send.reset(0u32.into()), recv.stop(0u32.into()));
        opened += 1;
        tokio::task::yield_now().await;
    }
    println!("(it opened {opened} streams)");
}

#[tokio::test]
async fn every_kind_of_nonsense_ends_the_link_it_came_by_and_no_other() {
    let _turn = TURN.lock().await;
    let (cluster, dispatcher, worker) = Cluster::with_a_worker();
    let home = cluster.home();
    let mut dice = Dice::new(fastrand::u64(..));
    // Peers find no dispatcher to talk to: links between workers have tests of their own.
    for alpn in Alpn::ALL.into_iter().filter(|alpn| *alpn != Alpn::Peer) {
        let foe = Foe::of(&home, alpn);
        for (what, bytes) in nonsense(&mut dice) {
            let connection = foe.dial().await.expect("the dispatcher answers strangers");
            let (mut send, _recv) = connection.open_bi().await.expect("one stream");
            // It may be gone before all of it was sent.
            let _ = send.write_all(&bytes).await;
            let _ = send.finish();
            let closed = timeout(PATIENCE, connection.closed()).await;
            assert!(closed.is_ok(), "{what} from a stranger with {alpn:?} goes unanswered");
        }
    }
    let client = Foe::of(&home, Alpn::Client);
    for (what, bytes) in nonsense(&mut dice) {
        let (bystander, mut control, _) = client.let_in().await;
        let (connection, _send, _recv) = client.let_in().await;
        let (mut send, _recv) = connection.open_bi().await.expect("a client's stream");
        let _ = send.write_all(&bytes).await;
        let _ = send.finish();
        drop(send);
        // One whole frame that is no request closes the link; one cut short is the stream's affair alone.
        if !what.contains("cut short") && !what.contains("without a frame") {
            let closed = timeout(PATIENCE, connection.closed()).await;
            assert!(closed.is_ok(), "{what} from a client goes unanswered");
        }
        assert!(bystander.close_reason().is_none() && control.finish().is_ok(), "{what} closed another link");
    }
    assert_eq!(cluster.ok(["run", "--", "echo", "all the same"]), "all the same\n");
    assert_eq!(worker.log().matches("Joined the dispatcher").count(), 1);
    let said = dispatcher.log();
    assert!(!said.contains("crashed") && !said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn a_client_that_announces_large_frames_on_all_its_streams_gets_no_memory_for_them() {
    let _turn = TURN.lock().await;
    let (cluster, dispatcher, _worker) = Cluster::with_a_worker();
    let foe = Foe::of(&cluster.home(), Alpn::Client);
    let before = peak_memory_of(u32::try_from(dispatcher.pid()).expect("an id")).expect("it runs");
    let (connection, _send, _recv) = foe.let_in().await;
    let mut writers = JoinSet::new();
    for _ in 0..100 {
        let connection = connection.clone();
        writers.spawn(async move {
            let Ok((mut send, _recv)) = connection.open_bi().await else { return };
            // 90 MiB, of which a third comes: nine gigabytes announced, three sent, if anybody took them.
            let _ = send.write_all(&(90u32 << 20).to_be_bytes()).await;
            for _ in 0..30 {
                if send.write_all(&vec![0x81; 1 << 20]).await.is_err() {
                    return;
                }
            }
            sleep(ROUND).await;
        });
    }
    let _ = timeout(ROUND * 2, async { while writers.join_next().await.is_some() {} }).await;
    let grown = dispatcher.peak_memory() - before;
    println!("the dispatcher took {} MiB more", grown >> 20);
    assert_eq!(cluster.ok(["run", "--", "echo", "meanwhile"]), "meanwhile\n");
    connection.close(0u32.into(), b"");
    assert!(grown < 2 * MEMORY, "{grown} bytes");
}

#[tokio::test]
async fn a_worker_that_looks_for_a_dispatcher_outlives_whatever_answers_it() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::new();
    let mut dice = Dice::new(fastrand::u64(..));
    let mut trap = Trap::open();
    let port = trap.port.to_string();
    let mut worker = cluster.worker_with(&["--name", "a", "--dispatcher", "127.0.0.1", "--port", &port]);
    for (what, bytes) in nonsense(&mut dice).iter().step_by(2) {
        timeout(PATIENCE, trap.answer(bytes)).await.unwrap_or_else(|_| panic!("it does not come back before {what}"));
        assert!(worker.is_running(), "{what} ended it: {}", worker.log());
    }
    let said = worker.log();
    assert!(!said.contains("panicked") && !said.contains("octaskly approve"), "{said}");
    assert!(worker.peak_memory() < MEMORY && said.len() < 64 * 1024, "{said}");
    assert_eq!(worker.stop(), Some(0));
}
