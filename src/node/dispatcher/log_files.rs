//! Stored output that was too big for the store: one file an attempt,
//! `logs/JOB/INDEX.ATTEMPT.log`.
//!
//! The one invariant: a file with that name is whole; while it is being
//! received it has another name, and a crash leaves only such names behind,
//! which the next start removes. It is on disk before it counts. Absent: what is in it (`wire::log`), and who
//! may read it (`requests`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncWriteExt as _;

use crate::model::limits::MAX_LOG_BYTES;
use crate::model::{AttemptId, JobId};
use crate::transport::{FrameRecv, TransportError};
use crate::wire::data::DataFrame;

/// Longest upload taken: the bytes that are kept of a task's output, and as
/// many again for the frames around them when a task writes in small pieces.
const MAX_UPLOAD_BYTES: u64 = 2 * MAX_LOG_BYTES;

/// Received bytes that are collected before they are written.
const WRITE_AT_ONCE: usize = 256 * 1024;

/// Ends the name of a file that is being received.
const PARTIAL: &str = "part";

/// The log folder. Clones share it.
#[derive(Clone)]
pub(super) struct LogFiles {
    folder: Arc<PathBuf>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Uploads under way.
    receiving: Mutex<BTreeSet<AttemptId>>,
    /// Bytes of what is kept, by job.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    of_jobs: BTreeMap<JobId, u64>,
    sum: u64,
}

impl Kept {
    fn add(&mut self, job: JobId, bytes: u64) {
        *self.of_jobs.entry(job).or_default() += bytes;
        self.sum += bytes;
    }

    fn replace(&mut self, job: JobId, before: u64, bytes: u64) {
        let of_job = self.of_jobs.entry(job).or_default();
        // What was forgotten meanwhile is not counted any more.
        let gone = before.min(*of_job);
        *of_job = *of_job - gone + bytes;
        self.sum = self.sum - gone + bytes;
    }

    fn remove(&mut self, job: JobId) {
        self.sum -= self.of_jobs.remove(&job).unwrap_or(0);
    }
}

