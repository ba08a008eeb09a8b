//! What a node says about itself while it runs: one line an event, on stderr
//! and, when asked for, in a file too.
//!
//! The one invariant: a line begins with its RFC 3339 UTC time and its level.
//! Absent: what is said; the rooms that know something say it through
//! `tracing`.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry};

/// How much is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// `--quiet`: errors only.
    Quiet,
    /// Warnings and errors: what a client command says unasked.
    Warnings,
    /// The default of a node: joins and losses, starts and stops.
    #[default]
    Normal,
    /// `--verbose`: debug.
    Verbose,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where lines go and how they look. The default is a node's: stderr, text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// How much is said.
    pub verbosity: Verbosity,
    /// In which form.
    pub format: LogFormat,
    /// Also appended to this file, which is made when it is not there.
    pub file: Option<PathBuf>,
}

/// Why the log could not be set up; the text completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log file could not be opened.
    #[error("open the log file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else in this process has set up a log already.
    #[error("set up the log a second time")]
    Twice,
}

/// Sends everything that is said from now on to where `options` say.
///
/// Once a process. What libraries below us say is shown from warnings up when
/// verbose, else from errors up: it is about packets and seldom of use.
///
/// # Errors
/// [`TelemetryError::File`] when the file cannot be opened for appending,
/// [`TelemetryError::Twice`] at the second call.
pub fn start(options: &LogOptions) -> Result<(), TelemetryError> {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut layers = vec![lines(options.format, io::stderr, colours)];
    if let Some(path) = &options.file {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file: Mutex<File> =
            Mutex::new(opened.map_err(|source| TelemetryError::File { path: path.clone(), source })?);
        layers.push(lines(options.format, file, false));
    }
    let subscriber = Registry::default().with(layers.with_filter(filter(options.verbosity)));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Twice)
}

/// Lines in `format` to `writer`.
fn lines<W>(format: LogFormat, writer: W, colours: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // The default timer writes RFC 3339 in UTC; the module a line comes from is no news to a user.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    // A terminal that was closed takes no more lines, and a node does not end for that: the library's complaint about it
    // would go to the same terminal, and panic.
    let layer = layer.log_internal_errors(false);
    match format {
        LogFormat::Text => layer.with_ansi(colours).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(true).boxed(),
    }
}

fn filter(verbosity: Verbosity) -> Targets {
    let (ours, libraries) = match verbosity {
        Verbosity::Quiet => (LevelFilter::ERROR, LevelFilter::OFF),
        Verbosity::Warnings => (LevelFilter::WARN, LevelFilter::OFF),
        Verbosity::Normal => (LevelFilter::INFO, LevelFilter::ERROR),
        Verbosity::Verbose => (LevelFilter::DEBUG, LevelFilter::WARN),
    };
    Targets::new().with_default(libraries).with_target("octaskly", ours)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics here").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written when all levels are spoken at `verbosity`.
    fn said(verbosity: Verbosity, format: LogFormat) -> Vec<String> {
        let paper = Paper::default();
        let writer = paper.clone();
        let layer = lines(format, move || writer.clone(), false).with_filter(filter(verbosity));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            tracing::debug!(node = "w", "a detail");
            tracing::info!("Worker worker-01 joined");
            tracing::warn!("a warning");
            tracing::error!("an error");
            tracing::info!(target: "quinn", "a packet");
            tracing::error!(target: "quinn", "a bad packet");
        });
        let bytes = paper.0.lock().expect("nobody panics here").clone();
        String::from_utf8(bytes).expect("text").lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_line_begins_with_its_time_in_utc_and_its_level() {
        let lines = said(Verbosity::Normal, LogFormat::Text);
        let mut words = lines[0].split_whitespace();
        let time = words.next().expect("a time");
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'), "{time}");
        assert_eq!(words.collect::<Vec<_>>(), ["INFO", "Worker", "worker-01", "joined"]);
    }

    #[test]
    fn json_lines_are_objects_with_the_same_parts() {
        for line in said(Verbosity::Verbose, LogFormat::Json) {
            let object: serde_json::Value = serde_json::from_str(&line).expect("an object");
            assert!(object["timestamp"].is_string() && object["level"].is_string() && object["message"].is_string());
        }
    }

    #[test]
    fn each_verbosity_shows_what_it_promises() {
        let count = |verbosity| said(verbosity, LogFormat::Text).len();
        assert_eq!(count(Verbosity::Quiet), 1);
        assert_eq!(count(Verbosity::Warnings), 2);
        assert_eq!(count(Verbosity::Normal), 4, "info and up of ours, errors of libraries");
        assert_eq!(count(Verbosity::Verbose), 5);
    }
}
