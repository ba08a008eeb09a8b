//! How values of the vocabulary look as columns, and back.
//!
//! Invariant: what is written here reads back as the same value; what cannot
//! have been written here is [`StoreError::BadValue`], never a guess.

use rusqlite::{Connection, Row, ToSql};

use super::StoreError;
use crate::model::outcome::{Cancellation, LimitSource, SpawnFailure, SpawnFailureKind, Unrepeatable};
use crate::model::records::Act;
use crate::model::{
    Actor, Digest, Epoch, Fence, JobId, KeyNo, Millis, NodeId, NodeName, Outcome, Role, TaskState, Timestamp,
};

/// Runs one statement with its values.
pub(super) fn run(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// An unsigned number as SQLite's signed one. Ids and indices are below 2^63
/// where they are accepted; measures that a peer made up are cut there.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An unsigned number from a column that was written by [`int`].
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A time as a column.
pub(super) fn time(at: Timestamp) -> i64 {
    int(at.0)
}

/// A time from a column.
pub(super) fn time_from(column: i64) -> Timestamp {
    Timestamp(uint(column))
}

/// A fence as the one ascending number that tasks see too.
pub(super) fn fence(fence: Fence) -> i64 {
    int(fence.as_number())
}

/// A fence from its number.
pub(super) fn fence_from(column: i64) -> Result<Fence, StoreError> {
    let number = u64::try_from(column).map_err(|_| StoreError::BadValue { column: "fence" })?;
    let epoch = u32::try_from(number >> Fence::COUNTER_BITS).map_err(|_| StoreError::BadValue { column: "fence" })?;
    Ok(Fence { epoch: Epoch(epoch), counter: number & ((1 << Fence::COUNTER_BITS) - 1) })
}

/// A state as its number in the `states` table.
pub(super) fn state(state: TaskState) -> i64 {
    match state {
        TaskState::Waiting => 0,
        TaskState::Ready => 1,
        TaskState::Running => 2,
        TaskState::Succeeded => 3,
        TaskState::Failed => 4,
        TaskState::Cancelled => 5,
    }
}

/// A state from its number.
pub(super) fn state_from(column: i64) -> Result<TaskState, StoreError> {
    Ok(match column {
        0 => TaskState::Waiting,
        1 => TaskState::Ready,
        2 => TaskState::Running,
        3 => TaskState::Succeeded,
        4 => TaskState::Failed,
        5 => TaskState::Cancelled,
        _ => return Err(StoreError::BadValue { column: "state" }),
    })
}

/// A role from its word.
pub(super) fn role_from(word: &str) -> Result<Role, StoreError> {
    [Role::Admin, Role::Client, Role::Worker, Role::Dispatcher]
        .into_iter()
        .find(|role| role.to_string() == word)
        .ok_or(StoreError::BadValue { column: "role" })
}

/// A key from its bytes.
pub(super) fn node_from(bytes: &[u8]) -> Result<NodeId, StoreError> {
    bytes.try_into().map(NodeId).map_err(|_| StoreError::BadValue { column: "node" })
}

/// A digest from its bytes.
pub(super) fn digest_from(bytes: &[u8]) -> Result<Digest, StoreError> {
    bytes.try_into().map(Digest).map_err(|_| StoreError::BadValue { column: "hash" })
}

/// A name from its text.
pub(super) fn name_from(text: &str) -> Result<NodeName, StoreError> {
    text.parse().map_err(|_| StoreError::BadValue { column: "name" })
}

/// The three columns of an outcome: a word, a number, a text.
pub(super) type OutcomeColumns<'a> = (Option<&'static str>, Option<i64>, Option<&'a str>);

/// An outcome as its columns; all empty for none.
pub(super) fn outcome(outcome: Option<&Outcome>) -> OutcomeColumns<'_> {
    let Some(outcome) = outcome else { return (None, None, None) };
    let (word, number, text) = match outcome {
        Outcome::Exited(code) => ("exit", Some(i64::from(*code)), None),
        Outcome::Signalled(signal) => ("signal", Some(i64::from(*signal)), None),
        Outcome::TimedOut(limit, LimitSource::Job) => ("timeout", Some(int(limit.0)), None),
        Outcome::TimedOut(limit, LimitSource::Dispatcher) => ("timeout", Some(int(limit.0)), Some(DISPATCHERS)),
        Outcome::OutOfMemory => ("oom", None, None),
        Outcome::OomKilled => ("oom", None, Some(SYSTEMS)),
        Outcome::SpawnFailed(failure) => {
            let code = match failure.kind {
                SpawnFailureKind::NotFound => 127,
                SpawnFailureKind::NotExecutable => 126,
                SpawnFailureKind::Worker => 125,
            };
            ("spawn", Some(code), Some(failure.reason.as_str()))
        }
        Outcome::TransferFailed(reason) => ("transfer", None, Some(reason.as_str())),
        Outcome::OutputMissing(what) => ("output-missing", None, Some(what.as_str())),
        Outcome::InputLost(reason) => ("input-lost", None, Some(reason.as_str())),
        Outcome::Lost => ("lost", None, None),
        Outcome::Unrepeatable(why) => ("unrepeatable", Some(i64::from(unrepeatable(*why))), None),
        Outcome::DependencyFailed(job) => ("dependency", Some(int(job.0)), None),
        Outcome::Cancelled(why) => return cancellation(Some(why)),
    };
    (Some(word), number, text)
}

