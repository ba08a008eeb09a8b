//! The Linux half: child subreapers, signals as descriptors, `/proc`.
//!
//! Invariant: what `/proc` says is taken as a hint that may be old by the time
//! it is read; whoever uses it asks again until there is nothing left to see.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::MsgFlags;
use nix::time::ClockId;
use nix::unistd::Pid;

/// Children made by a bare `clone` are no business of ordinary waits, but they are of ours.
pub(super) const WAIT_FLAGS: libc::c_int = libc::__WALL;
/// Descriptors that arrive are not passed on to tasks.
pub(super) const RECEIVE_FLAGS: MsgFlags = MsgFlags::MSG_CMSG_CLOEXEC;
/// Writing to a worker that is gone is an error and not a SIGPIPE.
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::MSG_NOSIGNAL;

/// The greatest signal number.
pub(super) fn last_signal() -> libc::c_int {
    libc::SIGRTMAX()
}

/// The clock that goes on while the machine sleeps.
pub(super) const ALWAYS_ON: ClockId = ClockId::CLOCK_BOOTTIME;

/// From here on, descendants of this process whose parents die become its children.
pub(in crate::exec) fn become_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Renames this process for `ps` and `pkill`.
pub(in crate::exec) fn name_process(name: &CStr) -> io::Result<()> {
    Ok(prctl::set_name(name)?)
}

/// A descriptor that is readable once a child has ended. It has SIGCHLD
/// blocked, but for [`ChildSignals::unblocked`].
#[derive(Debug)]
pub(in crate::exec) struct ChildSignals(SignalFd);

impl ChildSignals {
    /// Starts to listen.
    pub(in crate::exec) fn listen() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        Ok(Self(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Does what a child inherits the signal mask by. What is signalled
    /// meanwhile is not heard: look for children that have ended afterwards.
    pub(in crate::exec) fn unblocked<T>(&self, spawn: impl FnOnce() -> T) -> io::Result<T> {
        let before = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let spawned = spawn();
        before.thread_set_mask()?;
        Ok(spawned)
    }

    /// Forgets what was heard: poll again from here.
    pub(in crate::exec) fn clear(&self) {
        // SIGCHLD does not queue: one read takes whatever was pending.
        let _ = self.0.read_signal();
    }

    /// How long a poll may last at most; here the descriptor always wakes it.
    pub(in crate::exec) const POLL_AT_MOST_MS: Option<u64> = None;
}

impl AsFd for ChildSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The children of `parent` as far as can be seen now; empty when it is gone.
pub(in crate::exec) fn children_of(parent: Pid) -> Vec<Pid> {
    let mut children = Vec::new();
    if !lists_children() {
        children_by_scan(parent, &mut children);
        return children;
    }
    // A child belongs to the thread that made it, and each thread lists its own.
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { return children };
    for thread in threads.flatten() {
        if let Ok(list) = fs::read_to_string(thread.path().join("children")) {
            children.extend(list.split_ascii_whitespace().filter_map(parse_pid));
        }
    }
    children
}

/// Whether [`held_memory`] can say anything.
pub(in crate::exec) const TELLS_MEMORY: bool = true;

/// Bytes that a process has in memory or swap and that are no file's, those that it shares with others among them.
pub(in crate::exec) fn held_memory(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    sum_of(&status, ["RssAnon:", "RssShmem:", "VmSwap:"]).unwrap_or(0)
}

/// The same, but of what it shares with others only its part. Costs the kernel a walk over all its pages.
pub(in crate::exec) fn fair_memory(pid: Pid) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    // Kernels before 5.9 do not tell these apart, and a process that has changed its user does not show them.
    sum_of(&rollup, ["Pss_Anon:", "Pss_Shmem:", "SwapPss:"]).unwrap_or_else(|| held_memory(pid))
}

/// The sum in bytes of lines such as `RssAnon:  12 kB`; `None` when there is none of them.
fn sum_of(text: &str, names: [&str; 3]) -> Option<u64> {
    let named = |line: &str| names.iter().find_map(|name| line.strip_prefix(name)).map(str::to_owned);
    let amounts = text.lines().filter_map(named);
    let amount = |rest: String| rest.split_ascii_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
    amounts.filter_map(amount).map(|kib| kib.saturating_mul(1024)).reduce(u64::saturating_add)
}

/// Whether this kernel has the `children` files (CONFIG_PROC_CHILDREN).
fn lists_children() -> bool {
    static LISTS: OnceLock<bool> = OnceLock::new();
    *LISTS.get_or_init(|| fs::exists("/proc/thread-self/children").unwrap_or(false))
}

/// The slow way: who of all processes names `parent` as its parent.
fn children_by_scan(parent: Pid, children: &mut Vec<Pid>) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(parse_pid) else { continue };
        let Ok(stat) = fs::read(process.path().join("stat")) else { continue };
        if parent_in_stat(&stat) == Some(parent) {
            children.push(pid);
        }
    }
}

/// The parent's id in a `stat` file: second behind the command name, which may hold anything but ends at the last `)`.
fn parent_in_stat(stat: &[u8]) -> Option<Pid> {
    let behind_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = std::str::from_utf8(&stat[behind_name..]).ok()?;
    parse_pid(fields.split_ascii_whitespace().nth(1)?)
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().filter(|pid| *pid > 0).map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_and_spaces_does_not_hide_the_parent() {
        assert_eq!(parent_in_stat(b"41 (a) b) (c) S 7 41 41 0"), Some(Pid::from_raw(7)));
        assert_eq!(parent_in_stat(b"41 (cut"), None);
    }

    #[test]
    fn what_is_no_files_is_summed_and_what_is_not_there_is_not_nothing() {
        let status = "VmRSS:  90 kB\nRssAnon:\t      12 kB\nRssFile: 70 kB\nRssShmem: 8 kB\n";
        assert_eq!(sum_of(status, ["RssAnon:", "RssShmem:", "VmSwap:"]), Some(20 * 1024));
        assert_eq!(sum_of("", ["Pss_Anon:", "Pss_Shmem:", "SwapPss:"]), None);
        assert!(held_memory(Pid::this()) > 0 && fair_memory(Pid::this()) > 0);
    }

    #[test]
    fn children_are_found_with_and_without_the_kernels_own_list() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("pids are positive"));
        let mut scanned = Vec::new();
        children_by_scan(Pid::this(), &mut scanned);
        let listed = children_of(Pid::this());
        child.kill().expect("it runs");
        child.wait().expect("it is ours");
        assert!(scanned.contains(&pid) && listed.contains(&pid));
    }
}
