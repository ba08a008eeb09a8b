//! The nodes, and what is done to them.
//!
//! Invariant: whatever is done to a node is undone at an instant that was decided with it; a node has one trouble at a
//! time. The first worker is never killed, so that what grows in a long life is seen. Absent: what the cluster works on.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::dice::Dice;
use crate::harness::lan::{Host, Lan};
use crate::harness::{Node, SOON, eventually};

/// Silence after which a worker is lost here: short enough for it to happen.
const LOST_AFTER: &str = "12";
/// More descriptors than that, or more memory, in an idle node than before all of it: something leaks.
const MORE_DESCRIPTORS: u64 = 24;
const MORE_MEMORY: u64 = 64 << 20;

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    WorkerKilled,
    WorkerPaused,
    WorkerStopped,
    WorkerUnplugged,
    WorkersCut,
    DispatcherKilled,
    DispatcherPaused,
    DispatcherStopped,
    DiskFull,
}

const FAULTS: [Fault; 9] = [
    Fault::WorkerKilled,
    Fault::WorkerPaused,
    Fault::WorkerStopped,
    Fault::WorkerUnplugged,
    Fault::WorkersCut,
    Fault::DispatcherKilled,
    Fault::DispatcherPaused,
    Fault::DispatcherStopped,
    Fault::DiskFull,
];

/// A node and its trouble.
struct Slot {
    node: Option<Node>,
    trouble: Option<(Fault, Instant)>,
}

/// Descriptors and memory of the idle nodes.
pub(crate) type Sizes = BTreeMap<String, (u64, u64)>;

/// All nodes.
pub(crate) struct Field<'a> {
    lan: &'a Lan,
    dispatcher: Slot,
    workers: Vec<Slot>,
    /// Where the dispatcher's home is: small enough to be filled.
    disk: PathBuf,
    filled_until: Option<Instant>,
    cut_until: Option<Instant>,
    done: BTreeMap<Fault, u64>,
}

