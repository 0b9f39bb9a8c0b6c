//! A scheduler with programs of a line each, on a record of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use crossbeam_channel::{Sender, unbounded};
use jiff::tz::TimeZone;
use tempfile::TempDir;

use super::*;
use crate::host::record::{JobWriter, NewJob};
use crate::monitor::Silent;
use crate::policy::Schedule;

/// A state directory, and a file that the programs write to.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits until the programs have written this. The test's own limit ends one that never do.
    fn wait_for(&self, text: &str) {
        while !self.log().contains(text) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `sh` with this script: `$1` is the kind of the job, `$2` its machine.
    fn script(&self, script: &str) -> Program {
        let enter = format!("cd '{}'; {script}", self.directory.path().display());
        let globals = ["-c", &enter, "sh"].iter().map(Into::into).collect();
        Program { vault: "/v".into(), path: "/bin/sh".into(), globals, environment: Vec::new(), commands: Vec::new() }
    }

    /// Runs a scheduler for these machines, which are all due, while `meanwhile` lasts.
    fn schedule(&self, script: &str, most_jobs: usize, machines: &[&str], meanwhile: impl FnOnce(&Sender<Event>)) {
        let items: Vec<Item> = machines.iter().map(|machine| self.due(machine)).collect();
        let (events, receiver) = unbounded();
        let (ready, is_ready) = mpsc::channel();
        std::thread::scope(|scope| {
            let run = scope.spawn(move || {
                let plan = Box::new(|| {
                    let _ = ready.send(());
                    Ok(items.clone())
                });
                let program = self.script(script);
                let mut scheduler = Scheduler::new(&self.state(), program, most_jobs, plan, Box::new(|_| {}), &Silent).unwrap();
                scheduler.run(&receiver).unwrap();
            });
            is_ready.recv().unwrap();
            meanwhile(&events);
            events.send(Event::Stop).unwrap();
            run.join().unwrap();
        });
    }

    /// A machine that has been protected for long and never backed up.
    fn due(&self, machine: &str) -> Item {
        let machine: MachineName = machine.parse().unwrap();
        let record = Record::open(&self.state()).unwrap();
        record.protected_since(&machine, "2020-01-01T00:00:00Z".parse().unwrap()).unwrap();
        let timetable = "weekly sun 00:00".parse::<Schedule>().unwrap().timetable(&TimeZone::UTC);
        Item { work: Work { kind: JobKind::Backup, machine: Some(machine) }, timetable, last_point: None }
    }
}

/// Gives the scheduler this many occasions to do something wrong.
fn nudge(events: &Sender<Event>, times: usize) {
    for _ in 0..times {
        events.send(Event::Reload).unwrap();
        while !events.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn what_is_due_is_done_once_even_where_the_job_leaves_no_record() {
    let place = Place::new();
    place.schedule("echo $1 $2 >> log", 2, &["web01", "db01"], |events| {
        place.wait_for("web01");
        place.wait_for("db01");
        nudge(events, 20);
    });
    let mut lines: Vec<String> = place.log().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["backup db01", "backup web01"]);
}

#[test]
fn a_job_that_fails_is_not_tried_in_a_loop() {
    let place = Place::new();
    place.schedule("echo $2 >> log; exit 1", 1, &["web01"], |events| {
        place.wait_for("web01");
        nudge(events, 20);
    });
    assert_eq!(place.log(), "web01\n");
}

#[test]
fn a_program_that_is_missing_is_not_tried_in_a_loop() {
    let place = Place::new();
    let problems = AtomicUsize::new(0);
    struct Counts<'a>(&'a AtomicUsize);
    impl Monitor for Counts<'_> {
        fn count(&self, _: crate::monitor::Counter, _: u64) {}
        fn step(&self, _: &str) {}
        fn problem(&self, _: Problem) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn cancelled(&self) -> bool {
            false
        }
    }
    let item = place.due("web01");
    let (events, receiver) = unbounded();
    let missing =
        Program { vault: "/v".into(), path: "/nonexistent".into(), globals: Vec::new(), environment: Vec::new(), commands: Vec::new() };
    let counts = Counts(&problems);
    let plan = Box::new(|| Ok(vec![item.clone()]));
    let mut scheduler = Scheduler::new(&place.state(), missing, 1, plan, Box::new(|_| {}), &counts).unwrap();
    for _ in 0..10 {
        events.send(Event::Reload).unwrap();
    }
    events.send(Event::Stop).unwrap();
    scheduler.run(&receiver).unwrap();
    assert_eq!(problems.load(Ordering::Relaxed), 1);
}

