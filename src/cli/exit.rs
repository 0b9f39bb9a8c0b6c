//! The exit codes. Their meaning is a promise to scripts: it never changes.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done.
    Done,
    /// It failed; the vault is as it was.
    Failed,
    /// The command line was wrong; nothing was begun.
    Usage,
    /// All was done, but there were warnings.
    Warnings,
    /// Damage was found in the vault.
    Damage,
    /// A machine is not protected as it should be.
    Unprotected,
    /// Ended by Ctrl-C or SIGTERM; the vault is as it was.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Warnings => 3,
            Self::Damage => 4,
            Self::Unprotected => 5,
            Self::Interrupted => 130,
        }
    }

    /// Done, or done with warnings.
    pub(crate) const fn done(warnings: u64) -> Self {
        if warnings == 0 { Self::Done } else { Self::Warnings }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table for `cairn --help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    failed; the vault is as it was
  2    the command line is wrong; nothing was begun
  3    done, with warnings
  4    damage was found in the vault
  5    a machine is not protected as it should be (cairn status)
  130  ended by Ctrl-C or SIGTERM; the vault is as it was";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        for exit in [Exit::Done, Exit::Failed, Exit::Usage, Exit::Warnings, Exit::Damage, Exit::Unprotected, Exit::Interrupted] {
            assert!(HELP.contains(&format!("\n  {:<4} ", exit.code())), "{exit:?} is not in the help");
        }
    }
}
