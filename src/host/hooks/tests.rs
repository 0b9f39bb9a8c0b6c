//! Hooks that do their work, and those that do not.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::host::record::{JobWriter, NewJob, Record};

/// A job that ended so.
fn ended(state: JobState) -> JobDetails {
    let directory = tempfile::tempdir().unwrap();
    let job = NewJob { kind: JobKind::Backup, machine: Some("web01".parse().unwrap()), vault: "/v".into(), scheduled: true };
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    let job = JobWriter::begin(directory.path(), &job, now).unwrap().finish(state, &["the disk is gone".into()], now).unwrap();
    Record::open(directory.path()).unwrap().job(job.id).unwrap()
}

fn hook(text: &str) -> Hook {
    let hook: Hook = toml::from_str(text).unwrap();
    hook.check().unwrap();
    hook
}

fn told(hooks: &[Hook], state: JobState) -> Vec<String> {
    tell(hooks, &ended(state), "host1").iter().map(ToString::to_string).collect()
}

#[test]
fn a_program_reads_the_document_and_nothing_goes_through_a_shell() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a $(x)");
    let tee = hook(&format!("on = [\"failure\"]\ncommand = [\"/usr/bin/tee\", \"{}\"]", path.display()));
    assert_eq!(told(std::slice::from_ref(&tee), JobState::Completed), [""; 0]);
    assert!(!path.exists(), "it was told of what it did not ask for");
    assert_eq!(told(&[tee], JobState::Failed), [""; 0]);
    let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((&document["event"], &document["host"]), (&"failure".into(), &"host1".into()));
    assert_eq!((&document["job"]["machine"], &document["job"]["state"]), (&"web01".into(), &"failed".into()));
    assert_eq!(document["job"]["messages"][0]["message"], "the disk is gone");
}

#[test]
fn machines_and_kinds_are_chosen() {
    let failing = |more: &str| hook(&format!("on = [\"success\"]\ncommand = [\"/bin/false\"]\n{more}"));
    let count = |more: &str| told(&[failing(more)], JobState::Completed).len();
    assert_eq!((count(""), count("machines = [\"web01\"]"), count("machines = [\"web02\"]")), (1, 1, 0));
    assert_eq!((count("kinds = [\"backup\"]"), count("kinds = [\"verify\"]")), (1, 0));
}

#[test]
fn a_program_that_fails_or_is_missing_is_named() {
    let failed = told(&[hook("on = [\"success\"]\ncommand = [\"/bin/false\", \"x\"]")], JobState::Completed);
    assert_eq!(failed, ["the hook '/bin/false x' failed: it ended with exit status: 1"]);
    let missing = told(&[hook("on = [\"success\"]\ncommand = [\"/nonexistent\"]")], JobState::Completed);
    assert!(missing[0].contains("it cannot be started"), "{missing:?}");
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
    let slow = hook(&format!("on = [\"success\"]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\ntimeout_seconds = 1"));
    let failed = told(&[slow], JobState::Completed);
    assert!(failed[0].ends_with("it took more than 1 s and was ended"), "{failed:?}");
    let child: u32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    // It may take the system a moment to take it away.
    let gone = || {
        let stat = std::fs::read_to_string(Path::new("/proc").join(child.to_string()).join("stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    };
    while !gone() {
        std::thread::sleep(POLL);
    }
}

#[test]
fn an_address_is_posted_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/cairn", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || [answer(&listener, "204 No Content"), answer(&listener, "500 Oops")]);
    let hook = hook(&format!("on = [\"warning\"]\nurl = \"{url}\"\nheaders = {{ authorization = \"Bearer x\" }}"));
    assert_eq!(told(std::slice::from_ref(&hook), JobState::CompletedWithWarnings), [""; 0]);
    let failed = told(&[hook], JobState::CompletedWithWarnings);
    assert!(failed[0].contains(&url) && failed[0].contains("500"), "{failed:?}");
    let [(head, body), _] = server.join().unwrap();
    assert!(head.starts_with("POST /cairn HTTP/1.1"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/json") && head.contains("authorization: bearer x"), "{head}");
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["event"], "warning");
}

#[test]
fn an_address_where_nobody_answers_is_named() {
    // Bound and closed again: nobody else has it at this moment.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = told(&[hook(&format!("on = [\"success\"]\nurl = \"http://{address}/\""))], JobState::Completed);
    assert!(failed[0].starts_with(&format!("the hook 'http://{address}/' failed")), "{failed:?}");
}

/// Takes one request; gives its head and body.
fn answer(listener: &TcpListener, status: &str) -> (String, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).unwrap();
    }
    let length = head.to_ascii_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    write!(reader.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    (head, body)
}

/// Whoever answers in clear where a certificate is expected is no one to tell anything.
#[cfg(feature = "https")]
#[test]
fn an_https_address_needs_a_certificate() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/cairn", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 3];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        hello
    });
    let failed = told(&[hook(&format!("on = [\"success\"]\nurl = \"{url}\""))], JobState::Completed);
    assert_eq!(failed.len(), 1, "{failed:?}");
    // The record of a handshake of TLS, not the words of a request.
    assert_eq!(server.join().unwrap()[..2], [0x16, 0x03]);
}

#[cfg(not(feature = "https"))]
#[test]
fn an_https_address_is_refused_where_there_is_no_tls() {
    let hook: Hook = toml::from_str("on = [\"success\"]\nurl = \"https://example.org/\"").unwrap();
    assert!(hook.check().unwrap_err().contains("built without https"));
}