/// Why an upload was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("receive it")]
    Transport(#[from] TransportError),
    #[error("write it")]
    Io(#[from] io::Error),
    #[error("keep {0} bytes: more than is kept of any task")]
    TooLong(u64),
    #[error("take a frame that has no place in a log")]
    NoLog,
    #[error("receive the rest: {got} of {announced} bytes came")]
    Cut { got: u64, announced: u64 },
    #[error("receive it twice at the same time")]
    Twice,
}

impl LogFiles {
    /// The folder at `folder`, made and cleared of what a crash left half received.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        make_private(&folder)?;
        let mut kept = Kept::default();
        for job in std::fs::read_dir(&folder)? {
            let job = job?;
            if !job.path().is_dir() {
                continue;
            }
            let bytes = remove_partial(&job.path())?;
            if let Some(number) = job.file_name().to_str().and_then(|name| name.parse().ok()) {
                kept.add(JobId(number), bytes);
            }
        }
        let state = State { kept: Mutex::new(kept), ..State::default() };
        Ok(Self { folder: Arc::new(folder), state: Arc::new(state) })
    }

    /// Jobs that have a folder here.
    pub(super) fn jobs(&self) -> io::Result<Vec<JobId>> {
        let mut jobs = Vec::new();
        for entry in std::fs::read_dir(self.folder.as_path())? {
            let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            jobs.extend(number.map(JobId));
        }
        Ok(jobs)
    }

    /// Bytes of all that is kept.
    pub(super) fn bytes(&self) -> u64 {
        self.kept().sum
    }

    /// Bytes of what is kept of `job`.
    pub(super) fn bytes_of(&self, job: JobId) -> u64 {
        self.kept().of_jobs.get(&job).copied().unwrap_or(0)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.state.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes everything kept of `job`; blocks on the disk.
    pub(super) fn forget(&self, job: JobId) -> io::Result<()> {
        self.kept().remove(job);
        match std::fs::remove_dir_all(self.job_folder(job)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Opens the stored output of `id`; `None` when there is none.
    pub(super) fn read(&self, id: AttemptId) -> io::Result<Option<std::fs::File>> {
        match std::fs::File::open(self.path(id)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Receives the stored output of `id` from `source`, `announced` bytes of data frames.
    ///
    /// # Errors
    /// When it cannot be received or written, or is no log of that length; nothing is left of it then.
    pub(super) async fn receive(
        &self,
        id: AttemptId,
        announced: u64,
        source: &mut FrameRecv,
    ) -> Result<(), UploadError> {
        if announced > MAX_UPLOAD_BYTES {
            return Err(UploadError::TooLong(announced));
        }
        let _turn = Turn::take(&self.state, id).ok_or(UploadError::Twice)?;
        let whole = self.path(id);
        let partial = whole.with_extension(PARTIAL);
        make_private(&self.job_folder(id.task.job))?;
        let received = write_frames(&partial, announced, source).await;
        let kept = match received {
            Ok(()) => self.keep(id, &partial).await,
            Err(error) => Err(error),
        };
        if kept.is_err() {
            // What cannot be removed now is removed at the next start.
            let _ = tokio::fs::remove_file(&partial).await;
        }
        kept
    }

    /// Gives a received file its name, for good: its worker removes its own copy when the result is durable, so
    /// this has to be as durable before. Uploads are rare enough for a sync each; small logs are in the store.
    async fn keep(&self, id: AttemptId, partial: &Path) -> Result<(), UploadError> {
        let whole = self.path(id);
        let bytes = tokio::fs::metadata(partial).await?.len();
        // It comes again when its link broke before its sender had heard that it is kept.
        let replaced = tokio::fs::metadata(&whole).await.map_or(0, |file| file.len());
        tokio::fs::rename(partial, &whole).await?;
        self.kept().replace(id.task.job, replaced, bytes);
        for folder in [self.job_folder(id.task.job), self.folder.to_path_buf()] {
            if let Err(error) = sync_folder(&folder).await {
                let _ = tokio::fs::remove_file(&whole).await;
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn job_folder(&self, job: JobId) -> PathBuf {
        self.folder.join(job.to_string())
    }

    fn path(&self, id: AttemptId) -> PathBuf {
        self.job_folder(id.task.job).join(format!("{}.{}.log", id.task.index.0, id.attempt.0))
    }
}

/// Writes what comes from `source` to a new file at `path`.
async fn write_frames(path: &Path, announced: u64, source: &mut FrameRecv) -> Result<(), UploadError> {
    let mut file = tokio::fs::File::create(path).await?;
    let mut buffer = Vec::with_capacity(WRITE_AT_ONCE);
    let mut got = 0_u64;
    // Its sender ends the stream only when it has heard that all of it is kept.
    while got < announced
        && let Some(frame) = source.recv_data().await?
    {
        if !matches!(frame, DataFrame::Output { .. } | DataFrame::Cut { .. }) {
            return Err(UploadError::NoLog);
        }
        let before = buffer.len();
        frame.encode(&mut buffer);
        got += (buffer.len() - before) as u64;
        if got > announced {
            return Err(UploadError::TooLong(got));
        }
        if buffer.len() >= WRITE_AT_ONCE {
            file.write_all(&buffer).await?;
            buffer.clear();
        }
    }
    if got != announced {
        return Err(UploadError::Cut { got, announced });
    }
    file.write_all(&buffer).await?;
    file.flush().await?;
    Ok(file.sync_all().await?)
}

/// Makes the names in a folder durable; where folders cannot be opened, the system does so by itself.
async fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { tokio::fs::File::open(folder).await?.sync_all().await } else { Ok(()) }
}

/// Makes a folder for this user alone; that it is there already is no error.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// Removes what is half received; returns the bytes of the rest.
fn remove_partial(job: &Path) -> io::Result<u64> {
    let mut kept = 0;
    for file in std::fs::read_dir(job)? {
        let file = file?;
        if file.path().extension() == Some(OsStr::new(PARTIAL)) {
            std::fs::remove_file(file.path())?;
        } else {
            kept += file.metadata()?.len();
        }
    }
    Ok(kept)
}

/// The right to receive the output of one attempt; given back when dropped.
struct Turn {
    state: Arc<State>,
    id: AttemptId,
}

impl Turn {
    fn take(state: &Arc<State>, id: AttemptId) -> Option<Self> {
        let new = state.receiving.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        new.then(|| Self { state: Arc::clone(state), id })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.state.receiving.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttemptNo, TaskId};

    #[test]
    fn a_start_removes_what_a_crash_left_half_received_and_keeps_the_rest() {
        let place = tempfile::tempdir().expect("a folder");
        let job = place.path().join("logs/7");
        std::fs::create_dir_all(&job).expect("a job folder");
        std::fs::write(job.join("0.1.log"), b"").expect("a log");
        std::fs::write(job.join("0.2.part"), b"").expect("a partial log");
        let files = LogFiles::open(place.path().join("logs")).expect("opens");
        let id = |attempt| AttemptId { task: TaskId::new(7, 0), attempt: AttemptNo(attempt) };
        let is_there = |attempt| files.read(id(attempt)).expect("looks").is_some();
        assert!(is_there(1) && !is_there(2));
        assert!(!job.join("0.2.part").exists());
        assert_eq!(files.jobs().expect("lists"), [JobId(7)]);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_made_durable_does_not_count() {
        let place = tempfile::tempdir().expect("a folder");
        let files = LogFiles::open(place.path().join("logs")).expect("opens");
        let id = AttemptId { task: TaskId::new(7, 0), attempt: AttemptNo(1) };
        make_private(&files.job_folder(JobId(7))).expect("a job folder");
        let partial = files.path(id).with_extension(PARTIAL);
        std::fs::write(&partial, b"frames").expect("a received file");
        files.keep(id, &partial).await.expect("keeps it");
        assert_eq!((files.bytes(), files.bytes_of(JobId(7))), (6, 6));
        std::fs::write(&partial, b"frames").expect("a received file");
        files.keep(id, &partial).await.expect("keeps what comes again");
        assert_eq!((files.bytes(), files.bytes_of(JobId(7))), (6, 6), "it is there once");
        let reopened = LogFiles::open(place.path().join("logs")).expect("opens");
        assert_eq!(reopened.bytes(), 6, "a restart counts what is there");
        reopened.forget(JobId(7)).expect("forgets");
        assert_eq!(reopened.bytes(), 0);
        make_private(&files.job_folder(JobId(7))).expect("a job folder");
        std::fs::write(&partial, b"frames").expect("a received file");
        files.keep(id, &partial).await.expect("keeps it again");
        assert!(files.path(id).exists() && !partial.exists());
        assert!(sync_folder(&place.path().join("nowhere")).await.is_err());
        assert!(matches!(files.keep(id, &partial).await, Err(UploadError::Io(_))), "nothing was received");
    }

    #[test]
    fn forgetting_a_job_removes_its_logs_and_is_no_error_twice() {
        let place = tempfile::tempdir().expect("a folder");
        let files = LogFiles::open(place.path().join("logs")).expect("opens");
        std::fs::create_dir_all(place.path().join("logs/7")).expect("a job folder");
        files.forget(JobId(7)).expect("forgets");
        files.forget(JobId(7)).expect("forgets again");
        assert!(files.jobs().expect("lists").is_empty());
    }
}
