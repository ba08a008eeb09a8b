//! The places of INTERFACE §7: one folder a node, private to its user, locked while in use.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::TrustError;
use crate::model::NodeName;

/// The folder that holds all nodes of this user on this machine.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home at `explicit` (what `--home` and `OCTASKLY_HOME` came to), else the user's default place.
    pub fn locate(explicit: Option<PathBuf>) -> Result<Self, TrustError> {
        let _ = explicit;
        unimplemented!()
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The dispatcher's folder, created, checked and locked.
    pub fn dispatcher(&self) -> Result<NodeDir, TrustError> {
        unimplemented!()
    }

    /// The folder of the worker called `name`, created, checked and locked.
    pub fn worker(&self, name: &NodeName) -> Result<NodeDir, TrustError> {
        let _ = name;
        unimplemented!()
    }

    /// A folder for a worker without a name: the lowest unlocked one that an earlier unnamed worker left,
    /// else a fresh one. Call [`NodeDir::adopt_name`] once the dispatcher has named it.
    pub fn unnamed_worker(&self) -> Result<NodeDir, TrustError> {
        unimplemented!()
    }

    /// This user's client folder, created and checked; shared by all clients, so not locked.
    pub fn client(&self) -> Result<NodeDir, TrustError> {
        unimplemented!()
    }

    /// Where this user's dispatcher on this machine leaves its access file.
    #[must_use]
    pub fn access_file(&self) -> PathBuf {
        self.root.join("dispatcher").join("access.cbor")
    }
}

/// One node's folder. Its lock is held as long as this value lives.
#[derive(Debug)]
pub struct NodeDir {
    path: PathBuf,
    lock: Option<File>,
}

impl NodeDir {
    /// Where it is; changes with [`NodeDir::adopt_name`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process alone uses it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Gives an unnamed worker's folder the name that the dispatcher gave the worker, when no other folder has it.
    pub fn adopt_name(&mut self, name: &NodeName) -> Result<(), TrustError> {
        let _ = name;
        unimplemented!()
    }
}