impl<'a> Field<'a> {
    /// A dispatcher and so many workers that have joined.
    pub(crate) fn set_up(lan: &'a Lan, workers: usize) -> Self {
        let host = lan.host(1);
        let disk = host.home();
        fs::create_dir_all(&disk).expect("a folder");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m,mode=700", "octest"]).arg(&disk).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a small disk for the dispatcher");
        let mut field = Self {
            lan,
            dispatcher: Slot { node: None, trouble: None },
            workers: Vec::new(),
            disk,
            filled_until: None,
            cut_until: None,
            done: BTreeMap::new(),
        };
        let dispatcher = field.dispatch();
        dispatcher.says("Dispatcher listening on");
        field.dispatcher.node = Some(dispatcher);
        for number in 0..workers {
            let token = host.ok(["token", "create"]).trim().to_owned();
            let node = field.work(number, &["--token", &token]);
            node.says("Joined the dispatcher");
            field.workers.push(Slot { node: Some(node), trouble: None });
        }
        field
    }

    /// Where the dispatcher and its admin are.
    pub(crate) fn dispatcher_host(&self) -> &'a Host {
        self.lan.host(1)
    }

    fn dispatch(&self) -> Node {
        let host = self.dispatcher_host();
        host.node(host.command(["dispatcher", "--heartbeat-timeout", LOST_AFTER]))
    }

    fn work(&self, number: usize, more: &[&str]) -> Node {
        let (host, name) = (self.lan.host(number + 2), format!("w{number}"));
        let options = [&["--max-jobs", "4", "--stop-grace", "2s"], more].concat();
        host.works_for(self.dispatcher_host().address, &name, &options)
    }

    /// One thing more goes wrong, unless its node has trouble enough.
    pub(crate) fn go_wrong(&mut self, dice: &mut Dice) {
        let fault = FAULTS[dice.index(FAULTS.len())];
        let (number, lasts) = (dice.index(self.workers.len()), Duration::from_millis(dice.between(100, 9_000)));
        // Now and then for longer than it takes to be lost.
        let lasts = if dice.between(1, 10) == 1 { lasts + Duration::from_secs(12) } else { lasts };
        let until = Instant::now() + lasts;
        let happened = match fault {
            Fault::WorkerKilled | Fault::WorkerPaused | Fault::WorkerStopped | Fault::WorkerUnplugged => {
                self.trouble_worker(fault, number, until)
            }
            Fault::WorkersCut => self.cut(number, until),
            Fault::DispatcherKilled | Fault::DispatcherPaused | Fault::DispatcherStopped => {
                self.trouble_dispatcher(fault, Instant::now() + lasts / 4)
            }
            Fault::DiskFull => self.fill(Instant::now() + lasts / 3),
        };
        *self.done.entry(fault).or_default() += u64::from(happened);
    }

    fn trouble_worker(&mut self, fault: Fault, number: usize, until: Instant) -> bool {
        let lasting = number == 0 && matches!(fault, Fault::WorkerKilled | Fault::WorkerStopped);
        let slot = &mut self.workers[number];
        if slot.trouble.is_some() || lasting {
            return false;
        }
        if fault == Fault::WorkerUnplugged {
            self.lan.unplug(self.lan.host(number + 2));
        } else {
            slot.suffer(fault);
        }
        slot.trouble = Some((fault, until));
        true
    }

    fn trouble_dispatcher(&mut self, fault: Fault, until: Instant) -> bool {
        if self.dispatcher.trouble.is_some() || self.filled_until.is_some() {
            return false;
        }
        self.dispatcher.suffer(fault);
        self.dispatcher.trouble = Some((fault, until));
        true
    }

    fn cut(&mut self, number: usize, until: Instant) -> bool {
        let other = (number + 1) % self.workers.len();
        if self.cut_until.is_some() || other == number {
            return false;
        }
        self.lan.cut(self.lan.host(number + 2), self.lan.host(other + 2));
        self.cut_until = Some(until);
        true
    }

    fn fill(&mut self, until: Instant) -> bool {
        // One that starts on a full disk is right to refuse to.
        if self.filled_until.is_some() || self.dispatcher.trouble.is_some() {
            return false;
        }
        let filler = self.disk.join("filler").display().to_string();
        _ = Command::new("dd").args(["if=/dev/zero", &format!("of={filler}"), "bs=64k", "status=none"]).output();
        self.filled_until = Some(until);
        true
    }

    /// Nobody ends who was not told to; but a dispatcher that starts on a disk without any room says so and ends, and
    /// is started again once there is some, as a service manager would do.
    fn check(&mut self) {
        let refused = |node: &mut Node| !node.is_running() && node.log().contains("the disk is full");
        if self.dispatcher.trouble.is_none() && self.dispatcher.node.as_mut().is_some_and(refused) {
            self.dispatcher.node = None;
            self.dispatcher.trouble = Some((Fault::DispatcherKilled, self.filled_until.unwrap_or_else(Instant::now)));
        }
        for slot in self.workers.iter_mut().chain([&mut self.dispatcher]) {
            if let (Some(node), None) = (&mut slot.node, slot.trouble) {
                assert!(node.is_running(), "a node has ended by itself; it said:\n{}", node.log());
            }
        }
    }

    /// Undoes what is over at `now`.
    pub(crate) fn recover(&mut self, now: Instant) {
        self.check();
        if self.filled_until.is_some_and(|until| until <= now) {
            self.filled_until = None;
            fs::remove_file(self.disk.join("filler")).expect("the filler is there");
        }
        if self.cut_until.is_some_and(|until| until <= now) {
            self.cut_until = None;
            self.lan.heal();
        }
        if let Some((fault, _)) = self.dispatcher.trouble.filter(|(_, until)| *until <= now) {
            self.dispatcher.trouble = None;
            if self.dispatcher.is_over(fault) {
                self.dispatcher.node = Some(self.dispatch());
            }
        }
        for number in 0..self.workers.len() {
            let Some((fault, _)) = self.workers[number].trouble.filter(|(_, until)| *until <= now) else { continue };
            self.workers[number].trouble = None;
            if fault == Fault::WorkerUnplugged {
                self.lan.plug(self.lan.host(number + 2));
            } else if self.workers[number].is_over(fault) {
                self.workers[number].node = Some(self.work(number, &[]));
            }
        }
    }

    /// Undoes everything.
    pub(crate) fn recover_all(&mut self) {
        let last = Instant::now() + Duration::from_secs(3600);
        self.recover(last);
    }

    /// Waits until the nodes have nothing to do, and measures them.
    pub(crate) fn sizes(&self) -> Sizes {
        std::thread::sleep(Duration::from_secs(3));
        let workers = self.workers.iter().enumerate().map(|(number, slot)| (format!("w{number}"), slot));
        let all = std::iter::once(("dispatcher".to_owned(), &self.dispatcher)).chain(workers);
        all.filter_map(|(name, slot)| Some((name, size(slot.node.as_ref()?.pid())))).collect()
    }

    /// What was done, for people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{:<20}{:>8}\n", "faults", "times");
        for (fault, times) in &self.done {
            text += &format!("{:<20}{times:>8}\n", format!("{fault:?}"));
        }
        text + &format!("{:<20}{:>8}\n", "all", self.done.values().sum::<u64>())
    }
}

