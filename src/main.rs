//! The `octaskly` binary: everything is in the library's `cli` room.

fn main() -> std::process::ExitCode {
    octaskly::cli::main()
}
