//! Freezes of real filesystems on loop devices, under a writer.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Bench, CAIRN};
use crate::mounted::Mounted;

/// A filesystem whose image is the disk to back up, and a snapshot command that copies it.
pub(super) struct Frozen {
    pub(super) bench: Bench,
    pub(super) mounted: Mounted,
    pub(super) mount: String,
}

/// MiB of a filesystem; XFS takes no less.
const MIB: u64 = 300;

impl Frozen {
    pub(super) fn make(kind: &str) -> Option<Self> {
        let mounted = Mounted::make(kind, MIB)?;
        let mut bench = Bench::new();
        bench.disk = format!("vda=raw:{}", image(&mounted).display());
        let mount = mounted.text_path("").trim_end_matches('/').to_owned();
        fs::write(mounted.path("before"), "before").unwrap();
        Some(Self { bench, mounted, mount })
    }

    /// A snapshot command that does something more while all is frozen, and the one that removes what it made.
    pub(super) fn snapshot(&self, more: &str) -> [String; 2] {
        let snapshot = self.bench.place.text_path("snapshot.img");
        let text = format!("#!/bin/bash\n{CAIRN}\ncp --sparse=always --reflink=never \"$1\" {snapshot}\n{more}\necho {snapshot}\n");
        let remove = format!("rm -f {{snapshot}} {}", self.bench.place.text_path("removed"));
        fs::write(self.bench.place.path("removed"), "").unwrap();
        [format!("{} {{path}}", self.bench.script("snap", &text)), remove]
    }

    /// Arguments of a backup with this snapshot.
    pub(super) fn arguments<'a>(&'a self, [take, remove]: &'a [String; 2], more: &[&'a str]) -> Vec<&'a str> {
        [&["--freeze", &self.mount, "--snapshot-command", take, "--snapshot-remove", remove], more].concat()
    }

    /// Whether the filesystem is frozen. Where it is, it is not any more: this is the end of a test.
    fn is_frozen(&self) -> bool {
        Command::new("fsfreeze").args(["-u", &self.mount]).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Waits until no guard watches over the filesystem any more, and checks that it is not frozen.
    #[track_caller]
    pub(super) fn check_thawed(&self) {
        while !guards(&self.mount).is_empty() {
            std::thread::yield_now();
        }
        assert!(!self.is_frozen(), "left frozen");
        fs::write(self.mounted.path("after"), "after").unwrap();
    }

    pub(super) fn check_snapshot_is_gone(&self) {
        let left = |name: &str| self.bench.place.path(name).exists();
        assert_eq!((left("snapshot.img"), left("removed"), self.bench.notes()), (false, false, 0));
    }
}

fn image(mounted: &Mounted) -> PathBuf {
    mounted.path("").parent().unwrap().join("image")
}

/// The processes that watch over a freeze of this mount point.
fn guards(mount: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let watches = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|&byte| byte == 0).collect();
        words.get(1..3) == Some(&[b"quiesce-helper", b"freeze"]) && words.contains(&mount.as_bytes())
    };
    pids.filter(watches).collect()
}

/// Whether system calls can be traced; said loudly where not.
pub(super) fn has_strace() -> bool {
    let has = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok();
    #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
    if !has {
        eprintln!("SKIPPED: there is no strace here");
    }
    has
}

/// Writes to the filesystem all the time until it is dropped.
struct Writer(Child);

