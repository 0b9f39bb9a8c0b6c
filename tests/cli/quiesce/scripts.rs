//! Pre- and post-scripts.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Bench, CAIRN, mode};

fn problem(told: &Value) -> &str {
    told["quiesce"]["problems"][0].as_str().unwrap()
}

#[test]
fn scripts_that_succeed_make_a_point_application_consistent() {
    let bench = Bench::new();
    let keys = json!({ "preScriptParams": ["a b", ""], "postScriptParams": ["x"], "timeoutInSeconds": 60 });
    let file = bench.scripts("[[ -n $BASH_VERSION ]] && echo locked", "echo unlocked >&2; env", keys);
    let told = bench.told(0, &["--scripts", &file]);
    assert_eq!(bench.log(), "pre a b \npost x\n");
    assert_eq!(told["consistency"], "application");
    let scripts = &told["quiesce"]["scripts"];
    assert_eq!(
        (&scripts["pre"]["output"], &scripts["pre"]["succeeded"], &scripts["pre"]["tries"]),
        (&json!("locked"), &json!(true), &json!(1))
    );
    let post = scripts["post"]["output"].as_str().unwrap();
    assert!(post.contains("unlocked") && post.contains("CAIRN_VAULT") && !post.contains("CAIRN_PASSPHRASE"), "{post}");
    let shown = bench.place.json(&["show", "web01@latest"]);
    assert_eq!(shown["quiesce"], told["quiesce"]);
    assert!(bench.place.ok(&["show", "web01@latest"]).contains("succeeded after"));
    let applied = bench.place.json(&["points", "--consistency", "application"]);
    assert_eq!((applied.as_array().unwrap().len(), bench.place.json(&["points", "--consistency", "crash"])), (1, json!([])));
    assert_eq!(bench.notes(), 0);
}

#[test]
fn scripts_need_neither_a_first_line_nor_the_right_to_be_executed() {
    let bench = Bench::new();
    let file = bench.scripts("", "", json!({}));
    bench.script("pre", "echo \"pre by sh\" >> \"$(dirname \"$0\")/log\"");
    mode(bench.place.path("pre"), 0o600);
    mode(bench.place.path("post"), 0o600);
    assert_eq!(bench.told(0, &["--scripts", &file])["consistency"], "application");
    assert_eq!(bench.log(), "pre by sh\npost\n");
}

#[test]
fn a_script_that_fails_is_really_run_again() {
    let bench = Bench::new();
    let counting =
        format!("n=$(cat {0}/n); echo $((n+1)) > {0}/n; [ \"$n\" -ge 2 ] || {{ echo busy $n; exit 3; }}", bench.place.text_path(""));
    let keys = |retries: u32| json!({ "preScriptNoOfRetries": retries, "ScriptsExecutionPollTimeSeconds": 1, "timeoutInSeconds": 60 });
    for (retries, code, consistency) in [(1, 3, "crash"), (2, 0, "application")] {
        fs::write(bench.place.path("n"), "0").unwrap();
        let file = bench.scripts(&counting, "", keys(retries));
        let told = bench.told(code, &["--scripts", &file]);
        assert_eq!((told["consistency"].as_str(), &told["quiesce"]["scripts"]["pre"]["tries"]), (Some(consistency), &json!(retries + 1)));
        assert_eq!(bench.log(), format!("{}post\n", "pre\n".repeat(retries as usize + 1)));
        if code == 3 {
            let told = problem(&told);
            assert!(told.starts_with("PreScriptExecutionFailed (300)") && told.ends_with("ended with code 3; it said: busy 1"), "{told}");
        }
    }
}

/// Two descendants try to get away: one stays in the group, one leaves it and loses its parent.
#[test]
fn a_script_whose_time_is_over_is_killed_with_its_children() {
    let bench = Bench::new();
    let pids = bench.place.text_path("pids");
    let run = format!(
        "(sleep 1000 & echo $! >> {pids})\n(setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' &)\ntrap '' TERM HUP\nwhile :; do sleep 1; done"
    );
    let file = bench.scripts(&run, "", json!({ "timeoutInSeconds": 2, "preScriptNoOfRetries": 3 }));
    let told = bench.told(3, &["--scripts", &file]);
    assert!(problem(&told).starts_with("PreScriptTimeout (308)"), "{told}");
    // After its time a script is not run again.
    assert_eq!((told["consistency"].as_str(), bench.log()), (Some("crash"), "pre\npost\n".to_owned()));
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    for pid in pids.lines() {
        assert!(!Path::new("/proc").join(pid).exists(), "{pid} is still there");
    }
}

#[test]
fn what_a_script_leaves_running_is_its_own_affair() {
    let bench = Bench::new();
    let pid = bench.place.text_path("pid");
    let file = bench.scripts(
        &format!("sleep 1000 >/dev/null 2>&1 & echo $! > {pid}"),
        &format!("kill $(cat {pid})"),
        json!({ "timeoutInSeconds": 60 }),
    );
    assert_eq!(bench.told(0, &["--scripts", &file])["consistency"], "application");
}

