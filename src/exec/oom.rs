//! Processes that the kernel killed for want of memory, as the worker's memory cgroup counts them.
//!
//! The kernel tells nobody whom it killed: a task dies of SIGKILL as by anybody's hand. It counts its kills for each
//! cgroup, those for the limit of a cgroup above among them. Invariant: a death is put down to the kernel only when the
//! count has risen since the task was started and not long before it died, and one kill explains one death only. What is
//! not promised: which of several tasks that die at the same time was meant. Absent: the memory that a task asked for,
//! which its shim watches.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The kernel counts before it kills, and the death of what it kills is heard at once: a count that is older than this
/// was of something else.
const RECENT: Duration = Duration::from_secs(2);

/// What the file of counts has at most: a dozen short lines.
const FILE_BYTES: usize = 4096;

/// The kernel's count of kills, and how much of it was put down to tasks.
#[derive(Debug, Default)]
pub(super) struct OomKills {
    /// Read anew from its start each time; `None` where nothing counts.
    file: Option<File>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What was put down to tasks, as a count.
    claimed: u64,
    /// A count that is older than [`RECENT`].
    old: u64,
    /// The latest that may not be, and since when.
    latest: Option<(u64, Instant)>,
}

impl OomKills {
    /// Counts by `file`, or by the cgroup that this process is in.
    pub(super) fn watch(file: Option<&Path>) -> Self {
        let own = || {
            let read = |path| fs::read_to_string(path).unwrap_or_default();
            counters(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
        };
        let candidates = file.map_or_else(own, |file| vec![file.to_owned()]);
        let file = candidates.iter().filter_map(|path| File::open(path).ok()).find(|file| count_in(file).is_ok());
        let kills = Self { file, seen: Mutex::default() };
        let before = kills.count();
        kills.seen(|seen| (seen.claimed, seen.old) = (before, before));
        kills
    }

    /// The count now. What was there before a task was started does not explain its death.
    pub(super) fn count(&self) -> u64 {
        let Some(count) = self.file.as_ref().and_then(|file| count_in(file).ok()) else { return 0 };
        self.seen(|seen| seen.note(count, Instant::now()));
        count
    }

    /// Whether the kernel killed a task that was started at the count `since` and has just died of SIGKILL.
    pub(super) fn explain(&self, since: u64) -> bool {
        let now = self.count();
        self.seen(|seen| seen.claim(since, now))
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Seen {
    fn note(&mut self, count: u64, now: Instant) {
        match self.latest {
            Some((_, since)) if now.saturating_duration_since(since) < RECENT => {}
            latest => {
                self.old = latest.map_or(self.old, |(count, _)| count);
                self.latest = Some((count, now));
            }
        }
    }

    fn claim(&mut self, since: u64, now: u64) -> bool {
        let explained = since.max(self.claimed).max(self.old);
        if now <= explained {
            return false;
        }
        self.claimed = explained + 1;
        true
    }
}

/// The count in a cgroup's `memory.events` or `memory.oom_control`.
fn count_in(file: &File) -> io::Result<u64> {
    let mut bytes = [0; FILE_BYTES];
    let read = file.read_at(&mut bytes, 0)?;
    let text = String::from_utf8_lossy(&bytes[..read]);
    let counted = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    counted.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The files that may hold the count of the cgroup of a process with these `/proc/PID/cgroup` and `mountinfo`, the
/// likeliest first.
fn counters(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let lines = || cgroup.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let first_version = lines().find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"));
    let second_version = lines().find(|(controllers, _)| controllers.is_empty());
    let mut files = Vec::new();
    if let Some((_, group)) = first_version {
        let mount = mounts(mountinfo).find(|mount| mount.kind == "cgroup" && mount.has_option("memory"));
        files.extend(mount.map(|mount| mount.folder(group).join("memory.oom_control")));
    }
    if let Some((_, group)) = second_version
        && let Some(mount) = mounts(mountinfo).find(|mount| mount.kind == "cgroup2")
    {
        // Where the memory controller is not enabled for a cgroup, the one above counts for it.
        let folder = mount.folder(group);
        let own = folder.ancestors().take_while(|folder| folder.starts_with(mount.point));
        files.extend(own.map(|folder| folder.join("memory.events")));
    }
    files
}

/// A file system that is mounted.
struct Mount<'a> {
    /// What of it is.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl Mount<'_> {
    fn has_option(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option == name)
    }

    /// Where a cgroup is seen here. In a container only a part of the hierarchy may be mounted.
    fn folder(&self, group: &str) -> PathBuf {
        let beneath = Path::new(group).strip_prefix(self.root).unwrap_or(Path::new(""));
        let is_seen = beneath.components().all(|part| matches!(part, Component::Normal(_)));
        Path::new(self.point).join(if is_seen { beneath } else { Path::new("") })
    }
}

fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut source = source.split(' ');
        let (kind, options) = (source.next()?, source.nth(1)?);
        Some(Mount { root, point, kind, options })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(cgroup: &str, mountinfo: &str) -> Vec<String> {
        counters(cgroup, mountinfo).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn the_count_is_that_of_the_own_cgroup_or_of_the_nearest_above_that_counts() {
        let unified = "25 22 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            paths("0::/system.slice/octaskly.service\n", unified),
            [
                "/sys/fs/cgroup/system.slice/octaskly.service/memory.events",
                "/sys/fs/cgroup/system.slice/memory.events",
                "/sys/fs/cgroup/memory.events",
            ]
        );
        assert_eq!(
            paths("0::/\n", unified),
            ["/sys/fs/cgroup/memory.events"],
            "a container with a namespace of its own"
        );
        assert_eq!(paths("0::/../..\n", unified), ["/sys/fs/cgroup/memory.events"], "a cgroup that is not seen here");
        let hybrid = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = paths("4:memory:/a/b\n1:cpu,cpuacct:/\n0::/x\n", hybrid);
        assert_eq!(found[0], "/sys/fs/cgroup/memory/a/b/memory.oom_control");
        let part = "35 31 0:32 /docker/4f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        assert_eq!(paths("4:memory:/docker/4f\n", part), ["/sys/fs/cgroup/memory/memory.oom_control"]);
        assert_eq!(paths("", ""), [""; 0]);
    }

    #[test]
    fn one_kill_explains_one_death() {
        let folder = tempfile::tempdir().expect("a directory");
        let events = folder.path().join("memory.events");
        let write = |kills: u64| fs::write(&events, format!("low 0\noom 9\noom_kill {kills}\n")).expect("a file");
        write(3);
        let kills = OomKills::watch(Some(&events));
        let since = kills.count();
        assert_eq!((since, kills.explain(since)), (3, false), "older kills are of no task of this worker");
        write(5);
        assert!(kills.explain(since) && kills.explain(since), "two tasks died of two kills");
        assert!(!kills.explain(since), "somebody killed the third");
        assert!(!OomKills::watch(None).explain(u64::MAX) && !OomKills::default().explain(0));
    }

    #[test]
    fn a_kill_of_long_ago_does_not_explain_a_death() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        seen.note(0, start);
        // A child of some task, which went on without it.
        seen.note(1, start + RECENT);
        seen.note(1, start + 2 * RECENT);
        assert!(!seen.claim(0, 1));
        assert!(seen.claim(0, 2), "one more has just been killed");
    }
}
