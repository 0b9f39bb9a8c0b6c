//! The `cairn` command: what was typed, what it means, one call of the library, the result shown, an exit code.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
