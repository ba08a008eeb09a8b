//! The stored output of one attempt, while it grows and after.
//!
//! ```text
//! head: up to half of MAX_LOG_BYTES │ gap, when there was more │ the last segments: the other half
//! segment 0                         │ dropped: 1, 2 …          │ k … k+7, the last one growing
//! ```
//! Each segment is a file; the last one ends in memory, and as long as it is
//! small it is nothing but memory. The one invariant: at any instant the spool
//! reads as a log file (`Output` and `Cut` frames) that accounts for every byte
//! taken. Deliberately absent: reading it (`log`), and where output comes from.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Kept;
use crate::model::RawString;
use crate::model::limits::{DATA_FRAME, MAX_INLINE_LOG, MAX_LOG_BYTES};
use crate::wire::{DataFrame, OutputStream};

/// Memory that collects before a write to disk: large enough that its cost does not matter.
const WRITE_BYTES: usize = 128 * 1024;
/// Files the tail is cut into: dropping the oldest loses at most this share of it.
const TAIL_SEGMENTS: usize = 8;
/// A segment is left for the next one once it is this close to full, so that none outgrows its share.
const SEGMENT_SLACK: u64 = (WRITE_BYTES + 2 * DATA_FRAME) as u64;
/// Bytes of the head's file.
const HEAD_BYTES: u64 = MAX_LOG_BYTES / 2 - SEGMENT_SLACK;
/// Bytes of each of the tail's files.
const TAIL_BYTES: u64 = MAX_LOG_BYTES / 2 / TAIL_SEGMENTS as u64 - SEGMENT_SLACK;

/// Ending of the name of the list of a kept log's segments.
const LIST: &str = "list";

const _: () = assert!(MAX_INLINE_LOG < WRITE_BYTES, "what fits into a result never touches the disk");

/// One attempt's output. Its files are removed when it is dropped, unless they are kept.
#[derive(Debug)]
pub(super) struct Spool {
    state: Mutex<State>,
    /// Told whenever there is more to read, or the end is reached.
    pub(super) grown: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    /// Beginning of its files' names.
    prefix: PathBuf,
    /// Its files outlive this process.
    is_kept: bool,
    /// What is kept, in order: the head, then the tail. Never empty; the last one grows.
    kept: VecDeque<Segment>,
    /// Whole frames of the last segment that are not in its file yet.
    pending: Arc<Vec<u8>>,
    /// Bytes of a frame that may still grow, so that a chatty task does not become a frame a byte.
    open: Vec<u8>,
    /// Where those bytes were written.
    open_stream: OutputStream,
    /// Payload bytes in whole frames so far, dropped ones included.
    payload: u64,
    /// `pending` is on its way to disk and must stay as it is.
    writing: bool,
    /// Nothing more will come.
    ended: bool,
}

/// One file's worth.
#[derive(Debug)]
struct Segment {
    number: u64,
    /// Payload bytes in front of it, dropped ones included.
    begins_at: u64,
    /// Payload bytes up to the end of its file.
    ends_at: u64,
    /// Bytes in its file; always whole frames.
    bytes: u64,
    file: Option<Arc<File>>,
}

impl Segment {
    fn new(number: u64, begins_at: u64) -> Self {
        Self { number, begins_at, ends_at: begins_at, bytes: 0, file: None }
    }
}

/// Where a reader is: always between two frames.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position {
    /// In which segment.
    number: u64,
    /// How far into it.
    offset: u64,
    /// Payload bytes behind it, omitted ones included.
    payload: u64,
}

impl Position {
    /// Moves over whole frames of `bytes` bytes that carry `payload`.
    pub(super) fn advance(&mut self, bytes: u64, payload: u64) {
        self.offset += bytes;
        self.payload += payload;
    }
}

/// What a reader does next.
#[derive(Debug)]
pub(super) enum Step {
    /// These whole frames are next; the position is already behind them.
    Frames(Vec<u8>),
    /// This much of a file is next; it begins with a whole frame. The position is in front of it.
    File {
        /// The file.
        file: Arc<File>,
        /// From where.
        offset: u64,
        /// Up to this many bytes.
        length: u64,
    },
    /// Nothing more now.
    Dry,
    /// Nothing more ever.
    End,
}

impl Spool {
    /// An empty one whose files, should there be any, go to `directory`.
    pub(super) fn new(directory: &Path, name: &str) -> Self {
        let state = State {
            prefix: directory.join(name),
            is_kept: false,
            kept: VecDeque::from([Segment::new(0, 0)]),
            pending: Arc::default(),
            open: Vec::new(),
            open_stream: OutputStream::Stdout,
            payload: 0,
            writing: false,
            ended: false,
        };
        Self { state: Mutex::new(state), grown: Notify::new() }
    }

