//! Rows of the files that tasks moved, and what they keep alive.
//!
//! Invariant: `outputs` has of each task what its last recorded attempt left,
//! and nothing of the attempts before it. Absent: the bytes (the dispatcher's
//! blob folder has them).

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, params};

use super::StoreError;
use super::rows::{digest_from, int, name_from, node_from, run, uint};
use crate::model::files::{BlobRef, Content, InputSource, OutputFile, TaskFiles};
use crate::model::limits::{MAX_BATCH, MAX_FRAME};
use crate::model::{AttemptId, Digest, FileMode, JobId, NodeId, NodeName, RawString, SealedSpec, TaskId, TaskIndex};
use crate::wire::frame;

/// `outputs.kind`, one number a kind of content.
const FILE: i64 = 0;
const TREE: i64 = 2;

/// Holders of one blob that are looked at: of more, some will do.
const MOST_HOLDERS: i64 = 64;

/// What an attempt moved, as the value of its column.
pub(super) fn encoded(files: Option<&TaskFiles>) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(files) = files else { return Ok(None) };
    let mut bytes = Vec::new();
    frame::encode(files, &mut bytes, MAX_FRAME).map_err(StoreError::TooLarge)?;
    bytes.drain(..frame::HEADER_BYTES);
    Ok(Some(bytes))
}

/// What an attempt moved, from its column.
pub(super) fn decoded(column: Option<&[u8]>) -> Result<Option<Box<TaskFiles>>, StoreError> {
    let Some(bytes) = column else { return Ok(None) };
    frame::decode(bytes).map(|files| Some(Box::new(files))).map_err(|_| StoreError::BadValue { column: "files" })
}

/// The outputs of an attempt take the place of those of the attempts before it.
pub(super) fn brought(connection: &Connection, id: AttemptId, files: Option<&TaskFiles>) -> Result<(), StoreError> {
    let held = files.is_some_and(|files| files.held);
    let outputs = files.map_or(&[][..], |files| &files.outputs);
    let (job, task) = (int(id.task.job.0), int(id.task.index.0));
    run(connection, "DELETE FROM outputs WHERE job = ?1 AND task = ?2", params![job, task])?;
    for output in outputs {
        let blob = output.content.blob();
        let (kind, mode, modified_ns) = match output.content {
            Content::File { mode, modified_ns, .. } => (FILE, mode, modified_ns),
            Content::Tree { mode, modified_ns, .. } => (TREE, mode, modified_ns),
        };
        run(
            connection,
            "INSERT OR REPLACE INTO outputs (job, name, task, kind, digest, bytes, total_bytes, mode, modified_ns, holder)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, CASE WHEN ?10 THEN
                (SELECT worker FROM attempts WHERE job = ?1 AND task = ?3 AND attempt = ?11) END)",
            params![
                job,
                output.name.as_bytes(),
                task,
                kind,
                blob.digest.0,
                int(blob.bytes),
                int(output.content.total_bytes()),
                mode.bits(),
                modified_ns,
                held,
                id.attempt.0
            ],
        )?;
    }
    Ok(())
}

/// Outputs of a job by name, of one task or of whichever have one, in order of the tasks; at most [`MAX_BATCH`].
pub(super) fn outputs(
    connection: &Connection,
    job: JobId,
    task: Option<TaskIndex>,
    name: &RawString,
) -> Result<Vec<(TaskIndex, OutputFile)>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT task, name, kind, digest, bytes, total_bytes, mode, modified_ns FROM outputs
         WHERE job = ?1 AND name = ?2 AND (?3 IS NULL OR task = ?3) ORDER BY task LIMIT ?4",
    )?;
    let task = task.map(|index| int(index.0));
    let mut rows = select.query(params![int(job.0), name.as_bytes(), task, MAX_BATCH as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(output(row)?);
    }
    Ok(found)
}

/// The outputs of a task, in order of their names.
pub(super) fn outputs_of(connection: &Connection, task: TaskId) -> Result<Vec<OutputFile>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT task, name, kind, digest, bytes, total_bytes, mode, modified_ns FROM outputs WHERE job = ?1 AND task = ?2 ORDER BY name",
    )?;
    let mut rows = select.query(params![int(task.job.0), int(task.index.0)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(output(row)?.1);
    }
    Ok(found)
}

