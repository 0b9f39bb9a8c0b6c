//! From an error to what a person reads and what a script sees.

use cairn::jobs::{ErrorKind, JobError};
use serde::Serialize;

use super::exit::Exit;

/// The command line says something that cannot be meant. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// A usage error as `anyhow` carries it.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// The JSON document of a failure.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorDocument {
    error: ErrorBody,
}

#[derive(Debug, Serialize)]
struct ErrorBody {
    message: String,
    causes: Vec<String>,
    exit_code: u8,
}

impl ErrorDocument {
    /// The document for these messages, the outermost first.
    pub(crate) fn new(messages: &[String], exit: Exit) -> Self {
        let (message, causes) = messages.split_first().map_or_else(Default::default, |(first, rest)| (first.clone(), rest.to_vec()));
        Self { error: ErrorBody { message, causes, exit_code: exit.code() } }
    }
}

/// The messages of an error and its causes, outermost first. A cause that an outer message already quotes is left out.
pub(crate) fn messages(error: &anyhow::Error) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for cause in error.chain() {
        let message = cause.to_string();
        if !messages.iter().any(|outer| outer.contains(&message)) {
            messages.push(message);
        }
    }
    messages
}

/// What to do about damage: said once, after the outermost message, by every command but the one that it names.
pub(crate) const ADVICE: &str = "`cairn verify --all` names every recovery point that the damage touches";

/// The exit code for an error.
pub(crate) fn exit(error: &anyhow::Error) -> Exit {
    if error.is::<UsageError>() {
        return Exit::Usage;
    }
    match error.downcast_ref::<JobError>().map(JobError::kind) {
        Some(ErrorKind::Damage) => Exit::Damage,
        Some(ErrorKind::Cancelled) => Exit::Interrupted,
        Some(ErrorKind::Other) | None => Exit::Failed,
    }
}

/// What an interruption means for what was asked for.
pub(crate) fn interrupted(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<JobError>() {
        Some(JobError::Restore { .. }) => "interrupted; run the same command again to complete it",
        _ => "interrupted; the vault is as it was",
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the pack is gone: {source}")]
    struct Quoting {
        source: std::io::Error,
    }

    #[test]
    fn each_cause_is_said_once() {
        let quoting = Quoting { source: std::io::Error::other("no medium") };
        let error = Err::<(), _>(quoting).context("cannot verify").unwrap_err();
        assert_eq!(messages(&error), ["cannot verify", "the pack is gone: no medium"]);
    }

    #[test]
    fn a_usage_error_keeps_its_code_under_context() {
        let error = usage("--to is missing").context("cannot restore");
        assert_eq!(exit(&error), Exit::Usage);
        assert_eq!(exit(&anyhow::anyhow!("other")), Exit::Failed);
    }
}
