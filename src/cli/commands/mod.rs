//! One file a command: its options and help, what they mean, one call of the library, the result shown.

pub(crate) mod completions;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod man;
