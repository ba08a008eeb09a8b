//! The `octaskly` binary: everything is in the library's `cli` room, but for
//! the two processes that a worker starts from the same file.

use std::process::ExitCode;

use octaskly::exec;
use octaskly::node::worker::last_words;

fn main() -> ExitCode {
    // Decided before the command line is parsed: a shim is started often and is nobody's interface.
    let role = std::env::args_os().nth(1);
    match role.as_ref().and_then(|role| role.to_str()) {
        Some("__exec") => exec::shim::main(),
        Some("__guard") => exec::guard::main(|briefing| last_words::speak(&briefing)),
        _ => octaskly::cli::main(start::stdin_was_closed()),
    }
}

/// What has to be looked at before Rust's runtime opens `/dev/null` in place of a missing stdin.
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod start {
    use std::sync::atomic::{AtomicBool, Ordering};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    #[used]
    #[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
    #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: it asks about a number and touches no memory.
        let is_open = unsafe { libc::fcntl(libc::STDIN_FILENO, libc::F_GETFD) } != -1;
        CLOSED.store(!is_open, Ordering::Relaxed);
    }

    /// Whether this process was started without a stdin.
    pub(super) fn stdin_was_closed() -> bool {
        CLOSED.load(Ordering::Relaxed)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod start {
    /// Nobody can say.
    pub(super) fn stdin_was_closed() -> bool {
        false
    }
}
