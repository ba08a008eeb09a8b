//! What commands that change or fetch something say of it: `cancel`, `retry`, `forget`, `get`, `logs`, `token create`.

use serde::Serialize;

use super::super::text::rfc3339;
use crate::model::requests::Changes;
use crate::model::trust::TokenView;

/// What `cancel`, `retry` or `forget` changed.
#[derive(Debug, Serialize)]
pub(crate) struct Changed<'a> {
    /// Tasks, or with `forget` jobs.
    affected: u64,
    jobs: u64,
    owners: Vec<OwnersShare<'a>>,
    /// Numbers in the ranges named under which there is no job.
    absent: u64,
}

#[derive(Debug, Serialize)]
struct OwnersShare<'a> {
    owner: &'a str,
    jobs: u64,
}

impl<'a> From<&'a Changes> for Changed<'a> {
    fn from(changes: &'a Changes) -> Self {
        let share =
            |(owner, jobs): &'a (_, u64)| OwnersShare { owner: crate::model::NodeName::as_str(owner), jobs: *jobs };
        Self {
            affected: changes.affected,
            jobs: changes.jobs,
            owners: changes.owners.iter().map(share).collect(),
            absent: changes.absent,
        }
    }
}

/// One output that `get` delivered.
#[derive(Debug, Serialize)]
pub(crate) struct Brought {
    pub(crate) task: String,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) digest: String,
    pub(crate) bytes: u64,
}

/// One line of a task's output. What is not UTF-8 is replaced.
#[derive(Debug, Serialize)]
pub(crate) struct LogLine {
    /// `null` when its task alone was asked for by `last`, and is not known by number.
    pub(crate) task: Option<String>,
    /// `stdout` or `stderr`.
    pub(crate) stream: &'static str,
    /// Without its line end.
    pub(crate) line: String,
}

/// A token that was made.
#[derive(Debug, Serialize)]
pub(crate) struct MadeToken {
    /// The secret itself. It is not shown again.
    token: String,
    id: String,
    role: String,
    name: Option<String>,
    uses: u32,
    expires_at: String,
}

impl MadeToken {
    /// The secret, and what the dispatcher keeps of it.
    pub(crate) fn new(token: String, view: &TokenView) -> Self {
        Self {
            token,
            id: view.id.to_string(),
            role: view.role.to_string(),
            name: view.name.as_ref().map(ToString::to_string),
            uses: view.uses,
            expires_at: rfc3339(view.expires_at),
        }
    }
}
