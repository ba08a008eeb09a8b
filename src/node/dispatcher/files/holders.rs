//! Who has which content: workers that made it and hold it, and workers that
//! fetched it for a task.
//!
//! The one invariant: nothing here is a promise. The store says which outputs a
//! worker holds; what was fetched is known for as long as this process lives,
//! and what a worker was found to lack is not asked of it again. Whoever asks a
//! holder verifies every byte. Absent: getting the bytes (`pull`).

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::Files;
use crate::model::files::{Content, TaskFiles};
use crate::model::views::{AttemptView, HoldersView, TaskView};
use crate::model::{Digest, NodeId, NodeName};
use crate::node::dispatcher::shell::Shell;
use crate::store::{Reader, StoreError};

/// Contents whose fetched copies are remembered; beyond them the first noted are forgotten.
const MOST_COPIED: usize = 65_536;
/// Workers remembered as having a copy of one content: enough to fetch from, and no more than a list to look through.
const MOST_COPIES: usize = 16;
/// Lacks that are remembered; beyond them they are found anew, each at the cost of a question.
const MOST_LACKS: usize = 65_536;
/// What the dispatcher is called among holders.
const DISPATCHER: &str = "dispatcher";

/// A worker that has a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node::dispatcher) struct Holder {
    /// Its key.
    pub(in crate::node::dispatcher) node: NodeId,
    /// Its name.
    pub(in crate::node::dispatcher) name: NodeName,
}

/// What is known beside the store.
#[derive(Debug, Default)]
pub(super) struct Copies {
    fetched: HashMap<Digest, Vec<Holder>>,
    /// Its keys in the order in which they were noted.
    noted: VecDeque<Digest>,
    lacks: BTreeSet<(NodeId, Digest)>,
}

impl Copies {
    /// A worker has fetched this content.
    fn fetched(&mut self, holder: &Holder, digest: Digest) {
        self.lacks.remove(&(holder.node, digest));
        if !self.fetched.contains_key(&digest) {
            if self.noted.len() >= MOST_COPIED
                && let Some(first) = self.noted.pop_front()
            {
                self.fetched.remove(&first);
            }
            self.noted.push_back(digest);
        }
        let holders = self.fetched.entry(digest).or_default();
        if holders.len() < MOST_COPIES && !holders.iter().any(|known| known.node == holder.node) {
            holders.push(holder.clone());
        }
    }

    /// A worker does not have this content, whatever is written.
    fn lacking(&mut self, node: NodeId, digest: Digest) {
        if self.lacks.len() >= MOST_LACKS {
            self.lacks.clear();
        }
        self.lacks.insert((node, digest));
        self.copy_gone(node, digest);
    }

    /// A worker that fetched this content is said not to have it any more. What it holds for good stands.
    fn copy_gone(&mut self, node: NodeId, digest: Digest) {
        if let Some(holders) = self.fetched.get_mut(&digest) {
            holders.retain(|holder| holder.node != node);
        }
    }

    /// Those among `written` that may still have it, and those that fetched it.
    fn of(&self, digest: Digest, written: Vec<Holder>) -> Vec<Holder> {
        let mut holders: Vec<Holder> =
            written.into_iter().filter(|holder| !self.lacks.contains(&(holder.node, digest))).collect();
        for copy in self.fetched.get(&digest).into_iter().flatten() {
            if !holders.iter().any(|known| known.node == copy.node) {
                holders.push(copy.clone());
            }
        }
        holders
    }
}

impl Files {
    /// Learns from a result what its worker has now.
    pub(in crate::node::dispatcher) fn note_result(&self, node: NodeId, name: &NodeName, files: &TaskFiles) {
        let holder = Holder { node, name: name.clone() };
        let mut shared = self.lock();
        for transfer in &files.transfers {
            shared.copies.fetched(&holder, transfer.blob.digest);
        }
        for output in &files.outputs {
            // The store is about to say that it has these; that it once lacked one means nothing any more.
            shared.copies.lacks.remove(&(node, output.content.blob().digest));
        }
    }

    /// A worker has fetched all of these contents.
    pub(super) fn note_fetched(&self, holder: &Holder, digests: impl IntoIterator<Item = Digest>) {
        let mut shared = self.lock();
        digests.into_iter().for_each(|digest| shared.copies.fetched(holder, digest));
    }

    /// A worker says, or was found, not to have this content any more.
    pub(super) fn note_lack(&self, node: NodeId, digest: Digest) {
        self.lock().copies.lacking(node, digest);
    }