/// What a job's tasks have brought back, or one task of it: each content once, without its mode and time.
pub(super) fn contents(
    connection: &Connection,
    job: JobId,
    task: Option<TaskIndex>,
) -> Result<Vec<Content>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT DISTINCT 0, x'', kind, digest, bytes, total_bytes, 0, NULL FROM outputs
         WHERE job = ?1 AND (?2 IS NULL OR task = ?2)",
    )?;
    let mut rows = select.query(params![int(job.0), task.map(|index| int(index.0))])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(output(row)?.1.content);
    }
    Ok(found)
}

/// One row: task, name, kind, digest, bytes, total_bytes, mode, modified_ns.
fn output(row: &Row<'_>) -> Result<(TaskIndex, OutputFile), StoreError> {
    let blob = BlobRef { digest: digest_from(&row.get::<_, Vec<u8>>(3)?)?, bytes: uint(row.get(4)?) };
    let mode = u16::try_from(row.get::<_, i64>(6)?).ok().and_then(|bits| FileMode::try_from(bits).ok());
    let (mode, modified_ns) = (mode.ok_or(StoreError::BadValue { column: "mode" })?, row.get(7)?);
    let content = match row.get::<_, i64>(2)? {
        FILE => Content::File { blob, mode, modified_ns },
        TREE => Content::Tree { manifest: blob, total_bytes: uint(row.get(5)?), mode, modified_ns },
        _ => return Err(StoreError::BadValue { column: "kind" }),
    };
    Ok((TaskIndex(uint(row.get(0)?)), OutputFile { name: RawString(row.get(1)?), content }))
}

/// The contents that jobs of the store still need or have brought back, each once.
pub(super) fn live(connection: &Connection) -> Result<Live, StoreError> {
    let mut live = Live::default();
    let mut select = connection.prepare("SELECT spec FROM specs WHERE has_files = 1")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let spec = row.get_ref(0)?.as_blob().ok().and_then(|bytes| SealedSpec::open(bytes).ok());
        let spec = spec.ok_or(StoreError::BadValue { column: "spec" })?;
        for input in &spec.spec().inputs {
            match &input.source {
                InputSource::Shared(content) => live.add(content),
                InputSource::PerTask(contents) => contents.iter().for_each(|content| live.add(content)),
                InputSource::Output { .. } => {}
            }
        }
    }
    let mut select = connection.prepare("SELECT DISTINCT digest, bytes, kind FROM outputs")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let blob = BlobRef { digest: digest_from(&row.get::<_, Vec<u8>>(0)?)?, bytes: uint(row.get(1)?) };
        if row.get::<_, i64>(2)? == TREE {
            live.manifests.insert(blob);
        }
        live.blobs.insert(blob.digest);
    }
    Ok(live)
}

/// Workers whose recorded outputs have this digest: each holds it, as far as the store knows.
pub(super) fn holders(connection: &Connection, digest: Digest) -> Result<Vec<(NodeId, NodeName)>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT DISTINCT workers.node, workers.name FROM outputs JOIN workers ON workers.worker = outputs.holder
         WHERE outputs.digest = ?1 AND outputs.holder IS NOT NULL LIMIT ?2",
    )?;
    let mut rows = select.query(params![digest.0, MOST_HOLDERS])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((node_from(&row.get::<_, Vec<u8>>(0)?)?, name_from(&row.get::<_, String>(1)?)?));
    }
    Ok(found)
}

/// Outputs that this worker holds, in order of their digests, behind `after`, without modes and times; at most
/// [`MAX_BATCH`].
pub(super) fn held_by(
    connection: &Connection,
    node: NodeId,
    after: Option<Digest>,
) -> Result<Vec<Content>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT DISTINCT 0, x'', kind, digest, bytes, total_bytes, 0, NULL FROM outputs
         WHERE holder IN (SELECT worker FROM workers WHERE node = ?1) AND digest > ?2 ORDER BY digest LIMIT ?3",
    )?;
    // Every digest is longer than this one, and so behind it.
    let after = after.map_or_else(Vec::new, |after| after.0.to_vec());
    let mut rows = select.query(params![node.0, after, MAX_BATCH as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(output(row)?.1.content);
    }
    Ok(found)
}

