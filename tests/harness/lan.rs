//! Several hosts on one machine: a LAN of network namespaces, built by
//! `scripts/lan.sh`, with the real binary on each and a home of its own.
//!
//! The one invariant: a machine that refuses namespaces fails these tests and
//! says why; none is skipped without a word. Absent: any pretending; frames
//! really pass a switch, and a cut cable is one that passes nothing.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{Cluster, Node, WITHOUT, not_tested, without_namespaces};

/// The port of every dispatcher here, which is the default.
pub const PORT: u16 = 7878;
/// What builds it.
pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lan.sh");

/// A LAN; it is taken down when dropped, and when this process is gone.
pub struct Lan {
    name: String,
    hosts: Vec<Host>,
}

/// Runs `test` on a LAN of `count` hosts.
///
/// Namespaces take root. Without it the test runs once more inside a user
/// namespace of its own, where it is.
pub fn on_a_lan(count: u32, test: impl FnOnce(&Lan)) {
    on_a_lan_with(count, &[], test);
}

/// The same, with options of the script's `up`, such as `--rate 100mbit`.
#[allow(dead_code, reason = "not every suite limits its network")]
pub fn on_a_lan_with(count: u32, options: &[&str], test: impl FnOnce(&Lan)) {
    if without_namespaces() {
        return not_tested("nothing is known about several hosts");
    }
    if nix::unistd::geteuid().is_root() { test(&Lan::new(count, options)) } else { again_as_root() }
}

/// Runs the test that this thread is named after in a user namespace.
fn again_as_root() {
    let name = thread::current().name().unwrap_or("main").to_owned();
    assert_ne!(name, "main", "run this with more than one test thread, or as: unshare -Urn cargo test");
    let program = std::env::current_exe().expect("the path of this test");
    let ran = Command::new("unshare").arg("-Urn").arg(program).args([&name, "--exact", "--nocapture"]).output();
    let ran = ran.expect("unshare starts");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    eprint!("{said}");
    // A name that matches nothing succeeds as well.
    let passed = ran.status.success() && said.contains("test result: ok. 1 passed");
    assert!(passed, "{name} failed in a user namespace, or this machine refuses those: run it as root");
}

impl Lan {
    fn new(count: u32, options: &[&str]) -> Self {
        static BUILT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", std::process::id(), BUILT.fetch_add(1, Ordering::Relaxed));
        // It exists from here on, so that one that is half built is taken down as well.
        let mut lan = Self { name, hosts: Vec::new() };
        let (count, pid) = (count.to_string(), std::process::id().to_string());
        script(&[&["up", &lan.name, &count, "--while", &pid], options].concat());
        let addresses = script(&["addresses", &lan.name]);
        lan.hosts = addresses.lines().map(|line| Host::new(&lan, line)).collect();
        lan
    }

    /// What the script calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Host `number`, from 1.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// These two can no longer reach each other, and hear nothing of it.
    pub fn cut(&self, a: &Host, b: &Host) {
        script(&["cut", &self.name, &a.number, &b.number]);
    }

    /// Everybody who was cut can reach everybody again.
    pub fn heal(&self) {
        script(&["heal", &self.name]);
    }

    /// Nobody can reach this host any more, and it hears nothing of it.
    pub fn unplug(&self, host: &Host) {
        script(&["unplug", &self.name, &host.number]);
    }

    /// Ends that.
    pub fn plug(&self, host: &Host) {
        script(&["plug", &self.name, &host.number]);
    }

    /// Runs `act` where every frame of the LAN passes.
    pub fn at_the_switch<R: Send + 'static>(&self, act: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
        inside(&script(&["pid", &self.name, "switch"]), act)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = Command::new("bash").args([SCRIPT, "down", &self.name]).stdin(Stdio::null()).status();
    }
}

/// One machine on the LAN: a home, the binary, and an address.
pub struct Host {
    lan: String,
    number: String,
    /// Its address.
    pub address: Ipv4Addr,
    cluster: Cluster,
}

/// Whatever a [`Cluster`] can do is done on this host.
impl Deref for Host {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Host {
    fn new(lan: &Lan, line: &str) -> Self {
        let (number, address) = line.split_once(' ').expect("a number and an address");
        let through = ["bash", SCRIPT, "exec", &lan.name, number, "--"].map(Into::into).to_vec();
        let address = address.parse().expect("an address");
        Self { lan: lan.name.clone(), number: number.to_owned(), address, cluster: Cluster::through(through, PORT) }
    }

    /// A second home on this host: another user, or the same one after everything was lost.
    pub fn another_home(&self) -> Self {
        let through = ["bash", SCRIPT, "exec", &self.lan, &self.number, "--"].map(Into::into).to_vec();
        let (lan, number) = (self.lan.clone(), self.number.clone());
        Self { lan, number, address: self.address, cluster: Cluster::through(through, PORT) }
    }

    /// Where its dispatcher listens.
    pub fn at(&self) -> SocketAddr {
        (self.address, PORT).into()
    }

    /// A dispatcher that the whole LAN can reach. It listens when this returns.
    pub fn serves(&self) -> Node {
        let node = self.node(self.command(["dispatcher", "--verbose"]));
        node.says("Dispatcher listening on");
        node
    }

    /// A worker by this name that is told nothing but where its dispatcher is, and what else `options` say.
    pub fn works_for(&self, dispatcher: Ipv4Addr, name: &str, options: &[&str]) -> Node {
        let dispatcher = dispatcher.to_string();
        let args = ["worker", "--name", name, "--dispatcher", &dispatcher];
        self.node(self.command(args.iter().chain(options)))
    }

    /// Bytes that its network interface has received and sent.
    #[allow(dead_code, reason = "not every suite counts bytes")]
    pub fn carried(&self) -> (u64, u64) {
        let read = || std::fs::read_to_string("/proc/thread-self/net/dev").expect("a table");
        let table = self.inside(read).join().expect("it was read");
        let row = table.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("an interface");
        let numbers: Vec<u64> = row.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        (numbers[0], numbers[8])
    }

    /// Runs `act` on this host, in this process.
    pub fn inside<R: Send + 'static>(&self, act: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
        inside(&script(&["pid", &self.lan, &self.number]), act)
    }
}

/// What the script prints; it has to succeed.
pub fn script(args: &[&str]) -> String {
    let ran = Command::new("bash").arg(SCRIPT).args(args).stdin(Stdio::null()).output().expect("bash starts");
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "lan.sh {args:?} failed: {complaint}\n({WITHOUT}=1 leaves these tests out)");
    String::from_utf8(ran.stdout).expect("text").trim_end().to_owned()
}

/// Runs `act` on a thread of its own in the network namespace of process `pid`.
fn inside<R: Send + 'static>(pid: &str, act: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("the namespace of a host");
    thread::spawn(move || {
        // SAFETY: setns changes this thread alone and touches no memory; the descriptor is open.
        let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "this thread may not enter the host: {}", std::io::Error::last_os_error());
        act()
    })
}