    /// That of an attempt which ended in an earlier process, as [`Spool::keep_at`] left it.
    ///
    /// # Errors
    /// When it is not there as a whole.
    pub(super) fn restore(prefix: &Path) -> io::Result<Self> {
        let list = fs::read_to_string(with_ending(prefix, LIST))?;
        let segment = |line: &str| -> Option<io::Result<Segment>> {
            let mut numbers = line.split(' ').map(str::parse::<u64>);
            let mut next = || numbers.next()?.ok();
            let (number, begins_at, ends_at, bytes) = (next()?, next()?, next()?, next()?);
            let file = match bytes {
                0 => Ok(None),
                _ => File::open(with_ending(prefix, number)).map(|file| Some(Arc::new(file))),
            };
            Some(file.map(|file| Segment { number, begins_at, ends_at, bytes, file }))
        };
        let mut kept = VecDeque::new();
        for line in list.lines() {
            let segment = segment(line).ok_or(io::ErrorKind::InvalidData)??;
            if segment.file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|found| found.len() < segment.bytes))
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            kept.push_back(segment);
        }
        let payload = kept.back().ok_or(io::ErrorKind::InvalidData)?.ends_at;
        let state = State {
            prefix: prefix.to_owned(),
            is_kept: true,
            kept,
            pending: Arc::default(),
            open: Vec::new(),
            open_stream: OutputStream::Stdout,
            payload,
            writing: false,
            ended: true,
        };
        Ok(Self { state: Mutex::new(state), grown: Notify::new() })
    }

    /// Moves its files to `prefix`, where they outlive this process. The attempt must have ended.
    ///
    /// # Errors
    /// When the system refuses; then they are where they were.
    pub(super) fn keep_at(&self, prefix: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.is_kept {
            return Ok(());
        }
        let with_file: Vec<u64> = state.with_file();
        let list = state.kept.iter().map(|segment| {
            let Segment { number, begins_at, ends_at, bytes, .. } = segment;
            format!("{number} {begins_at} {ends_at} {bytes}\n")
        });
        let (list, draft) = (list.collect::<String>(), with_ending(prefix, "list.new"));
        let moved = with_file.iter().try_for_each(|number| {
            let there = with_ending(prefix, number);
            // A namesake of an earlier life whose result nobody waits for any more.
            let _ = fs::remove_file(&there);
            fs::hard_link(with_ending(&state.prefix, number), there)
        });
        let moved =
            moved.and_then(|()| fs::write(&draft, list)).and_then(|()| fs::rename(&draft, with_ending(prefix, LIST)));
        if let Err(error) = moved {
            let _ = fs::remove_file(draft);
            with_file.iter().for_each(|number| drop(fs::remove_file(with_ending(prefix, number))));
            return Err(error);
        }
        let before = std::mem::replace(&mut state.prefix, prefix.to_owned());
        state.is_kept = true;
        drop(state);
        with_file.iter().for_each(|number| drop(fs::remove_file(with_ending(&before, number))));
        Ok(())
    }

    /// Nobody asks for it any more: its files go with it.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.is_kept) {
            // First, so that a crash leaves no list without its files.
            let _ = fs::remove_file(with_ending(&state.prefix, LIST));
        }
    }

    /// Takes what a task has written. Call [`Spool::write_out`] when this says that it is time to.
    pub(super) fn append(&self, stream: OutputStream, bytes: &[u8]) -> bool {
        let mut state = self.state();
        state.take(stream, bytes);
        let full = state.pending.len() >= WRITE_BYTES;
        drop(state);
        self.grown.notify_waiters();
        full
    }

    /// Moves what has collected in memory to disk. One at a time, and no appending meanwhile.
    pub(super) async fn write_out(self: &Arc<Self>) {
        let this = Arc::clone(self);
        // A disk that hangs holds up this attempt and nothing else. The task cannot panic.
        let _ = tokio::task::spawn_blocking(move || this.write_out_blocking()).await;
    }

    fn write_out_blocking(&self) {
        let (pending, number, offset, file) = {
            let mut state = self.state();
            state.writing = true;
            let Some(last) = state.kept.back() else { return };
            (Arc::clone(&state.pending), last.number, last.bytes, last.file.clone())
        };
        let written = file.map_or_else(|| self.create(number).map(Arc::new), Ok).and_then(|file| {
            file.write_all_at(&pending, offset)?;
            Ok(file)
        });
        drop(pending);
        let dropped = self.state().settle(written);
        if let Some(number) = dropped {
            // Readers in the middle of it have it open.
            let _ = fs::remove_file(self.path(number));
        }
    }

    /// No more output will come; says where it is.
    pub(super) async fn finish(self: &Arc<Self>) -> Kept {
        let small = self.state().finish();
        let kept = match small {
            Some(log) if log.is_empty() => Kept::Nothing,
            Some(log) => Kept::Inline(RawString(log)),
            None => {
                self.write_out().await;
                Kept::Spooled { bytes: self.state().length() }
            }
        };
        self.grown.notify_waiters();
        kept
    }

    /// What comes at `position`; moves it, but for files, over what it returns.
    pub(super) fn step(&self, position: &mut Position) -> Step {
        self.state().step(position)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, number: u64) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(self.path(number))
    }

    fn path(&self, number: u64) -> PathBuf {
        with_ending(&self.state().prefix, number)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !state.is_kept {
            state.with_file().iter().for_each(|number| drop(fs::remove_file(with_ending(&state.prefix, number))));
        }
    }
}

