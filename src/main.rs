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
        _ => octaskly::cli::main(),
    }
}