/// An outcome from four neighbouring columns, the first at `at`: its own three, and the name of the client whose number
/// is the second.
pub(super) fn outcome_from(row: &Row<'_>, at: usize) -> Result<Option<Outcome>, StoreError> {
    let Some(word) = row.get_ref(at)?.as_str_or_null().map_err(|_| BAD_OUTCOME)? else { return Ok(None) };
    let number: Option<i64> = row.get(at + 1)?;
    let text: Option<String> = row.get(at + 2)?;
    let small = || number.and_then(|n| i32::try_from(n).ok()).ok_or(BAD_OUTCOME);
    let large = || number.and_then(|n| u64::try_from(n).ok()).ok_or(BAD_OUTCOME);
    Ok(Some(match word {
        "exit" => Outcome::Exited(small()?),
        "signal" => Outcome::Signalled(small()?),
        "timeout" => {
            let source = if text.as_deref() == Some(DISPATCHERS) { LimitSource::Dispatcher } else { LimitSource::Job };
            Outcome::TimedOut(Millis(large()?), source)
        }
        "oom" if text.as_deref() == Some(SYSTEMS) => Outcome::OomKilled,
        "oom" => Outcome::OutOfMemory,
        "spawn" => {
            let kind = match number {
                Some(127) => SpawnFailureKind::NotFound,
                Some(126) => SpawnFailureKind::NotExecutable,
                Some(125) => SpawnFailureKind::Worker,
                _ => return Err(BAD_OUTCOME),
            };
            Outcome::SpawnFailed(SpawnFailure { kind, reason: text.unwrap_or_default() })
        }
        "transfer" => Outcome::TransferFailed(text.unwrap_or_default()),
        "output-missing" => Outcome::OutputMissing(text.unwrap_or_default()),
        "input-lost" => Outcome::InputLost(text.unwrap_or_default()),
        "lost" => Outcome::Lost,
        "unrepeatable" => Outcome::Unrepeatable(unrepeatable_from(small()?)?),
        "dependency" => Outcome::DependencyFailed(JobId(large()?)),
        _ => return Ok(cancellation_from(row, at)?.map(Outcome::Cancelled)),
    }))
}

/// Why an attempt is its task's last one, as a number.
pub(super) fn unrepeatable(why: Unrepeatable) -> i32 {
    match why {
        Unrepeatable::OutputPassedOn => 1,
        Unrepeatable::StdinConsumed => 2,
    }
}

/// The reason behind such a number.
pub(super) fn unrepeatable_from(number: i32) -> Result<Unrepeatable, StoreError> {
    match number {
        1 => Ok(Unrepeatable::OutputPassedOn),
        2 => Ok(Unrepeatable::StdinConsumed),
        _ => Err(StoreError::BadValue { column: "unrepeatable" }),
    }
}

/// The text of a time limit that the dispatcher set.
const DISPATCHERS: &str = "dispatcher";
/// The text of a kill by the system for want of memory.
const SYSTEMS: &str = "system";

const BAD_OUTCOME: StoreError = StoreError::BadValue { column: "outcome" };

/// How an attempt ended of which another one of its task has brought the result.
pub(super) const SUPERSEDED: &str = "superseded";

/// A cancellation as its columns, which are those of an outcome; all empty for none.
pub(super) fn cancellation(why: Option<&Cancellation>) -> OutcomeColumns<'_> {
    let Some(why) = why else { return (None, None, None) };
    let word = match why {
        Cancellation::Requested { .. } => "cancelled",
        Cancellation::Interrupted => "interrupted",
        Cancellation::ClientGone => "client-gone",
        Cancellation::MaxFails => "max-fails",
        Cancellation::Superseded => SUPERSEDED,
    };
    (Some(word), why.by().map(|by| int(by.key.0)), why.reason())
}

