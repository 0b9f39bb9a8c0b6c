//! The work that needs a process of its own: the program starts itself once more, and what it is then is told here.

use std::ffi::OsString;

use super::{guard, supervise};

/// The first argument of such a process.
pub(super) const MARK: &str = "quiesce-helper";
/// The second one: to freeze filesystems and to thaw them whatever happens.
pub(super) const FREEZE: &str = "freeze";
/// To run a program and to end it in time.
pub(super) const SUPERVISE: &str = "supervise";

/// Does the work of a helper where the command line (with the program's name) says that this process is one; gives its exit code. To be
/// called before anything else: a helper may have no other threads.
pub fn helper_main(arguments: &[OsString]) -> Option<u8> {
    let [_, mark, role, rest @ ..] = arguments else { return None };
    if mark != MARK {
        return None;
    }
    Some(match role.to_str() {
        Some(FREEZE) => guard::main(rest),
        Some(SUPERVISE) => supervise::main(rest),
        _ => 2,
    })
}