#[test]
fn no_more_jobs_run_at_once_than_are_allowed() {
    let place = Place::new();
    let script = "mkdir only || echo overlap >> log; sleep 0.1; rmdir only; echo $2 >> log";
    place.schedule(script, 1, &["a", "b", "c"], |_| ["a", "b", "c"].iter().for_each(|name| place.wait_for(&format!("{name}\n"))));
    assert_eq!(place.log(), "a\nb\nc\n");
}

#[test]
fn a_scheduler_that_is_stopped_ends_its_jobs_cleanly() {
    let place = Place::new();
    let script = "trap 'echo ended >> log; exit 130' TERM; echo begun >> log; while :; do sleep 0.05; done";
    place.schedule(script, 1, &["web01"], |_| place.wait_for("begun"));
    assert_eq!(place.log(), "begun\nended\n");
}

#[test]
fn a_machine_that_somebody_else_backs_up_is_left_alone() {
    let place = Place::new();
    let held = FileLock::take(&machine_lock(&place.state(), &"web01".parse().unwrap()), "a backup of web01").unwrap();
    place.schedule("echo $2 >> log", 2, &["web01", "db01"], |events| {
        place.wait_for("db01");
        nudge(events, 20);
    });
    assert_eq!(place.log(), "db01\n");
    drop(held);
    place.schedule("echo $2 >> log", 2, &["web01"], |_| place.wait_for("web01"));
}

#[test]
fn there_is_one_scheduler_of_a_state_directory() {
    let place = Place::new();
    let new = || Scheduler::new(&place.state(), place.script(""), 1, Box::new(|| Ok(Vec::new())), Box::new(|_| {}), &Silent);
    let first = new().map_err(drop).unwrap();
    let Err(refused) = new() else { panic!("there are two schedulers") };
    assert!(refused.to_string().contains(&format!("running already (process {})", std::process::id())), "{refused}");
    drop(first);
    assert!(new().is_ok());
}

#[test]
fn jobs_that_an_earlier_scheduler_left_behind_are_told_once() {
    let place = Place::new();
    let job = NewJob { kind: JobKind::Backup, machine: Some("web01".parse().unwrap()), vault: "/v".into(), scheduled: true };
    JobWriter::begin(&place.state(), &job, Timestamp::now()).unwrap();
    // The entry is this process's; it becomes that of one that is gone.
    let database = rusqlite::Connection::open(Record::path_below(&place.state())).unwrap();
    database.execute("UPDATE job SET start_ticks = start_ticks + 1", []).unwrap();
    for expected in [1, 0] {
        let told = std::cell::RefCell::new(Vec::new());
        let vanished = Box::new(|job: &Job| told.borrow_mut().push((job.id, job.state)));
        let (events, receiver) = unbounded();
        events.send(Event::Stop).unwrap();
        Scheduler::new(&place.state(), place.script(""), 1, Box::new(|| Ok(Vec::new())), vanished, &Silent)
            .unwrap()
            .run(&receiver)
            .unwrap();
        assert_eq!(told.into_inner().len(), expected);
    }
}

#[test]
fn a_plan_that_fails_later_leaves_the_old_one_in_force() {
    let place = Place::new();
    let item = place.due("web01");
    let mut calls = 0;
    let plan = Box::new(|| {
        calls += 1;
        if calls == 1 { Ok(vec![item.clone()]) } else { Err("the vault is away".to_owned()) }
    });
    let (events, receiver) = unbounded();
    events.send(Event::Reload).unwrap();
    let mut scheduler = Scheduler::new(&place.state(), place.script("echo $2 >> log"), 1, plan, Box::new(|_| {}), &Silent).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            place.wait_for("web01");
            events.send(Event::Stop).unwrap();
        });
        scheduler.run(&receiver).unwrap();
    });
    drop(scheduler);
    let refuses = Box::new(|| Err("the vault is away".to_owned()));
    let refused = Scheduler::new(&place.state(), place.script(""), 1, refuses, Box::new(|_| {}), &Silent).unwrap().run(&receiver);
    assert!(refused.unwrap_err().to_string().contains("the vault is away"));
}
