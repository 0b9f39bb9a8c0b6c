//! What a service's answers mean for the caller.
//!
//! The client crate tells some statuses apart and gives the others as text only; the text is read here, in one place, and the
//! crate's version is pinned. Where the text says nothing, a failure counts as one that may pass.

use std::error::Error;
use std::io;

use crate::backend::BackendError;

/// Longest part of a service's answer that is shown.
const SHOWN_BYTES: usize = 300;
/// What is said where the bucket is missing.
pub(super) const NO_BUCKET: &str = "there is no such bucket or container; make it first";
/// What stands before the status in the client crate's text.
const STATUS_TEXT: &str = "status code: ";

/// The HTTP status in an error, where it holds one.
pub(super) fn status(error: &object_store::Error) -> Option<u16> {
    let text = chain(error);
    let (_, after) = text.split_once(STATUS_TEXT)?;
    after.get(..3)?.parse().ok()
}

/// Sorts an error by what the caller does next.
pub(super) fn sort(location: &str, name: &str, doing: &'static str, error: &object_store::Error) -> BackendError {
    let (location, name) = (location.to_owned(), name.to_owned());
    let text = chain(error);
    if text.contains("NoSuchBucket") || text.contains("ContainerNotFound") {
        return BackendError::Unsupported { location, reason: NO_BUCKET.to_owned() };
    }
    let reason = with_hint(brief(&text));
    match (error, status(error)) {
        (object_store::Error::NotFound { .. }, _) => BackendError::NotFound { location, name },
        (object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }, _) => {
            BackendError::Denied { location, name, reason }
        }
        (_, Some(507)) => BackendError::Full { location, name },
        _ if ["QuotaExceeded", "StorageFull", "NoSpace"].iter().any(|code| text.contains(code)) => BackendError::Full { location, name },
        // Also a redirect: the bucket is in another region than the client was told.
        (_, Some(300..=407 | 409..=428 | 430..=499 | 501)) => {
            BackendError::Unsupported { location, reason: format!("{doing} '{name}' was refused: {reason}") }
        }
        (object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. }, _) => {
            BackendError::Unsupported { location, reason: format!("{doing} '{name}' is not supported: {reason}") }
        }
        _ => BackendError::Io { location, name, doing, source: io::Error::other(reason) },
    }
}

/// An error's text and those of its sources that it does not repeat.
fn chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    text
}

/// The part of an answer that people need, on one line: the status and, from an XML body, its code and message.
fn brief(text: &str) -> String {
    let between = |tag: &str| {
        let (_, after) = text.split_once(&format!("<{tag}>"))?;
        after.split_once(&format!("</{tag}>")).map(|(inner, _)| inner.trim())
    };
    let body = match (between("Code"), between("Message")) {
        (Some(code), message) => {
            let status = text.split_once(STATUS_TEXT).and_then(|(_, after)| after.split_once(':')).map(|(status, _)| status);
            format!("{} {code}: {}", status.unwrap_or("the service says"), message.unwrap_or(""))
        }
        _ => text.to_owned(),
    };
    let mut line: String = body.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > SHOWN_BYTES {
        let end = (0..=SHOWN_BYTES).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
        line.truncate(end);
        line.push_str("...");
    }
    line
}

/// Without credentials in the environment the client asks the metadata service of a cloud host, which elsewhere is not there.
fn with_hint(reason: String) -> String {
    if reason.contains("169.254.169.254") || reason.contains("metadata.google.internal") {
        return format!("{reason} (no credentials are set in the environment, and this host has no metadata service to ask)");
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn statuses_are_sorted() {
        let sorted = |text: &str| sort("s3://b", "a", "writing", &generic(text));
        let answer = |status: &str| format!("Server returned non-2xx status code: {status}: body");
        assert!(matches!(sorted(&answer("503 Service Unavailable")), BackendError::Io { .. }));
        assert!(matches!(sorted(&answer("429 Too Many Requests")), BackendError::Io { .. }));
        assert!(matches!(sorted(&answer("408 Request Timeout")), BackendError::Io { .. }));
        assert!(matches!(sorted("connection refused"), BackendError::Io { .. }));
        assert!(matches!(sorted(&answer("400 Bad Request")), BackendError::Unsupported { .. }));
        assert!(matches!(sorted(&answer("501 Not Implemented")), BackendError::Unsupported { .. }));
        assert!(matches!(sorted(&answer("301 Moved Permanently")), BackendError::Unsupported { .. }));
        assert!(matches!(sorted(&answer("507 Insufficient Storage")), BackendError::Full { .. }));
        assert!(matches!(sorted("<Code>QuotaExceeded</Code>"), BackendError::Full { .. }));
        assert!(matches!(sorted("<Code>NoSuchBucket</Code>"), BackendError::Unsupported { .. }));
    }

    #[test]
    fn an_answer_is_shown_in_brief() {
        let body = "Error performing PUT - Server returned non-2xx status code: 400 Bad Request: <?xml?>\n<Error><Code>InvalidBucketName\
                    </Code><Message>The bucket\n is not valid.</Message></Error>";
        assert_eq!(brief(body), "400 Bad Request InvalidBucketName: The bucket is not valid.");
        assert_eq!(brief(&"\u{e9}x".repeat(1000)).len(), SHOWN_BYTES + 3);
        assert!(with_hint("http://169.254.169.254/latest".to_owned()).contains("no credentials"));
    }
}
