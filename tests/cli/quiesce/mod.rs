//! Bringing a machine to rest for its backup: real scripts, real freezes, real crashes. Freezes need root and loop devices; where they
//! cannot be had, that is said loudly.

mod crash;
mod freeze;
mod scripts;
mod snapshots;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::place::{Ended, Place};

/// A place with a vault, a disk, and scripts that write what they do into a log.
struct Bench {
    place: Place,
    disk: String,
}

impl Bench {
    fn new() -> Self {
        let place = Place::with_vault();
        let disk = format!("vda={}", place.image("disk.img", &vec![7; 1 << 20]));
        Self { place, disk }
    }

    /// A script of this text.
    fn script(&self, name: &str, text: &str) -> String {
        let path = self.place.text_path(name);
        fs::write(&path, text).unwrap();
        mode(&path, 0o700);
        path
    }

    /// A program of this text, for a shell.
    fn program(&self, name: &str, text: &str) -> String {
        self.script(name, &format!("#!/bin/sh\n{text}\n"))
    }

    /// A script that writes its name and arguments into the log and then does something more.
    fn logging(&self, name: &str, more: &str) -> String {
        self.script(name, &format!("#!/bin/bash\necho {name} \"$@\" >> {}\n{more}\n", self.place.text_path("log")))
    }

    /// A file of scripts that logs `pre` and `post`, which do something more; other keys as given.
    fn scripts(&self, pre: &str, post: &str, keys: Value) -> String {
        let mut file = json!({
            "pluginName": "ScriptRunner",
            "preScriptLocation": self.logging("pre", pre),
            "postScriptLocation": self.logging("post", post),
        });
        for (key, value) in keys.as_object().unwrap() {
            file[key] = value.clone();
        }
        self.file(&file)
    }

    fn file(&self, file: &Value) -> String {
        let path = self.place.text_path("scripts.json");
        fs::write(&path, file.to_string()).unwrap();
        mode(&path, 0o600);
        path
    }

    /// What the scripts did since the last look.
    fn log(&self) -> String {
        let path = self.place.path("log");
        let log = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        log
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["backup", "web01", "--disk", &self.disk, "--json"], more].concat()
    }

    fn backup(&self, more: &[&str]) -> Ended {
        self.place.in_vault("", &self.arguments(more))
    }

    /// The document of a backup that ended with this code.
    #[track_caller]
    fn told(&self, code: i32, more: &[&str]) -> Value {
        let ended = self.backup(more);
        assert_eq!(ended.code, Some(code), "{}", ended.errors);
        serde_json::from_str(&ended.output).unwrap()
    }

    /// A backup that fails with this message and makes no point.
    #[track_caller]
    fn fails(&self, message: &str, more: &[&str]) {
        let before = self.points();
        let ended = self.backup(more);
        assert!(ended.code == Some(1) && ended.errors.contains(message), "expected {message:?} in {:?}: {}", ended.code, ended.errors);
        assert_eq!(self.points(), before);
    }

    fn points(&self) -> usize {
        self.place.json(&["points", "--all"]).as_array().unwrap().len()
    }

    /// Notes of what must be undone, finished or not.
    fn notes(&self) -> usize {
        let names = fs::read_dir(self.place.path("CAIRN_STATE_DIR/owed")).into_iter().flatten();
        names.filter(|entry| entry.as_ref().unwrap().file_name() != "turn").count()
    }
}

fn mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Commands of a script that its supervisor runs: the process of Cairn is the parent of its parent.
const CAIRN: &str = "CAIRN=$(awk '/^PPid/{print $2}' /proc/$PPID/status)";
