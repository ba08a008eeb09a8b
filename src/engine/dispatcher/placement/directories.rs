//! Directories of workers that jobs run in (`--cwd`), and which workers have been found not to have them.
//!
//! Invariant: a task is not placed where its directory was missing, until the engine says that the worker is to be tried
//! again. Absent: time (the engine's).

use super::classes::Class;
use super::{ClassId, Placement, WorkerKey};
use crate::model::RawString;
use crate::model::obstacle::DirectoryFault;

impl Placement {
    /// A worker that is there cannot use this directory. Says whether that is news.
    pub(in super::super) fn note_fault(
        &mut self,
        worker: WorkerKey,
        directory: &RawString,
        fault: DirectoryFault,
    ) -> bool {
        let Some(seat) = self.seats.get_mut(&worker) else { return false };
        let is_news = seat.faults.insert(directory.clone(), fault).is_none();
        self.end_reservations_without(worker, directory);
        is_news
    }

    /// A worker may have this directory by now.
    pub(in super::super) fn forget_fault(&mut self, worker: WorkerKey, directory: &RawString) {
        let Some(seat) = self.seats.get_mut(&worker) else { return };
        if seat.faults.remove(directory).is_some() {
            self.grown.insert(worker, None);
            self.unreserved = true;
        }
    }

    /// What is wrong on a worker with the directory that a class's tasks run in, as far as is known.
    pub(super) fn fault_of(&self, class: &Class, worker: WorkerKey) -> Option<DirectoryFault> {
        self.seats.get(&worker)?.faults.get(class.requirement.directory.as_ref()?).copied()
    }

    /// What a worker is said to lack for a class because of its directory.
    pub(super) fn lacks_directory(&self, id: ClassId, worker: WorkerKey) -> Option<String> {
        let class = self.class(id);
        let fault = self.fault_of(class, worker)?;
        let directory = class.requirement.directory.as_ref()?;
        Some(match fault {
            DirectoryFault::Missing => format!("has no directory {directory}"),
            DirectoryFault::NotDirectory | DirectoryFault::Forbidden => {
                format!("has no directory {directory} to run in: {fault}")
            }
        })
    }
}
