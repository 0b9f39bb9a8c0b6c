//! The frame of the command line: help, usage errors, completions, man pages, the two streams.

use assert_cmd::Command;

fn cairn(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::cargo_bin("cairn").unwrap().env_clear().args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_help_of_the_whole() {
    let (code, help, errors) = cairn(&["--help"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    insta::assert_snapshot!(help);
}

#[test]
fn every_command_has_help_with_an_example() {
    let (_, help, _) = cairn(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert!(commands.len() > 3, "{commands:?}");
    for command in commands {
        let (code, help, _) = cairn(&[command, "--help"]);
        assert_eq!(code, Some(0), "{command}");
        assert!(help.contains("Examples:") && help.contains(&format!("cairn {command}")), "{command}:\n{help}");
    }
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [&["no-such-command"][..], &["init", "--compression", "99", "/tmp/x"], &["--no-such-option"], &[]] {
        let (code, output, errors) = cairn(arguments);
        assert_eq!((code, output.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert!(errors.contains("--help") || errors.contains("Usage: cairn"), "{arguments:?}: {errors}");
    }
}

#[test]
fn what_was_typed_is_repeated_without_its_escapes() {
    let (code, _, errors) = cairn(&["no-\u{1b}[31msuch\u{202e}"]);
    assert_eq!(code, Some(2));
    // clap takes out escape sequences itself, but not the characters that turn the direction.
    assert!(errors.contains("'no-such\\u{202e}'"), "{errors}");
    assert!(!errors.contains('\u{1b}'), "{errors:?}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = cairn(&["completions", shell]);
        assert_eq!(code, Some(0));
        assert!(script.contains("init") && script.contains("passphrase-file"), "{shell}");
    }
}

#[test]
fn man_pages_are_written_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let (code, output, errors) = cairn(&["man", directory.path().join("man1").to_str().unwrap()]);
    assert_eq!((code, output.as_str()), (Some(0), ""), "{errors}");
    let page = std::fs::read_to_string(directory.path().join("man1/cairn-init.1")).unwrap();
    assert!(page.contains(".TH cairn-init 1") && page.contains("compression"), "{page}");
    assert!(directory.path().join("man1/cairn.1").exists());
}

#[test]
fn an_error_is_one_document_with_json() {
    let (code, output, errors) = cairn(&["--json", "man", "/proc/no-such-place"]);
    assert_eq!(code, Some(1));
    let document: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(document["error"]["exit_code"], 1);
    assert_eq!(document["error"]["message"], "the directory '/proc/no-such-place' cannot be made");
    assert!(document["error"]["causes"][0].as_str().unwrap().contains("No such file"), "{output}");
    assert!(errors.starts_with("error: the directory '/proc/no-such-place' cannot be made\n  because: "), "{errors}");
}