/// A cancellation from four neighbouring columns, as [`outcome_from`] reads them.
pub(super) fn cancellation_from(row: &Row<'_>, at: usize) -> Result<Option<Cancellation>, StoreError> {
    let Some(word) = row.get_ref(at)?.as_str_or_null().map_err(|_| BAD_OUTCOME)? else { return Ok(None) };
    Ok(Some(match word {
        "cancelled" => Cancellation::Requested { by: actor_from(row, at + 1, at + 3)?, reason: row.get(at + 2)? },
        "interrupted" => Cancellation::Interrupted,
        "client-gone" => Cancellation::ClientGone,
        "max-fails" => Cancellation::MaxFails,
        SUPERSEDED => Cancellation::Superseded,
        _ => return Err(BAD_OUTCOME),
    }))
}

/// Who did something, from the columns of the client's number and its name.
pub(super) fn actor_from(row: &Row<'_>, client: usize, name: usize) -> Result<Option<Actor>, StoreError> {
    let Some(key) = row.get::<_, Option<i64>>(client)?.map(|number| KeyNo(uint(number))) else { return Ok(None) };
    let name = row.get::<_, Option<String>>(name)?.map(|text| name_from(&text)).transpose()?;
    Ok(Some(Actor { key, name: name.unwrap_or_else(|| NodeName::of_forgotten(key)) }))
}

/// Who did something and when, from three neighbouring columns: the client's number, its name, the time.
pub(super) fn act_from(row: &Row<'_>, at: usize) -> Result<Option<Act>, StoreError> {
    let (by, when) = (actor_from(row, at, at + 1)?, row.get::<_, Option<i64>>(at + 2)?.map(time_from));
    Ok(by.zip(when).map(|(by, at)| Act { by, at }))
}

#[cfg(test)]
mod tests {
    use rusqlite::params;

    use super::*;

    #[test]
    fn every_outcome_reads_back_from_its_columns() {
        let anna = Actor { key: KeyNo(u64::MAX >> 1), name: "anna".parse().expect("a name") };
        let spawn = |kind| Outcome::SpawnFailed(SpawnFailure { kind, reason: "no such program: x".into() });
        let outcomes = [
            Outcome::Exited(0),
            Outcome::Exited(-1),
            Outcome::Signalled(9),
            Outcome::TimedOut(Millis(1500), LimitSource::Job),
            Outcome::TimedOut(Millis(1500), LimitSource::Dispatcher),
            Outcome::OutOfMemory,
            Outcome::OomKilled,
            spawn(SpawnFailureKind::NotFound),
            spawn(SpawnFailureKind::NotExecutable),
            spawn(SpawnFailureKind::Worker),
            Outcome::TransferFailed("gone".into()),
            Outcome::OutputMissing("there is no output x".into()),
            Outcome::InputLost("its holder is gone".into()),
            Outcome::Lost,
            Outcome::Unrepeatable(Unrepeatable::OutputPassedOn),
            Outcome::Unrepeatable(Unrepeatable::StdinConsumed),
            Outcome::DependencyFailed(JobId(7)),
            Outcome::Cancelled(Cancellation::requested(None)),
            Outcome::Cancelled(Cancellation::requested(Some("wrong input".into()))),
            Outcome::Cancelled(Cancellation::Requested { by: Some(anna), reason: Some("wrong input".into()) }),
            Outcome::Cancelled(Cancellation::Interrupted),
            Outcome::Cancelled(Cancellation::ClientGone),
            Outcome::Cancelled(Cancellation::MaxFails),
            Outcome::Cancelled(Cancellation::Superseded),
        ];
        let connection = Connection::open_in_memory().expect("opens");
        let back = |(word, number, text): OutcomeColumns<'_>| {
            connection
                .query_row("SELECT ?1, ?2, ?3, 'anna'", params![word, number, text], |row| Ok(outcome_from(row, 0)))
        };
        for one in outcomes {
            assert_eq!(back(outcome(Some(&one))).expect("selects").expect("reads"), Some(one));
        }
        assert_eq!(back(outcome(None)).expect("selects").expect("reads"), None);
        assert!(back((Some("exploded"), None, None)).expect("selects").is_err());
        assert!(back((Some("exit"), None, None)).expect("selects").is_err());
    }

    #[test]
    fn fences_keep_their_order_as_columns() {
        let fences = [(1, 5), (1, (1 << 40) - 1), (2, 0), (900, 1)]
            .map(|(epoch, counter)| Fence { epoch: Epoch(epoch), counter });
        assert!(fences.map(fence).is_sorted());
        for one in fences {
            assert_eq!(fence_from(fence(one)).expect("reads"), one);
        }
        assert!(fence_from(-1).is_err());
    }
}
