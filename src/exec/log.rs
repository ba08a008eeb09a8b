//! Reading an attempt's stored output: all of it, or along with its growth.
//!
//! The one invariant: what a reader yields, put together, is a log file, even
//! when the spool drops segments under its feet (it then says how much was
//! cut). Absent: decoding the frames.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::ExecError;
use super::spool::{Position, Spool, Step};
use crate::model::limits::DATA_FRAME;
use crate::wire::DataFrame;
use crate::wire::data::DATA_HEADER_BYTES;

/// Bytes asked of a file at once; more than the largest frame, so that each read yields at least one.
const READ_BYTES: u64 = 256 * 1024;

const _: () = assert!(READ_BYTES > (DATA_FRAME + DATA_HEADER_BYTES) as u64, "a read holds a whole frame");

/// Reads a log: of a running attempt from its beginning, or of an ended one.
#[derive(Debug)]
pub struct LogReader {
    spool: Arc<Spool>,
    position: Position,
    follow: bool,
}

impl LogReader {
    pub(super) fn new(spool: Arc<Spool>, follow: bool) -> Self {
        Self { spool, position: Position::default(), follow }
    }

    /// The next bytes: one or more whole data frames, `None` at the end.
    ///
    /// A following reader waits here for more until the attempt ends. May be
    /// cancelled: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ExecError> {
        loop {
            // Listening before looking: growth in between is not missed.
            let spool = Arc::clone(&self.spool);
            let mut grown = std::pin::pin!(spool.grown.notified());
            grown.as_mut().enable();
            match self.spool.step(&mut self.position) {
                Step::Frames(frames) => return Ok(Some(frames)),
                Step::File { file, offset, length } => return self.read(file, offset, length).await.map(Some),
                Step::Dry if self.follow => grown.await,
                Step::Dry | Step::End => return Ok(None),
            }
        }
    }

    async fn read(&mut self, file: Arc<File>, offset: u64, length: u64) -> Result<Vec<u8>, ExecError> {
        let length = usize::try_from(length.min(READ_BYTES)).unwrap_or(usize::MAX);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset).map(|()| bytes)
        });
        let mut bytes = read.await.map_err(io::Error::other).and_then(|read| read).map_err(ExecError::ReadLog)?;
        let (whole, payload) = whole_frames(&bytes);
        if whole == 0 {
            let damaged = io::Error::new(io::ErrorKind::InvalidData, "the stored output is damaged");
            return Err(ExecError::ReadLog(damaged));
        }
        bytes.truncate(whole);
        self.position.advance(whole as u64, payload);
        Ok(bytes)
    }
}

