//! The one terminal that a progress bar shares with everything else that is printed.
//!
//! The one invariant: whatever is written to that terminal is written where no
//! bar stands, and a bar stands only where a line begins, so that neither
//! spoils the other. Without a bar nothing here costs anything. Absent: what
//! the bar says (`meter`).

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::wire::OutputStream;

/// Whether there is a bar in this process: everybody else asks this and nothing more.
static IN_USE: AtomicBool = AtomicBool::new(false);

static SCREEN: Mutex<Screen> = Mutex::new(Screen { bar: None, line: Line::Whole });

struct Screen {
    /// The bar where it stands now.
    bar: Option<ProgressBar>,
    /// What the last that was written has left.
    line: Line,
}

/// The line that the cursor is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// It is empty.
    Whole,
    /// Its task may go on with it.
    Begun,
    /// Its task has nothing more to say.
    Left,
}

impl Screen {
    /// Begins a line where none may be gone on with; says whether the cursor is at the beginning of one.
    fn breaks_line(&mut self) -> bool {
        if self.line == Line::Left {
            let _ = io::stderr().write_all(b"\n");
            self.line = Line::Whole;
        }
        self.line == Line::Whole
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a bar can be drawn: stderr is a terminal that understands more than lines.
pub(crate) fn can_draw() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Draws the bar, or draws it anew; not while something is being written or a line is unfinished.
pub(crate) fn draw(done: u64, total: u64, text: &str) {
    IN_USE.store(true, Ordering::SeqCst);
    // Whoever writes may wait for a terminal that was stopped; a bar waits for nobody.
    let Ok(mut screen) = SCREEN.try_lock() else { return };
    if !screen.breaks_line() {
        return;
    }
    let bar = screen.bar.get_or_insert_with(|| {
        // It is drawn when it is told to be, and only then. What it says matters more than how it looks: the bar gets
        // what is left of the line.
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let bar = bar.with_position(done).with_message(text.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{msg} [{wide_bar}]") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    });
    bar.set_length(total);
    bar.set_position(done);
    bar.set_message(text.to_owned());
    bar.force_draw();
}

/// Takes the bar away for good.
pub(crate) fn clear() {
    let mut screen = screen();
    screen.clear();
    if screen.line != Line::Whole {
        screen.line = Line::Left;
        screen.breaks_line();
    }
    IN_USE.store(false, Ordering::SeqCst);
}

/// The task that wrote last has nothing more to say: the bar may end its unfinished line.
pub(crate) fn line_is_left() {
    if IN_USE.load(Ordering::SeqCst) {
        let mut screen = screen();
        if screen.line == Line::Begun {
            screen.line = Line::Left;
        }
    }
}

/// Does `write`, which writes `bytes` to this output, where no bar is in the way.
pub(crate) fn aside<T>(stream: OutputStream, bytes: &[u8], write: impl FnOnce() -> T) -> T {
    if !IN_USE.load(Ordering::SeqCst) || bytes.is_empty() {
        return write();
    }
    let on_screen = match stream {
        OutputStream::Stdout => io::stdout().is_terminal(),
        OutputStream::Stderr => io::stderr().is_terminal(),
    };
    if !on_screen {
        return write();
    }
    let mut screen = screen();
    screen.clear();
    screen.line = if bytes.ends_with(b"\n") { Line::Whole } else { Line::Begun };
    write()
}