/// `PREFIX.ENDING`.
fn with_ending(prefix: &Path, ending: impl std::fmt::Display) -> PathBuf {
    let mut path = prefix.to_owned().into_os_string();
    path.push(format!(".{ending}"));
    path.into()
}

impl State {
    /// The segments that have a file.
    fn with_file(&self) -> Vec<u64> {
        self.kept.iter().filter(|segment| segment.file.is_some()).map(|segment| segment.number).collect()
    }

    fn take(&mut self, stream: OutputStream, bytes: &[u8]) {
        if stream != self.open_stream || self.open.len() + bytes.len() > DATA_FRAME {
            self.seal();
        }
        self.open_stream = stream;
        self.open.extend_from_slice(bytes);
        // As good as full: the next bytes would hardly fit.
        if self.open.len() >= DATA_FRAME / 2 {
            self.seal();
        }
    }

    /// Ends the frame that may still grow.
    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let frame = DataFrame::Output { stream: self.open_stream, bytes: Cow::Borrowed(&self.open) };
        frame.encode(Arc::make_mut(&mut self.pending));
        self.payload += self.open.len() as u64;
        self.open.clear();
    }

    /// Notes how writing went; returns the number of a segment whose file is to be removed.
    fn settle(&mut self, written: io::Result<Arc<File>>) -> Option<u64> {
        let bytes = std::mem::take(&mut self.pending).len() as u64;
        self.writing = false;
        let last = self.kept.back_mut()?;
        let number = last.number;
        // A full disk must not end the task: what did not fit becomes a gap in front of a new segment.
        let failed = written.is_err();
        if let Ok(file) = written {
            last.bytes += bytes;
            last.ends_at = self.payload;
            last.file = Some(file);
        } else if last.bytes == 0 {
            self.kept.pop_back();
        }
        let full = self.kept.back().is_some_and(|last| last.bytes >= if number == 0 { HEAD_BYTES } else { TAIL_BYTES });
        if failed || full {
            self.kept.push_back(Segment::new(number + 1, self.payload));
        }
        // The head stays; of the tail, the oldest goes.
        let dropped = (self.kept.len() > 1 + TAIL_SEGMENTS).then(|| self.kept.remove(1)).flatten();
        dropped.filter(|segment| segment.file.is_some()).map(|segment| segment.number)
    }

    /// The end: the whole log, when it is small enough to travel in a result.
    fn finish(&mut self) -> Option<Vec<u8>> {
        self.seal();
        self.ended = true;
        let in_memory = self.kept.iter().all(|segment| segment.number == 0 && segment.bytes == 0);
        (in_memory && self.pending.len() <= MAX_INLINE_LOG).then(|| self.pending.to_vec())
    }

    /// Bytes that a reader gets from beginning to end.
    fn length(&self) -> u64 {
        let mut length = self.pending.len() as u64;
        let mut payload = 0;
        for segment in &self.kept {
            if segment.begins_at > payload {
                length += cut(segment.begins_at - payload).len() as u64;
            }
            length += segment.bytes;
            payload = segment.ends_at;
        }
        length
    }

    fn step(&mut self, position: &mut Position) -> Step {
        if !self.writing {
            self.seal();
        }
        self.next(position)
    }

    fn next(&self, position: &mut Position) -> Step {
        // Its segment, or when that was dropped, the next one kept.
        for (place, segment) in self.kept.iter().enumerate() {
            if segment.number < position.number {
                continue;
            }
            if segment.number > position.number {
                *position = Position { number: segment.number, offset: 0, payload: position.payload };
            }
            if position.offset == 0 && segment.begins_at > position.payload {
                let cut = cut(segment.begins_at - position.payload);
                position.payload = segment.begins_at;
                return Step::Frames(cut);
            }
            if let (Some(file), true) = (&segment.file, position.offset < segment.bytes) {
                let (offset, length) = (position.offset, segment.bytes - position.offset);
                return Step::File { file: Arc::clone(file), offset, length };
            }
            let is_last = place + 1 == self.kept.len();
            let behind_file = position.offset.saturating_sub(segment.bytes);
            let in_memory = usize::try_from(behind_file).ok().and_then(|at| self.pending.get(at..));
            if let (true, Some(frames)) = (is_last, in_memory.filter(|frames| !frames.is_empty())) {
                let frames = frames.to_vec();
                position.offset += frames.len() as u64;
                position.payload = self.payload;
                return Step::Frames(frames);
            }
        }
        if self.ended { Step::End } else { Step::Dry }
    }
}

fn cut(omitted: u64) -> Vec<u8> {
    let mut cut = Vec::new();
    DataFrame::Cut { omitted }.encode(&mut cut);
    cut
}
