//! What tasks write of themselves into one file that all hosts share.
//!
//! Invariant: a start is written before anything else, an end only by a task that came to it; and that two attempts of
//! an exclusive task run at the same time is seen by a lock that only the end of all its processes releases.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the journal says of one task.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Lived {
    /// Starts.
    pub(crate) starts: u64,
    /// Ends.
    pub(crate) ends: u64,
    /// Starts while another attempt ran.
    pub(crate) overlaps: u64,
}

/// The file.
pub(crate) struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// An empty one in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let folder = folder.join("journal");
        fs::create_dir_all(&folder).expect("a folder");
        Self { folder }
    }

    /// A shell script that writes down what it does: sleeps, with a fence and the time at both ends.
    pub(crate) fn script(&self, seconds: f64, between: &str) -> String {
        let folder = self.folder.display();
        let line = "$OCTASKLY_TASK_ID $OCTASKLY_FENCE $(date +%s%N)";
        format!(
            "exec 9>>{folder}/lock-$OCTASKLY_TASK_ID; flock -n 9 || echo \"overlap {line}\" >>{folder}/all; \
             echo \"start {line}\" >>{folder}/all; {between} sleep {seconds}; echo \"end {line}\" >>{folder}/all"
        )
    }

    /// All of it, by task.
    pub(crate) fn read(&self) -> BTreeMap<String, Lived> {
        let mut lived: BTreeMap<String, Lived> = BTreeMap::new();
        for line in fs::read_to_string(self.folder.join("all")).unwrap_or_default().lines() {
            let mut words = line.split(' ');
            let (Some(what), Some(task)) = (words.next(), words.next()) else { panic!("a torn line: {line:?}") };
            let lived = lived.entry(task.to_owned()).or_default();
            match what {
                "start" => lived.starts += 1,
                "end" => lived.ends += 1,
                "overlap" => lived.overlaps += 1,
                _ => panic!("a torn line: {line:?}"),
            }
        }
        lived
    }
}
