//! The record from several processes' point of view.

use std::path::Path;

use super::*;
use crate::host::process::Process;

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn noon() -> Timestamp {
    moment("2026-11-22T12:00:00Z")
}

fn backup_of(machine: &str) -> NewJob {
    NewJob { kind: JobKind::Backup, machine: Some(machine.parse().unwrap()), vault: "/srv/vault".into(), scheduled: true }
}

fn later(seconds: i64) -> Timestamp {
    noon() + SignedDuration::from_secs(seconds)
}

/// A job that a process which is gone has left behind.
fn crashed(state: &Path, machine: &str) -> i64 {
    let writer = JobWriter::begin(state, &backup_of(machine), noon()).unwrap();
    let sql = "UPDATE job SET start_ticks = start_ticks + 1 WHERE id = ?1";
    Record::open(state).unwrap().connection.execute(sql, [writer.id()]).unwrap();
    writer.id()
}

#[test]
fn a_job_is_told_from_its_beginning_to_its_end() {
    let state = tempfile::tempdir().unwrap();
    let mut writer = JobWriter::begin(state.path(), &backup_of("web01"), noon()).unwrap();
    writer.task("scanning vda", later(1)).unwrap();
    writer.warn("vda", "unreadable at 7", later(2)).unwrap();
    let progress = Progress { planned_bytes: 100, done_bytes: 40, read_bytes: 30, ..Progress::default() };
    writer.progress(&progress).unwrap();
    let other = Record::open(state.path()).unwrap();
    let seen = other.jobs(&JobFilter::default()).unwrap();
    assert_eq!((seen[0].state, seen[0].progress, seen[0].warning_count), (JobState::InProgress, progress, 1));
    assert_eq!(seen[0].process, Process::own().unwrap());
    writer.task("publishing", later(3)).unwrap();
    writer.result("web01@2026-11-22T12:00:00Z").unwrap();
    let id = writer.id();
    let ended = writer.finish(JobState::CompletedWithWarnings, &[], later(4)).unwrap();
    let details = other.job(id).unwrap();
    assert_eq!(details.job, ended);
    assert_eq!((ended.start, ended.end, ended.state), (noon(), Some(later(4)), JobState::CompletedWithWarnings));
    assert_eq!(ended.last_message.as_deref(), Some("vda: unreadable at 7"));
    let tasks: Vec<_> = details.tasks.iter().map(|task| (task.name.as_str(), task.end, task.state)).collect();
    assert_eq!(tasks, [("scanning vda", Some(later(3)), JobState::Completed), ("publishing", Some(later(4)), JobState::Completed)]);
    assert_eq!(details.messages[0].severity, Severity::Warning);
}

#[test]
fn a_failed_job_shows_its_first_error() {
    let state = tempfile::tempdir().unwrap();
    let mut writer = JobWriter::begin(state.path(), &backup_of("web01"), noon()).unwrap();
    writer.task("scanning vda", later(1)).unwrap();
    for number in 0..150 {
        writer.warn("vda", &format!("warning {number}"), later(2)).unwrap();
    }
    let id = writer.id();
    let errors = ["the disk is gone".to_owned(), "no such device".to_owned()];
    let job = writer.finish(JobState::Failed, &errors, later(3)).unwrap();
    assert_eq!((job.last_message.as_deref(), job.warning_count), (Some("the disk is gone"), 150));
    let details = Record::open(state.path()).unwrap().job(id).unwrap();
    assert_eq!(details.messages.len(), 102);
    assert_eq!(details.messages[101].text, "no such device");
    assert_eq!(details.tasks[0].state, JobState::Failed);
}

#[test]
fn a_job_whose_process_is_gone_has_failed_and_is_settled_once() {
    let state = tempfile::tempdir().unwrap();
    let id = crashed(state.path(), "web01");
    let running = JobWriter::begin(state.path(), &backup_of("web02"), noon()).unwrap();
    let record = Record::open(state.path()).unwrap();
    let seen = record.job(id).unwrap().job;
    assert_eq!((seen.state, seen.end), (JobState::Failed, None));
    assert!(seen.last_message.unwrap().contains("ended without a word"));
    let settled: Vec<i64> = record.settle(later(9)).unwrap().iter().map(|job| job.id).collect();
    assert_eq!(settled, [id]);
    assert!(record.settle(later(9)).unwrap().is_empty(), "a crash was told twice");
    assert_eq!(record.job(id).unwrap().job.end, Some(later(9)));
    assert_eq!(record.job(running.id()).unwrap().job.state, JobState::InProgress);
}

#[test]
fn a_job_that_somebody_asked_to_end_and_that_is_gone_was_cancelled() {
    let state = tempfile::tempdir().unwrap();
    let id = crashed(state.path(), "web01");
    let record = Record::open(state.path()).unwrap();
    record.connection.execute("UPDATE job SET cancel_requested = 1", []).unwrap();
    assert_eq!(record.job(id).unwrap().job.state, JobState::Cancelled);
    assert_eq!(record.settle(later(9)).unwrap()[0].state, JobState::Cancelled);
    assert_eq!(record.job(id).unwrap().job.end, Some(later(9)));
}

