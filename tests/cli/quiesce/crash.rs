//! Cairn is killed and stopped around a freeze: nothing is left frozen, and what is left over is removed by the next backup.

use std::process::Command;

use serde_json::json;

use super::freeze::{Frozen, has_strace};

/// Killed while all is frozen: the guard thaws long before its deadline, and the next backup removes the snapshot.
fn killed_while_frozen(kind: &str) {
    let Some(frozen) = Frozen::make(kind) else { return };
    let bench = &frozen.bench;
    let snapshot = frozen.snapshot("kill -KILL $CAIRN; sleep 1000");
    assert_eq!(bench.backup(&frozen.arguments(&snapshot, &["--freeze-timeout", "600"])).code, None);
    frozen.check_thawed();
    assert_eq!(bench.notes(), 1);
    // Where the command's output never came, the path is not known, and that is said.
    let ended = bench.backup(&[]);
    assert!(ended.code == Some(3) && ended.errors.contains("must be removed by hand"), "{}", ended.errors);
    assert_eq!(bench.notes(), 0);
}

#[test]
fn a_kill_while_ext4_is_frozen() {
    killed_while_frozen("ext4");
}

#[test]
fn a_kill_while_xfs_is_frozen() {
    killed_while_frozen("xfs");
}

/// Stopped while all is frozen: the guard thaws at its deadline, while Cairn still stands still. When it goes on, it does not claim what did
/// not hold.
fn stopped_while_frozen(kind: &str) {
    let Some(frozen) = Frozen::make(kind) else { return };
    let go_on = format!("(setsid sh -c \"echo thawed > {}/x; kill -CONT $CAIRN\" >/dev/null 2>&1 &)\nkill -STOP $CAIRN", frozen.mount);
    let snapshot = frozen.snapshot(&go_on);
    let told = frozen.bench.told(3, &frozen.arguments(&snapshot, &["--freeze-timeout", "1"]));
    assert_eq!((told["consistency"].as_str(), &told["quiesce"]["freeze"]["held"]), (Some("crash"), &json!(false)));
    assert!(told["quiesce"]["problems"][0].as_str().unwrap().starts_with("FreezeTimeout (122)"), "{told}");
    frozen.check_thawed();
    frozen.check_snapshot_is_gone();
}

#[test]
fn a_stop_while_ext4_is_frozen() {
    stopped_while_frozen("ext4");
}

#[test]
fn a_stop_while_xfs_is_frozen() {
    stopped_while_frozen("xfs");
}

/// A command that is too slow loses the label, and with `continueBackupOnFailure` false the backup.
#[test]
fn a_snapshot_that_is_too_slow_earns_nothing() {
    let Some(frozen) = Frozen::make("ext4") else { return };
    let bench = &frozen.bench;
    let wait = format!("echo thawed > {}/x", frozen.mount);
    let snapshot = frozen.snapshot(&wait);
    let told = bench.told(3, &frozen.arguments(&snapshot, &["--freeze-timeout", "1"]));
    assert_eq!(told["consistency"], "crash");
    let file = bench.scripts("", "", json!({ "continueBackupOnFailure": false, "timeoutInSeconds": 60 }));
    frozen.snapshot(&wait);
    bench.fails("FreezeTimeout (122)", &frozen.arguments(&snapshot, &["--freeze-timeout", "1", "--scripts", &file]));
    assert_eq!(bench.log(), "pre\npost\n");
    frozen.check_thawed();
    frozen.check_snapshot_is_gone();
}

/// A kill at each word that Cairn writes: before the guard is told to freeze, after, before it is told to thaw, after, and everywhere else.
#[test]
fn a_kill_at_any_write_leaves_nothing_frozen() {
    let Some(frozen) = Frozen::make("ext4") else { return };
    if !has_strace() {
        return;
    }
    let bench = &frozen.bench;
    let snapshot = frozen.snapshot("");
    for number in 1.. {
        frozen.snapshot("");
        let mut command = Command::new("strace");
        let inject = format!("inject=write:signal=SIGKILL:when={number}");
        command.args(["-qq", "-o", "/dev/null", "-e", "trace=write", "-e", &inject]).arg(assert_cmd::cargo::cargo_bin("cairn"));
        command.args(bench.arguments(&frozen.arguments(&snapshot, &["--freeze-timeout", "600"])));
        let ended = bench.place.environment(&mut command).env("PATH", "/usr/bin:/bin").output().unwrap();
        frozen.check_thawed();
        if ended.status.code().is_some_and(|code| code == 0 || code == 3) {
            assert!(number > 6, "only {number} writes were seen");
            break;
        }
    }
    let ended = bench.backup(&[]);
    assert!(matches!(ended.code, Some(0 | 3)), "{}", ended.errors);
    assert_eq!(bench.notes(), 0);
}