    /// Another worker says that these have nothing of the contents. Only what they once fetched is doubted: an output
    /// that is written as theirs is not given up, and made again, on somebody else's word.
    pub(super) fn note_gone_copies(&self, nodes: &[NodeId], digests: &BTreeSet<Digest>) {
        let mut shared = self.lock();
        for node in nodes {
            digests.iter().for_each(|digest| shared.copies.copy_gone(*node, *digest));
        }
    }

    /// The workers that have a content, those first that hold it for good. Blocks.
    pub(super) fn holders(&self, reader: &Reader, digest: Digest) -> Result<Vec<Holder>, StoreError> {
        let written = reader.holders(digest)?.into_iter().map(|(node, name)| Holder { node, name }).collect();
        Ok(self.lock().copies.of(digest, written))
    }

    /// Fills in who has what tasks have left. Blocks.
    pub(in crate::node::dispatcher) fn complete(
        &self,
        reader: &Reader,
        tasks: &mut [TaskView],
    ) -> Result<(), StoreError> {
        for task in tasks {
            if task.files().is_none_or(|files| files.outputs.is_empty()) {
                continue;
            }
            // Made again, they may not be what the attempt reported.
            let rows = reader.outputs_of(task.task)?;
            let counts = |attempt: &&mut AttemptView| attempt.ended_at.is_some() && !attempt.is_superseded();
            let ended = task.attempts.iter_mut().rev().find(counts);
            if let Some(files) = ended.and_then(|attempt| attempt.files.as_deref_mut())
                && !rows.is_empty()
            {
                files.outputs = rows;
            }
            let outputs = task.files().map_or(&[][..], |files| &files.outputs);
            let digests: BTreeSet<Digest> = outputs.iter().map(|output| output.content.blob().digest).collect();
            let mut held = Vec::new();
            for digest in digests {
                let mut names: Vec<String> =
                    self.holders(reader, digest)?.into_iter().map(|holder| holder.name.to_string()).collect();
                if self.store.has(digest) {
                    names.push(DISPATCHER.to_owned());
                }
                held.push(HoldersView { digest, names });
            }
            task.holders = held;
        }
        Ok(())
    }
}

/// Who holds this content: every worker that is thought to have all of it, connected or not. What a directory
/// lists is where its manifest is.
pub(in crate::node::dispatcher) async fn holders_of(
    shell: &Shell,
    content: Content,
) -> Result<Vec<Holder>, StoreError> {
    let (files, digest) = (shell.files.clone(), content.blob().digest);
    shell.history.read_fresh(move |reader| files.holders(reader, digest)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(number: u8) -> Holder {
        let name = format!("worker-{number}").parse().expect("a name");
        Holder { node: NodeId([number; 32]), name }
    }

    fn digest(number: u32) -> Digest {
        let mut digest = Digest([0; 32]);
        digest.0[..4].copy_from_slice(&number.to_le_bytes());
        digest
    }

    #[test]
    fn who_is_found_to_lack_a_content_is_not_named_until_it_fetched_it_again() {
        let mut copies = Copies::default();
        copies.fetched(&worker(2), digest(1));
        assert_eq!(copies.of(digest(1), vec![worker(1)]), [worker(1), worker(2)]);
        copies.lacking(worker(1).node, digest(1));
        copies.lacking(worker(2).node, digest(1));
        assert_eq!(copies.of(digest(1), vec![worker(1)]), []);
        copies.fetched(&worker(1), digest(1));
        assert_eq!(copies.of(digest(1), vec![worker(1)]), [worker(1)], "named once");
    }

    #[test]
    fn a_copy_that_is_gone_by_anothers_word_is_named_no_more_and_a_written_holder_is() {
        let mut copies = Copies::default();
        copies.fetched(&worker(2), digest(1));
        copies.copy_gone(worker(1).node, digest(1));
        copies.copy_gone(worker(2).node, digest(1));
        assert_eq!(copies.of(digest(1), vec![worker(1)]), [worker(1)]);
        assert!(copies.of(digest(1), Vec::new()).is_empty(), "with the holder lost nobody is left to wait for");
    }

    #[test]
    fn what_is_remembered_of_copies_is_bounded_and_the_first_go_first() {
        let mut copies = Copies::default();
        for number in 0..MOST_COPIED as u32 + 10 {
            copies.fetched(&worker(1), digest(number));
        }
        assert_eq!((copies.fetched.len(), copies.noted.len()), (MOST_COPIED, MOST_COPIED));
        assert!(copies.of(digest(9), Vec::new()).is_empty() && !copies.of(digest(10), Vec::new()).is_empty());
        for number in 0..200 {
            copies.fetched(&worker(number), digest(20));
        }
        assert_eq!(copies.of(digest(20), Vec::new()).len(), MOST_COPIES);
    }
}
