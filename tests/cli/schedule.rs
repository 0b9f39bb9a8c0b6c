//! `cairn run`: what it starts, how it ends, and what it survives.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::Duration;

use cairn::host::Record;
use serde_json::{Value, json};

use crate::place::{CHUNK, Ended, Place, noise};

/// A vault and a machine whose last run lies behind it, with an image of so many chunks.
fn place(machine: &str, chunks: usize) -> Place {
    let place = Place::with_vault();
    add(&place, machine, chunks);
    place
}

/// Defines a machine that is due: it has been protected since long ago, and was never backed up.
fn add(place: &Place, machine: &str, chunks: usize) {
    let disk = format!("vda={}", place.image(&format!("{machine}.img"), &noise(1, chunks * CHUNK)));
    place.ok(&["machine", "add", machine, "--disk", &disk, "--schedule", "weekly sun 00:00"]);
    let record = Record::open(&place.path("CAIRN_STATE_DIR")).unwrap();
    record.protected_since(&machine.parse().unwrap(), "2020-01-01T00:00:00Z".parse().unwrap()).unwrap();
}

/// Starts a scheduler and waits until it is ready; gives it and what it says to systemd.
fn start(place: &Place) -> (Child, mpsc::Receiver<String>) {
    let path = place.path("notify");
    // That of an earlier scheduler.
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    let (sender, heard) = mpsc::channel();
    // Somebody must listen all the time, or the socket is full before long.
    std::thread::spawn(move || {
        let mut buffer = [0; 200];
        while let Ok(length) = socket.recv(&mut buffer) {
            let _ = sender.send(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
    });
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("cairn"));
    let child = place.environment(&mut command).env("NOTIFY_SOCKET", &path).arg("run").spawn().unwrap();
    assert_eq!(heard.recv().unwrap(), "READY=1");
    (child, heard)
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits until the first job of a list is as wanted. The test's own limit ends what never comes.
fn wait_for(place: &Place, list: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let jobs = place.json(&[&["jobs"], list].concat());
        if let Some(job) = jobs.as_array().unwrap().first().filter(|job| wanted(job)) {
            return job.clone();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_completed(job: &Value) -> bool {
    job["state"] == "completed"
}

#[track_caller]
fn end(child: Child) -> String {
    signal(&child, "-TERM");
    let ended = Ended::of(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    ended.errors
}

#[test]
fn what_is_due_is_backed_up_once_and_systemd_hears_of_it() {
    let place = place("web01", 2);
    let (run, heard) = start(&place);
    let job = wait_for(&place, &[], is_completed);
    assert_eq!((&job["scheduled"], &job["machine"]), (&json!(true), &json!("web01")));
    // A machine that comes later is seen after a signal.
    add(&place, "db01", 2);
    signal(&run, "-HUP");
    wait_for(&place, &["--machine", "db01"], is_completed);
    end(run);
    let heard: Vec<String> = heard.iter().take_while(|word| word != "STOPPING=1").collect();
    assert!(heard.iter().any(|word| word.starts_with("RELOADING=1\nMONOTONIC_USEC=")), "{heard:?}");
    assert_eq!(place.json(&["jobs"]).as_array().unwrap().len(), 2);
    assert_eq!(place.json(&["points", "--all"]).as_array().unwrap().len(), 2);
    // A later scheduler knows that nothing is due.
    let (run, _heard) = start(&place);
    signal(&run, "-HUP");
    end(run);
    assert_eq!(place.json(&["jobs"]).as_array().unwrap().len(), 2);
}

#[test]
fn a_scheduler_that_ends_cancels_its_jobs_cleanly() {
    let place = place("web01", 128);
    place.ok(&["machine", "edit", "web01", "--compression", "19"]);
    let (run, _heard) = start(&place);
    wait_for(&place, &[], |job| job["state"] == "in_progress");
    end(run);
    let job = wait_for(&place, &[], |_| true);
    // Nobody asked for this one's end: it is due again.
    assert_eq!((&job["state"], &job["cancel_requested"]), (&json!("cancelled"), &json!(false)));
    let left = Command::new("find").arg(place.vault()).args(["-name", ".tmp-*", "-o", "-path", "*/leases/*/*"]).output().unwrap();
    assert_eq!(String::from_utf8(left.stdout).unwrap(), "");
}

#[test]
fn a_scheduler_that_is_killed_leaves_its_job_alone_and_the_next_one_does_not_double_it() {
    let place = place("web01", 128);
    place.ok(&["machine", "edit", "web01", "--compression", "19"]);
    let (mut first, _) = start(&place);
    let job = wait_for(&place, &[], |job| job["state"] == "in_progress");
    first.kill().unwrap();
    first.wait().unwrap();
    let told = place.text_path("told");
    let settings = format!("[[hook]]\non = [\"failure\"]\ncommand = [\"/usr/bin/tee\", \"{told}\"]\n");
    fs::write(place.path("CAIRN_CONFIG_DIR").join("host.toml"), settings).unwrap();
    let (second, _heard) = start(&place);
    signal(&second, "-HUP");
    // The job goes on; now it is killed as well, which the second scheduler finds out.
    let killed = Command::new("kill").args(["-KILL", &job["process"].to_string()]).status().unwrap();
    assert!(killed.success(), "the job ended with its scheduler");
    while !place.path("told").exists() || fs::read(place.path("told")).unwrap().is_empty() {
        signal(&second, "-HUP");
        std::thread::sleep(Duration::from_millis(50));
    }
    end(second);
    let jobs = place.json(&["jobs"]);
    let states: Vec<&Value> = jobs.as_array().unwrap().iter().map(|job| &job["state"]).collect();
    assert_eq!(states, [&json!("failed")], "a job was doubled, or tried again without a pause");
    assert!(jobs[0]["last_message"].as_str().unwrap().contains("ended without a word"), "{jobs}");
    let document: Value = serde_json::from_slice(&fs::read(place.path("told")).unwrap()).unwrap();
    assert_eq!(document["job"]["id"], job["id"]);
}

#[test]
fn there_is_one_scheduler_on_a_host() {
    let place = place("web01", 2);
    let (first, _heard) = start(&place);
    wait_for(&place, &[], is_completed);
    place.in_vault("", &["run"]).failed(1, &format!("a scheduler of this host is running already (process {})", first.id()));
    end(first);
}

#[test]
fn a_scheduler_asks_nobody_for_a_passphrase() {
    let place = Place::new();
    place.with_key_file();
    place.run(&[("CAIRN_VAULT", &place.vault())], &["run"]).failed(2, "the jobs of a scheduler have nobody to ask");
}

#[test]
fn settings_that_cannot_be_meant_keep_it_from_starting() {
    let place = place("web01", 2);
    fs::write(place.path("CAIRN_CONFIG_DIR").join("host.toml"), "[[hook]]\non = []\n").unwrap();
    place.in_vault("", &["run"]).failed(1, "a hook names nothing to tell of");
    assert_eq!(place.json(&["jobs"]), json!([]));
}

#[test]
fn a_unit_for_systemd_passes_its_own_check() {
    let place = Place::with_vault();
    let unit = place.ok(&["systemd-unit", "--jobs", "2"]);
    assert!(unit.contains("run --jobs 2\n") && unit.contains("Type=notify\n"), "{unit}");
    fs::write(place.path("cairn.service"), &unit).unwrap();
    let Ok(checked) = Command::new("systemd-analyze").args(["verify", "--man=no", &place.text_path("cairn.service")]).output() else {
        return;
    };
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(!said.contains("cairn.service:"), "{said}");
}