/// How many of `bytes` are whole frames, and how much payload they carry.
fn whole_frames(bytes: &[u8]) -> (usize, u64) {
    let mut rest = bytes;
    let mut payload = 0;
    while let Ok(Some(frame)) = DataFrame::take(&mut rest) {
        payload += frame.output_bytes();
    }
    (bytes.len() - rest.len(), payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Kept;
    use crate::model::limits::{MAX_INLINE_LOG, MAX_LOG_BYTES};
    use crate::wire::OutputStream;

    /// What a log says: the bytes that were written, with `None` for each byte that is gone.
    fn said(log: &[u8]) -> (Vec<u8>, u64) {
        let (mut kept, mut omitted, mut rest) = (Vec::new(), 0, log);
        while let Some(frame) = DataFrame::take(&mut rest).expect("a log is whole frames") {
            match frame {
                DataFrame::Output { bytes, .. } => kept.extend_from_slice(&bytes),
                DataFrame::Cut { omitted: more } => omitted += more,
                other => panic!("{other:?} in a log"),
            }
        }
        (kept, omitted)
    }

    async fn all(spool: &Arc<Spool>, follow: bool) -> Vec<u8> {
        let mut reader = LogReader::new(Arc::clone(spool), follow);
        let mut log = Vec::new();
        while let Some(frames) = reader.next().await.expect("the spool reads") {
            log.extend(frames);
        }
        log
    }

    async fn write(spool: &Arc<Spool>, bytes: &[u8]) {
        for chunk in bytes.chunks(DATA_FRAME) {
            if spool.append(OutputStream::Stdout, chunk) {
                spool.write_out().await;
            }
        }
    }

    #[tokio::test]
    async fn small_output_stays_in_memory_and_byte_by_byte_writes_become_one_frame() {
        let place = tempfile::tempdir().expect("a directory");
        let spool = Arc::new(Spool::new(place.path(), "a"));
        for byte in b"hello" {
            spool.append(OutputStream::Stdout, &[*byte]);
        }
        let Kept::Inline(log) = spool.finish().await else { panic!("it is small") };
        assert_eq!(log.len(), 5 + DATA_HEADER_BYTES);
        assert_eq!(said(log.as_bytes()), (b"hello".to_vec(), 0));
        assert_eq!(all(&spool, true).await, log.0);
        assert_eq!(std::fs::read_dir(place.path()).expect("a listing").count(), 0);
    }

    #[tokio::test]
    async fn an_attempt_that_writes_nothing_keeps_nothing() {
        let place = tempfile::tempdir().expect("a directory");
        assert_eq!(Arc::new(Spool::new(place.path(), "a")).finish().await, Kept::Nothing);
    }

    #[tokio::test]
    async fn larger_output_goes_to_disk_reads_back_whole_and_leaves_no_file() {
        let place = tempfile::tempdir().expect("a directory");
        let spool = Arc::new(Spool::new(place.path(), "a"));
        let bytes: Vec<u8> = (0..MAX_INLINE_LOG as u32 * 40).map(|n| (n / 3) as u8).collect();
        write(&spool, &bytes).await;
        let Kept::Spooled { bytes: length } = spool.finish().await else { panic!("it is large") };
        let log = all(&spool, false).await;
        assert_eq!(log.len() as u64, length);
        assert!(said(&log) == (bytes, 0), "the log is not what was written");
        drop(spool);
        assert_eq!(std::fs::read_dir(place.path()).expect("a listing").count(), 0);
    }

    #[tokio::test]
    async fn too_much_output_keeps_its_head_and_its_tail_and_says_what_is_missing() {
        let place = tempfile::tempdir().expect("a directory");
        let spool = Arc::new(Spool::new(place.path(), "a"));
        let megabyte: Vec<u8> = (0..1024 * 1024u32).map(|n| (n % 251) as u8).collect();
        let written = MAX_LOG_BYTES / megabyte.len() as u64 + 60;
        for _ in 0..written {
            write(&spool, &megabyte).await;
        }
        let Kept::Spooled { bytes: length } = spool.finish().await else { panic!("it is large") };
        let log = all(&spool, false).await;
        assert_eq!(log.len() as u64, length);
        assert!(length <= MAX_LOG_BYTES && length > MAX_LOG_BYTES * 9 / 10, "{length} bytes are kept");
        let (kept, omitted) = said(&log);
        assert_eq!(kept.len() as u64 + omitted, written * megabyte.len() as u64);
        assert!(kept.starts_with(&megabyte) && kept.ends_with(&megabyte), "head and tail are what was written");
    }

    #[tokio::test]
    async fn a_follower_sees_everything_once_even_when_it_is_slower_than_the_disk() {
        let place = tempfile::tempdir().expect("a directory");
        let spool = Arc::new(Spool::new(place.path(), "a"));
        let mut reader = LogReader::new(Arc::clone(&spool), true);
        let megabyte = vec![7u8; 1024 * 1024];
        let written = MAX_LOG_BYTES / megabyte.len() as u64 + 30;
        let mut log = Vec::new();
        for n in 0..written {
            write(&spool, &megabyte).await;
            if n % 10 == 0 {
                log.extend(reader.next().await.expect("the spool reads").expect("there is more"));
            }
        }
        let following = tokio::spawn(async move {
            while let Some(frames) = reader.next().await.expect("the spool reads") {
                log.extend(frames);
            }
            log
        });
        tokio::task::yield_now().await;
        spool.append(OutputStream::Stderr, b"the end");
        spool.finish().await;
        let (kept, omitted) = said(&following.await.expect("no panic"));
        assert_eq!(kept.len() as u64 + omitted, written * megabyte.len() as u64 + 7);
        assert!(omitted > 0 && kept.ends_with(b"the end"));
    }

    #[tokio::test]
    async fn kept_output_outlives_its_process_whole_and_is_gone_when_it_is_forgotten() {
        let (place, kept) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        let files = |of: &tempfile::TempDir| std::fs::read_dir(of.path()).expect("a listing").count();
        let prefix = kept.path().join("5.0.1");
        let megabyte: Vec<u8> = (0..1024 * 1024u32).map(|n| (n % 251) as u8).collect();
        let spool = Arc::new(Spool::new(place.path(), "a"));
        for _ in 0..MAX_LOG_BYTES / megabyte.len() as u64 + 60 {
            write(&spool, &megabyte).await;
        }
        let Kept::Spooled { bytes: length } = spool.finish().await else { panic!("it is large") };
        let log = all(&spool, false).await;
        spool.keep_at(&prefix).expect("kept");
        spool.keep_at(&prefix).expect("kept already");
        assert!(all(&spool, false).await == log, "it reads on as it was");
        drop(spool);
        assert_eq!(files(&place), 0);

        let restored = Arc::new(Spool::restore(&prefix).expect("restored"));
        assert_eq!(log.len() as u64, length);
        assert!(all(&restored, true).await == log, "what comes back is what was kept");
        restored.forget();
        drop(restored);
        assert_eq!(files(&kept), 0);
        assert!(Spool::restore(&prefix).is_err());
    }

    #[tokio::test]
    async fn kept_output_that_is_not_whole_is_not_restored_and_nothing_of_it_stays() {
        let (place, kept) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        let prefix = kept.path().join("5.0.1");
        let spool = Arc::new(Spool::new(place.path(), "a"));
        write(&spool, &[7; 1024 * 1024]).await;
        spool.finish().await;
        spool.keep_at(&prefix).expect("kept");
        drop(spool);
        let first = kept.path().join("5.0.1.0");
        std::fs::File::options().write(true).open(&first).expect("its file").set_len(10).expect("cut");
        assert!(Spool::restore(&prefix).is_err(), "cut short");
        std::fs::write(kept.path().join("5.0.1.list"), "0 0 x").expect("damaged");
        assert!(Spool::restore(&prefix).is_err(), "damaged");
        crate::exec::KeptLogs::open(kept.path(), std::iter::empty()).expect("opened");
        assert_eq!(std::fs::read_dir(kept.path()).expect("a listing").count(), 0, "nobody waits for it");
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_costs_the_log_and_not_the_task() {
        let place = tempfile::tempdir().expect("a directory");
        let spool = Arc::new(Spool::new(&place.path().join("missing"), "a"));
        let bytes = vec![1u8; 1024 * 1024];
        write(&spool, &bytes).await;
        assert!(matches!(spool.finish().await, Kept::Spooled { .. }));
        let (kept, omitted) = said(&all(&spool, false).await);
        assert_eq!(kept.len() as u64 + omitted, bytes.len() as u64);
    }
}