impl Writer {
    fn start(mount: &str) -> Self {
        let text = "i=0; while :; do i=$((i+1)); echo $i > file$((i % 50)); done";
        Self(Command::new("sh").args(["-c", text]).current_dir(mount).spawn().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn held(told: &Value) -> (Option<&str>, &Value) {
    (told["consistency"].as_str(), &told["quiesce"]["freeze"]["held"])
}

/// The snapshot of a filesystem that was written to all the time is clean, and the point tells how long it was frozen.
fn a_frozen_filesystem_is_clean(kind: &str) {
    let Some(frozen) = Frozen::make(kind) else { return };
    let writer = Writer::start(&frozen.mount);
    let snapshot = frozen.snapshot("");
    let told = frozen.bench.told(0, &frozen.arguments(&snapshot, &[]));
    drop(writer);
    assert_eq!(held(&told), (Some("filesystem"), &json!(true)), "{told}");
    assert!(told["quiesce"]["freeze"]["frozen_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!((&told["quiesce"]["freeze"]["mounts"], &told["quiesce"]["snapshot"]), (&json!([frozen.mount]), &json!("command")));
    assert!(frozen.bench.place.ok(&["show", "web01@latest"]).contains("until the snapshot was complete"));
    frozen.check_thawed();
    frozen.check_snapshot_is_gone();
    if kind == "ext4" {
        let restored = frozen.bench.place.text_path("restored.img");
        frozen.bench.place.ok(&["restore", "web01@latest", "--disk", "vda", "--to", &restored]);
        let features = Command::new("dumpe2fs").args(["-h", &restored]).output().unwrap();
        assert!(!String::from_utf8_lossy(&features.stdout).contains("needs_recovery"));
        assert!(Command::new("e2fsck").args(["-fn", &restored]).output().unwrap().status.success());
    }
}

#[test]
fn a_frozen_ext4_is_clean() {
    a_frozen_filesystem_is_clean("ext4");
}

#[test]
fn a_frozen_xfs_is_clean() {
    a_frozen_filesystem_is_clean("xfs");
}

#[test]
fn scripts_stand_around_the_freeze() {
    let Some(frozen) = Frozen::make("ext4") else { return };
    let bench = &frozen.bench;
    let snapshot = frozen.snapshot(&format!("echo snapshot >> {}", bench.place.text_path("log")));
    // The post-script comes after the thaw: it writes to the filesystem.
    let post = format!("echo x > {}/by-post", frozen.mount);
    for (pre, keys, code, consistency, is_held) in [
        ("", json!({ "timeoutInSeconds": 60 }), 0, "application", json!(true)),
        ("exit 1", json!({ "timeoutInSeconds": 60 }), 3, "filesystem", json!(true)),
        ("", json!({ "fsFreezeEnabled": false, "timeoutInSeconds": 60 }), 3, "application", Value::Null),
    ] {
        frozen.snapshot(&format!("echo snapshot >> {}", bench.place.text_path("log")));
        let file = bench.scripts(pre, &post, keys);
        let told = bench.told(code, &frozen.arguments(&snapshot, &["--scripts", &file]));
        assert_eq!((told["consistency"].as_str(), &told["quiesce"]["freeze"]["held"]), (Some(consistency), &is_held), "{told}");
        assert_eq!(bench.log(), "pre\nsnapshot\npost\n");
    }
    frozen.check_thawed();
}

#[test]
fn what_cairn_would_wait_for_is_refused_before_anything_is_run() {
    let Some(frozen) = Frozen::make("ext4") else { return };
    let bench = &frozen.bench;
    let snapshot = frozen.snapshot("");
    let file = bench.scripts("", "", json!({}));
    let refused =
        |message: &str, more: &[&str]| bench.fails(message, &[more, &frozen.arguments(&snapshot, &["--scripts", &file])].concat());
    refused("are one filesystem", &["--freeze", &frozen.mount]);
    fs::create_dir(frozen.mounted.path("inside")).unwrap();
    refused("is no mount point", &["--freeze", frozen.mounted.path("inside").to_str().unwrap()]);
    refused("cannot be frozen: the vault", &["--freeze", "/"]);
    assert_eq!(bench.log(), "");
    // Another program than Cairn, of which this is the output.
    let output = fs::File::create(frozen.mounted.path("output")).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("cairn"));
    command.args(bench.arguments(&frozen.arguments(&snapshot, &[])));
    let ended = bench.place.environment(&mut command).stdout(output).output().unwrap();
    assert!(String::from_utf8_lossy(&ended.stderr).contains("cannot be frozen: Cairn's output"), "{ended:?}");
    frozen.check_thawed();
}

#[test]
fn a_filesystem_that_cannot_be_frozen_costs_the_label() {
    let (Some(frozen), Some(memory)) = (Frozen::make("ext4"), Mounted::in_memory(8)) else { return };
    let bench = &frozen.bench;
    let other = memory.text_path("").trim_end_matches('/').to_owned();
    let snapshot = frozen.snapshot("");
    let told = bench.told(3, &frozen.arguments(&snapshot, &["--freeze", &other]));
    assert_eq!(held(&told), (Some("crash"), &json!(false)), "{told}");
    assert!(told["quiesce"]["problems"][0].as_str().unwrap().contains("filesystems of its kind cannot be"), "{told}");
    frozen.check_thawed();

    let file = bench.scripts("", "", json!({ "continueBackupOnFailure": false, "timeoutInSeconds": 60 }));
    frozen.snapshot("");
    bench.fails("FreezeFailed (121)", &frozen.arguments(&snapshot, &["--freeze", &other, "--scripts", &file]));
    assert_eq!(bench.log(), "pre\npost\n");
    frozen.check_thawed();

    // Another program's freeze is left to it.
    assert!(Command::new("fsfreeze").args(["-f", &frozen.mount]).status().unwrap().success());
    let told = bench.told(3, &frozen.arguments(&snapshot, &[]));
    assert!(frozen.is_frozen(), "the freeze of another program was ended");
    assert!(told["quiesce"]["problems"][0].as_str().unwrap().contains("it is frozen already"), "{told}");
}

#[test]
fn a_freeze_that_another_program_ends_earns_nothing() {
    let Some(frozen) = Frozen::make("ext4") else { return };
    let snapshot = frozen.snapshot(&format!("fsfreeze -u {}", frozen.mount));
    let told = frozen.bench.told(3, &frozen.arguments(&snapshot, &[]));
    assert_eq!(held(&told), (Some("crash"), &json!(false)));
    assert!(told["quiesce"]["problems"][0].as_str().unwrap().contains("another program thawed"), "{told}");
}

/// The guard is stronger than everything but a kill; then Cairn thaws.
#[test]
fn a_guard_that_is_killed_leaves_nothing_frozen() {
    let Some(frozen) = Frozen::make("xfs") else { return };
    let find = format!(
        "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q 'quiesce-helper freeze.* {}' && kill SIGNAL ${{p#/proc/}}; done",
        frozen.mount
    );
    let snapshot = frozen.snapshot(&find.replace("SIGNAL", "-TERM"));
    assert_eq!(held(&frozen.bench.told(0, &frozen.arguments(&snapshot, &[]))), (Some("filesystem"), &json!(true)));
    frozen.snapshot(&find.replace("SIGNAL", "-KILL"));
    let told = frozen.bench.told(3, &frozen.arguments(&snapshot, &[]));
    assert_eq!(held(&told), (Some("crash"), &json!(false)));
    assert!(told["quiesce"]["problems"][0].as_str().unwrap().contains("was killed"), "{told}");
    frozen.check_thawed();
}

/// The guard's memory is locked, and it comes last when memory is short.
#[test]
fn a_guard_needs_no_memory_and_is_not_killed_for_it() {
    let Some(frozen) = Frozen::make("ext4") else { return };
    let seen = frozen.bench.place.text_path("seen");
    let look = format!(
        "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q 'quiesce-helper freeze.* {}' && grep -h '' $p/oom_score_adj $p/status > {seen}; done",
        frozen.mount
    );
    let snapshot = frozen.snapshot(&look);
    frozen.bench.told(0, &frozen.arguments(&snapshot, &[]));
    let seen = fs::read_to_string(seen).unwrap();
    let field = |name: &str| seen.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    // Where root lacks CAP_SYS_RESOURCE, as in a container, it cannot say that.
    let capabilities = u64::from_str_radix(&field("CapEff:"), 16).unwrap();
    assert!(seen.starts_with("-1000\n") || capabilities & 1 << 24 == 0, "{seen}");
    assert_ne!(field("VmLck:"), "0 kB");
    assert_eq!(field("Threads:"), "1");
}

/// From the first freeze to the last thaw the guard does nothing but wait, freeze, thaw and answer.
#[test]
fn a_guard_writes_nothing_while_it_freezes() {
    let Some(frozen) = Frozen::make("ext4") else { return };
    if !has_strace() {
        return;
    }
    let snapshot = frozen.snapshot("");
    let trace = frozen.bench.place.text_path("trace");
    let mut command = Command::new("strace");
    command.args(["-ff", "-qq", "-o", &trace]).arg(assert_cmd::cargo::cargo_bin("cairn"));
    command.args(frozen.bench.arguments(&frozen.arguments(&snapshot, &[])));
    let environment = frozen.bench.place.environment(&mut command).env("PATH", "/usr/bin:/bin");
    assert!(environment.output().unwrap().status.success());
    let traces = fs::read_dir(frozen.bench.place.path("")).unwrap().map(|entry| entry.unwrap().path());
    let traces = traces.filter(|path| path.to_str().unwrap().starts_with(&trace)).map(|path| fs::read_to_string(path).unwrap());
    let guard = traces.into_iter().find(|trace| trace.contains("FIFREEZE")).unwrap();
    let lines: Vec<&str> =
        guard.lines().skip_while(|line| !line.contains("FIFREEZE")).take_while(|line| !line.contains("exit_group")).collect();
    assert!(lines.iter().any(|line| line.contains("FITHAW")), "{lines:?}");
    let until_thaw = lines.iter().take_while(|line| !line.contains("FITHAW"));
    let strange: Vec<_> =
        until_thaw.filter(|line| !["ioctl(", "poll(", "ppoll(", "read(0", "write(1"].iter().any(|call| line.starts_with(call))).collect();
    assert_eq!(strange, [&""; 0]);
}