/// What a task of another job has left takes the place of a task's lost outputs, unless its job is forgotten.
pub(super) fn remade(connection: &Connection, task: TaskId, by: TaskId) -> Result<(), StoreError> {
    let both = params![int(task.job.0), int(task.index.0), int(by.job.0), int(by.index.0)];
    run(
        connection,
        "DELETE FROM outputs WHERE job = ?1 AND task = ?2 AND EXISTS
            (SELECT 1 FROM outputs WHERE job = ?3 AND task = ?4)",
        both,
    )?;
    run(
        connection,
        "INSERT OR REPLACE INTO outputs (job, name, task, kind, digest, bytes, total_bytes, mode, modified_ns, holder)
         SELECT ?1, name, ?2, kind, digest, bytes, total_bytes, mode, modified_ns, holder FROM outputs
         WHERE job = ?3 AND task = ?4 AND EXISTS (SELECT 1 FROM jobs WHERE job = ?1)",
        both,
    )
}

/// Whose outputs have this digest, of those that `job` has, or `task` of it.
pub(super) fn made_by(
    connection: &Connection,
    job: JobId,
    task: Option<TaskIndex>,
    digest: Digest,
) -> Result<Option<(TaskId, RawString)>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT task, name FROM outputs WHERE job = ?1 AND digest = ?2 AND (?3 IS NULL OR task = ?3) LIMIT 1",
    )?;
    let mut rows = select.query(params![int(job.0), digest.0, task.map(|index| int(index.0))])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((TaskId { job, index: TaskIndex(uint(row.get(0)?)) }, RawString(row.get(1)?))))
}

/// What must not be removed from the blob folder.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Files and manifests.
    pub blobs: BTreeSet<Digest>,
    /// Those that are manifests: what they list is live too.
    pub manifests: BTreeSet<BlobRef>,
}

impl Live {
    fn add(&mut self, content: &Content) {
        self.blobs.insert(content.blob().digest);
        if let Content::Tree { manifest, .. } = content {
            self.manifests.insert(*manifest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::{self, Safety};
    use super::super::schema;
    use super::*;
    use crate::model::AttemptNo;

    fn content(byte: u8) -> Content {
        let blob = BlobRef { digest: Digest([byte; 32]), bytes: u64::from(byte) };
        let mode = FileMode::of(0o600 + u32::from(byte));
        match byte % 2 {
            0 => Content::Tree { manifest: blob, total_bytes: 99, mode, modified_ns: Some(-7) },
            _ => Content::File { blob, mode, modified_ns: Some(i64::MAX) },
        }
    }

    fn output(name: &str, byte: u8) -> OutputFile {
        OutputFile { name: name.into(), content: content(byte) }
    }

    #[test]
    fn a_task_has_the_outputs_of_its_last_attempt_and_they_are_found_by_name_and_kept_alive() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("jobs.db");
        let (_file, connection) = file::open(&path, &schema::DISPATCHER, Safety::Scratch).expect("opens");
        let brings = |task: u64, attempt, outputs: &[OutputFile]| {
            let id = AttemptId { task: TaskId::new(1, task), attempt: AttemptNo(attempt) };
            let files = TaskFiles { outputs: outputs.to_vec(), ..TaskFiles::default() };
            brought(&connection, id, Some(&files)).expect("writes");
        };
        brings(1, 1, &[output("gone", 9), output("a", 7)]);
        brings(1, 2, &[output("b", 2), output("a", 3)]);
        brings(2, 1, &[output("a", 5)]);
        let of_first = outputs_of(&connection, TaskId::new(1, 1)).expect("reads");
        assert_eq!(of_first, [output("a", 3), output("b", 2)], "in order of their names");
        let named = |task| outputs(&connection, JobId(1), task, &"a".into()).expect("reads");
        assert_eq!(named(None), [(TaskIndex(1), output("a", 3)), (TaskIndex(2), output("a", 5))]);
        assert_eq!(named(Some(TaskIndex(2))), [(TaskIndex(2), output("a", 5))]);
        assert_eq!(contents(&connection, JobId(1), None).expect("reads").len(), 3);
        let live = live(&connection).expect("reads");
        assert_eq!(live.blobs, [2, 3, 5].map(|byte| Digest([byte; 32])).into());
        assert_eq!(live.manifests.len(), 1, "a folder's manifest, whose files are live with it");
        assert!(decoded(Some(b"not files")).is_err());
    }
}
