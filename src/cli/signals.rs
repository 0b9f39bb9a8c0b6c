//! Ctrl-C, SIGTERM and the end of the terminal: the first asks the job to end cleanly, the second ends the process at once.
//!
//! Installed only when a job begins: before that (at a passphrase prompt, say) the system's own handling is the right one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::Exit;

/// Sets the flag at the first signal; ends the process at the second.
pub(crate) fn cancel_on_signal(cancel: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // The order decides: the second signal finds the flag that the first one set.
        flag::register_conditional_shutdown(signal, i32::from(Exit::Interrupted.code()), Arc::clone(cancel))?;
        flag::register(signal, Arc::clone(cancel))?;
    }
    Ok(())
}
