//! The status as metrics in Prometheus' text format, version 0.0.4.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context as _;
use cairn::host::LastBackup;
use cairn::io::DurableFile;
use jiff::Timestamp;

use super::super::super::context::Context;
use super::{MachineDocument, StatusDocument};

/// Writes the metrics to standard output (`-`), or to a file that whoever reads it sees old or new, never in part.
pub(super) fn write(context: &Context, status: &StatusDocument, file: &Path) -> anyhow::Result<()> {
    let text = text(status);
    if file == Path::new("-") {
        return context.output.text(&text);
    }
    let write = || {
        let mut durable = DurableFile::create(file)?;
        // Another user reads it.
        durable.file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        durable.file().write_all(text.as_bytes())?;
        durable.replace()
    };
    write().with_context(|| format!("the metrics cannot be written to '{}'", file.display()))
}

fn text(status: &StatusDocument) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, values: Vec<(String, String)>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP cairn_{name} {help}\n# TYPE cairn_{name} gauge");
        for (labels, value) in values {
            let _ = writeln!(text, "cairn_{name}{labels} {value}");
        }
    };
    let vault = format!("{{vault=\"{}\"}}", escaped(&status.vault));
    metric("status_timestamp_seconds", "When this was written.", vec![(vault.clone(), status.time.as_second().to_string())]);
    metric(
        "scheduler_running",
        "Whether a scheduler runs on this host.",
        vec![(vault.clone(), u8::from(status.scheduler_running).to_string())],
    );
    let each = |value: &dyn Fn(&MachineDocument) -> Option<String>| -> Vec<(String, String)> {
        status.machines.iter().filter_map(|machine| Some((labels(status, machine, ""), value(machine)?))).collect()
    };
    let seconds = |time: Option<Timestamp>| time.map(|time| time.as_second().to_string());
    metric(
        "machine_alarm",
        "0: all is well; 1: have a look; 2: not protected as it should be.",
        each(&|machine| Some(alarm(machine.alarm).to_string())),
    );
    let states = status.machines.iter().flat_map(|machine| {
        let one = |state: &LastBackup| {
            let labels = labels(status, machine, &format!(",state=\"{}\"", state.word()));
            (labels, u8::from(*state == machine.last_backup).to_string())
        };
        LastBackup::ALL.iter().map(one).collect::<Vec<_>>()
    });
    metric("machine_last_backup_status", "1 for the status of the last backup.", states.collect());
    let last = each(&|machine| seconds(machine.last_success));
    metric("machine_last_success_timestamp_seconds", "When the last backup that was good began.", last);
    metric("machine_next_backup_timestamp_seconds", "When the next backup is due.", each(&|machine| seconds(machine.next_backup)));
    metric("machine_points", "Recovery points.", each(&|machine| Some(machine.points.to_string())));
    metric("machine_stored_bytes", "Bytes that were added for its points.", each(&|machine| Some(machine.stored_bytes.to_string())));
    text
}

fn labels(status: &StatusDocument, machine: &MachineDocument, more: &str) -> String {
    format!("{{vault=\"{}\",machine=\"{}\"{more}}}", escaped(&status.vault), escaped(&machine.name))
}

fn alarm(word: &str) -> u8 {
    match word {
        "none" => 0,
        "warning" => 1,
        _ => 2,
    }
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_in_the_text_format() {
        let time: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let machine = MachineDocument {
            name: "web01".into(),
            defined: true,
            protection: "protected",
            last_backup_status: "completed",
            last_backup: LastBackup::Completed,
            alarm: "none",
            last_success: Some(time),
            next_backup: None,
            schedule: None,
            points: 3,
            stored_bytes: 42,
            stored_last_days_bytes: 1,
            stored_days_before_bytes: 2,
            last_message: None,
        };
        let vault = "a\"b\\c\nd".to_owned();
        let text = text(&StatusDocument { vault, time, alarm: "none", scheduler_running: true, machines: vec![machine], stored_bytes: 42 });
        let labels = r#"{vault="a\"b\\c\nd",machine="web01"}"#;
        assert!(text.contains(&format!("\ncairn_machine_stored_bytes{labels} 42\n")), "{text}");
        assert!(text.contains(&format!("\ncairn_machine_last_success_timestamp_seconds{labels} 1795348800\n")), "{text}");
        assert!(!text.contains("cairn_machine_next_backup_timestamp_seconds{"), "a value that is not known was written: {text}");
        assert_eq!(text.matches("cairn_machine_last_backup_status{").count(), 8);
        assert_eq!(text.lines().filter(|line| line.ends_with("state=\"completed\"} 1")).count(), 1);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("cairn_") && line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok()), "{line}");
        }
    }
}