#[test]
fn jobs_are_found_by_machine_kind_state_and_time() {
    let state = tempfile::tempdir().unwrap();
    for (machine, hours) in [("web01", 0), ("web01", 1), ("db01", 2)] {
        let at = later(hours * 3600);
        JobWriter::begin(state.path(), &backup_of(machine), at).unwrap().finish(JobState::Completed, &[], at).unwrap();
    }
    crashed(state.path(), "db01");
    let record = Record::open(state.path()).unwrap();
    let ids = |filter: JobFilter| record.jobs(&filter).unwrap().iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(ids(JobFilter::default()), [4, 3, 2, 1]);
    assert_eq!(ids(JobFilter { machine: Some("web01".parse().unwrap()), ..JobFilter::default() }), [2, 1]);
    assert_eq!(ids(JobFilter { state: Some(JobState::Failed), ..JobFilter::default() }), [4]);
    assert_eq!(ids(JobFilter { since: Some(later(3600)), ..JobFilter::default() }), [3, 2]);
    assert_eq!(ids(JobFilter { limit: Some(2), ..JobFilter::default() }), [4, 3]);
    assert!(ids(JobFilter { kind: Some(JobKind::Verify), ..JobFilter::default() }).is_empty());
    assert!(matches!(record.job(99), Err(HostError::NoJob { id: 99 })));
}

#[test]
fn what_is_too_old_is_forgotten_and_what_runs_is_not() {
    let state = tempfile::tempdir().unwrap();
    let running = JobWriter::begin(state.path(), &backup_of("web01"), noon()).unwrap();
    let mut old = JobWriter::begin(state.path(), &backup_of("web02"), noon()).unwrap();
    old.task("scanning", noon()).unwrap();
    old.finish(JobState::Completed, &[], noon()).unwrap();
    let now = later((KEPT_DAYS + 1) * 24 * 3600);
    let new = JobWriter::begin(state.path(), &backup_of("web01"), now).unwrap();
    let record = Record::open(state.path()).unwrap();
    let ids: Vec<i64> = record.jobs(&JobFilter::default()).unwrap().iter().map(|job| job.id).collect();
    assert_eq!(ids, [new.id(), running.id()]);
    let left: i64 = record.connection.query_row("SELECT COUNT(*) FROM task", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "parts of a forgotten job stayed");
}

#[test]
fn the_number_of_jobs_is_bounded() {
    let state = tempfile::tempdir().unwrap();
    JobWriter::begin(state.path(), &backup_of("web01"), noon()).unwrap().finish(JobState::Completed, &[], noon()).unwrap();
    let record = Record::open(state.path()).unwrap();
    let sql = "UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'job'";
    record.connection.execute(sql, [KEPT_JOBS]).unwrap();
    JobWriter::begin(state.path(), &backup_of("web01"), noon()).unwrap();
    assert_eq!(record.jobs(&JobFilter::default()).unwrap().len(), 1);
}

#[test]
fn many_processes_write_at_once() {
    let state = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = state.path();
            scope.spawn(move || {
                let mut writer = JobWriter::begin(path, &backup_of(&format!("m{number}")), noon()).unwrap();
                for step in 0..20 {
                    writer.task(&format!("step {step}"), noon()).unwrap();
                    writer.progress(&Progress { done_bytes: step, ..Progress::default() }).unwrap();
                }
                writer.finish(JobState::Completed, &[], noon()).unwrap();
            });
        }
    });
    let record = Record::open(state.path()).unwrap();
    let jobs = record.jobs(&JobFilter { state: Some(JobState::Completed), ..JobFilter::default() }).unwrap();
    assert_eq!(jobs.len(), 8);
    assert!(jobs.iter().all(|job| record.job(job.id).unwrap().tasks.len() == 20));
}

#[test]
fn only_what_runs_is_cancelled() {
    let state = tempfile::tempdir().unwrap();
    let writer = JobWriter::begin(state.path(), &backup_of("web01"), noon()).unwrap();
    let id = writer.id();
    let record = Record::open(state.path()).unwrap();
    writer.finish(JobState::Completed, &[], noon()).unwrap();
    let refused = record.cancel(id).unwrap_err().to_string();
    assert_eq!(refused, "job 1 cannot be cancelled: it is not running; its state is 'completed'");
    let gone = crashed(state.path(), "web01");
    assert!(record.cancel(gone).unwrap_err().to_string().contains("its state is 'failed'"));
}

#[test]
fn a_machine_is_protected_since_it_was_first_seen() {
    let state = tempfile::tempdir().unwrap();
    let record = Record::open(state.path()).unwrap();
    let machine = "web01".parse().unwrap();
    assert_eq!(record.known_since(&machine).unwrap(), None);
    assert_eq!(record.protected_since(&machine, noon()).unwrap(), noon());
    assert_eq!(record.protected_since(&machine, later(60)).unwrap(), noon());
    assert_eq!(record.known_since(&machine).unwrap(), Some(noon()));
}

#[test]
fn what_is_no_record_is_said_and_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let path = Record::path_below(state.path());
    std::fs::write(&path, [b'x'; 8192]).unwrap();
    let refused = Record::open(state.path()).unwrap_err().to_string();
    assert!(refused.contains("not a database") && refused.contains("move it away"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 8192]);
    std::fs::remove_file(&path).unwrap();
    Record::open(state.path()).unwrap().connection.pragma_update(None, "user_version", 7).unwrap();
    let refused = Record::open(state.path()).unwrap_err().to_string();
    assert!(refused.contains("its version is 7, expected 1"), "{refused}");
}
