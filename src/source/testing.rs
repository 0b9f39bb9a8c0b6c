//! What the room's tests share: seeded disks, and the tools of others that serve as oracles.

use std::path::Path;
use std::process::Command;

/// Runs a tool of another project and gives what it printed; `None`, said loudly, where it is not installed.
///
/// A tool that fails fails the test.
pub(super) fn run(program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => Some(output.stdout),
        Ok(output) => panic!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
            {
                eprintln!("SKIPPED: {program} cannot be run ({error}); install it to test against it");
            }
            None
        }
    }
}

/// A path as an argument.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are plain")
}