#[test]
fn nothing_is_run_that_somebody_else_could_have_written() {
    let bench = Bench::new();
    let file = bench.scripts("", "", json!({}));
    let change = |name: &str, bits: u32| mode(bench.place.path(name), bits);
    let gone = |name: &str| fs::remove_file(bench.place.path(name)).unwrap();
    let cases: [(&dyn Fn(), &str); 7] = [
        (&|| change("scripts.json", 0o644), "InsufficientPermissionforConfigFile (317)"),
        (&|| change("scripts.json", 0o700), "InsufficientPermissionforConfigFile (317)"),
        (&|| fs::write(bench.place.path("scripts.json"), "{").unwrap(), "IncorrectJSONConfigFile (304)"),
        (&|| gone("scripts.json"), "ConfigFileNotFound (316)"),
        (&|| change("pre", 0o755), "InsufficientPermissionforPreScript (306)"),
        (&|| gone("pre"), "PreScriptNotFound (302)"),
        (&|| gone("post"), "PostScriptNotFound (303)"),
    ];
    for (spoil, expected) in cases {
        bench.scripts("", "", json!({}));
        spoil();
        let told = bench.told(3, &["--scripts", &file]);
        assert!(problem(&told).starts_with(expected), "{expected}: {told}");
        assert_eq!((told["consistency"].as_str(), bench.log().as_str()), (Some("crash"), ""), "{expected}");
    }
}

#[test]
fn a_backup_fails_where_its_file_says_so() {
    let bench = Bench::new();
    for (pre, post, keys, message, log) in [
        ("exit 1", "", json!({ "continueBackupOnFailure": false }), "PreScriptExecutionFailed (300)", "pre\npost\n"),
        ("", "exit 2", json!({ "continueBackupOnFailure": false }), "PostScriptExecutionFailed (301)", "pre\npost\n"),
        ("exit 1", "", json!({ "fsFreezeEnabled": false }), "PreScriptExecutionFailed (300)", "pre\npost\n"),
        ("", "kill -TERM $$", json!({ "fsFreezeEnabled": false }), "was ended by signal 15", "pre\npost\n"),
        ("", "", json!({ "fsFreezeEnabled": false, "postScriptLocation": "/no/such" }), "PostScriptNotFound (303)", ""),
    ] {
        bench.fails(message, &["--scripts", &bench.scripts(pre, post, keys)]);
        assert_eq!(bench.log(), log, "{message}");
    }
    let told = bench.told(3, &["--scripts", &bench.scripts("", "exit 2", json!({}))]);
    assert!(problem(&told).starts_with("PostScriptExecutionFailed (301)"), "{told}");
    assert_eq!(told["consistency"], "crash");
    bench.log();
    let ended = bench.backup(&["--scripts", &bench.scripts("", "", json!({})), "--consistency", "crash"]);
    assert!(ended.code == Some(2) && ended.errors.contains("cannot be used with"), "{}", ended.errors);
    assert_eq!(
        (bench.told(0, &["--dry-run", "--scripts", &bench.place.text_path("scripts.json")])["quiesce"].clone(), bench.log()),
        (Value::Null, String::new())
    );
}

#[test]
fn ctrl_c_ends_the_pre_script_and_still_runs_the_post_script() {
    let bench = Bench::new();
    let file = bench.scripts(&format!("{CAIRN}; kill -INT $CAIRN; sleep 1000"), "", json!({ "timeoutInSeconds": 600 }));
    let ended = bench.backup(&["--scripts", &file]);
    assert_eq!(ended.code, Some(130), "{}", ended.errors);
    assert_eq!((bench.log().as_str(), bench.points(), bench.notes()), ("pre\npost\n", 0, 0));
}

#[test]
fn a_post_script_that_a_kill_left_out_is_run_by_the_next_backup() {
    let bench = Bench::new();
    let pid = bench.place.text_path("pid");
    let file = bench.scripts(&format!("{CAIRN}; echo $$ > {pid}; kill -KILL $CAIRN; sleep 1000"), "", json!({ "timeoutInSeconds": 600 }));
    assert_eq!(bench.backup(&["--scripts", &file]).code, None);
    assert_eq!((bench.log().as_str(), bench.notes()), ("pre\n", 1));
    // Its supervisor kills a script that nobody waits for any more.
    let pid = fs::read_to_string(pid).unwrap();
    while Path::new("/proc").join(pid.trim()).exists() {
        std::thread::yield_now();
    }
    let ended = bench.backup(&[]);
    assert!(ended.code == Some(3) && ended.errors.contains("was killed before the post-script, which is run now"), "{}", ended.errors);
    assert_eq!((bench.log().as_str(), bench.notes()), ("post\n", 0));
    assert_eq!(bench.backup(&[]).code, Some(0));
}
