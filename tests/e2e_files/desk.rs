//! A user's folder beside a cluster: files are made here, commands run here,
//! and what they bring is read here.

use std::ffi::OsStr;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Cluster, Node, Ran, Started};

/// What a client says of what it sends, at debug level.
const UPLOADED: &str = "Uploaded ";

/// A folder, a cluster, and the nodes that serve it.
pub(crate) struct Desk {
    cluster: Cluster,
    _nodes: Vec<Node>,
}

impl Deref for Desk {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Desk {
    /// With a dispatcher and a worker.
    pub(crate) fn new() -> Self {
        let (cluster, dispatcher, worker) = Cluster::with_a_worker();
        Self { _nodes: vec![dispatcher, worker], ..Self::of(cluster) }
    }

    /// Beside a cluster whose nodes are somebody else's business.
    pub(crate) fn of(cluster: Cluster) -> Self {
        fs::create_dir(cluster.scratch().join("desk")).expect("a folder");
        Self { cluster, _nodes: Vec::new() }
    }

    /// Where a file of the desk is.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scratch().join("desk").join(name)
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a file");
    }

    pub(crate) fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn make_executable(&self, name: &str) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    pub(crate) fn is_executable(&self, name: &str) -> bool {
        fs::metadata(self.path(name)).expect("a file").permissions().mode() & 0o100 != 0
    }

    /// Runs a script of the test's own here; it has to succeed.
    pub(crate) fn sh(&self, script: &str) -> Vec<u8> {
        let ran = Command::new("sh").args(["-ec", script]).current_dir(self.path("")).output().expect("sh starts");
        assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    }

    /// Starts a command of `octaskly` here.
    pub(crate) fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Started {
        let mut command = self.command(args);
        command.current_dir(self.path(""));
        Started::of(command)
    }

    /// Runs one to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.start(args).finish(crate::harness::SOON * 2)
    }

    /// Runs one that has to succeed.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout_text()
    }

    /// Runs one that has to succeed, and says how many bytes of files it sent.
    pub(crate) fn uploaded(&self, args: &[&str]) -> u64 {
        let ran = self.run(["--verbose"].iter().chain(args));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        sent(&ran)
    }
}

/// Bytes of files that a verbose client says it has sent.
pub(crate) fn sent(ran: &Ran) -> u64 {
    let text = ran.stderr_text();
    let words = text.lines().filter_map(|line| line.split_once(UPLOADED)?.1.split(' ').next());
    words.map(|word| word.parse::<u64>().expect("a number of bytes")).sum()
}