impl Drop for Field<'_> {
    fn drop(&mut self) {
        for slot in self.workers.iter_mut().chain([&mut self.dispatcher]) {
            slot.node = None;
        }
        _ = Command::new("umount").arg("-l").arg(&self.disk).status();
    }
}

impl Slot {
    fn suffer(&mut self, fault: Fault) {
        let Some(node) = &mut self.node else { return };
        match fault {
            Fault::WorkerKilled | Fault::DispatcherKilled => node.kill(),
            Fault::WorkerPaused | Fault::DispatcherPaused => node.signal(Signal::SIGSTOP),
            _ => node.signal(Signal::SIGTERM),
        }
    }

    /// Ends the trouble; says whether the node has to be started again.
    fn is_over(&mut self, fault: Fault) -> bool {
        let Some(node) = &mut self.node else { return true };
        match fault {
            Fault::WorkerPaused | Fault::DispatcherPaused => {
                node.signal(Signal::SIGCONT);
                return false;
            }
            Fault::WorkerStopped | Fault::DispatcherStopped => {
                let ended =
                    eventually("a node that was told to stop ends", SOON, || (!node.is_running()).then_some(()));
                ended.unwrap_or_else(|missed| panic!("{missed}; it said:\n{}", node.log()));
            }
            _ => {}
        }
        true
    }
}

/// Descriptors and resident bytes.
fn size(pid: i32) -> (u64, u64) {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    (descriptors, kib.unwrap_or(0) * 1024)
}

/// What nodes had before and after, for people.
pub(crate) fn growth(before: &Sizes, after: &Sizes) -> String {
    let mut text = format!("{:<12}{:>20}{:>24}\n", "idle", "descriptors", "resident MiB");
    for (name, (descriptors, bytes)) in after {
        let (fewer, less) = before.get(name).copied().unwrap_or_default();
        let (fds, memory) = (format!("{fewer} -> {descriptors}"), format!("{} -> {}", less >> 20, bytes >> 20));
        text += &format!("{name:<12}{fds:>20}{memory:>24}\n");
    }
    text
}

/// Fails when a node has grown.
pub(crate) fn judge_growth(before: &Sizes, after: &Sizes) {
    for (name, (descriptors, bytes)) in after {
        let (fewer, less) = before.get(name).copied().unwrap_or_default();
        assert!(*descriptors <= fewer + MORE_DESCRIPTORS, "{name} has {descriptors} descriptors and had {fewer}");
        assert!(*bytes <= less + MORE_MEMORY, "{name} has {bytes} bytes in memory and had {less}");
    }
}
