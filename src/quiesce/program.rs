//! What runs a script: the interpreter that its first line names, as the kernel reads it, or `/bin/sh` where there is no such line.
//!
//! The line is read here and not left to the kernel, so that a script needs no right to be executed, which files of the modelled service
//! may lack.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The part of a first line that the kernel reads.
const LINE_BYTES: usize = 256;

/// The program and arguments that run the script, which is open as `file`.
pub(super) fn command(file: &std::fs::File, path: &Path, arguments: &[String]) -> io::Result<Vec<OsString>> {
    let mut start = [0; LINE_BYTES];
    let mut filled = 0;
    while filled < LINE_BYTES {
        match file.read_at(start.get_mut(filled..).unwrap_or_default(), filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    let mut command = interpreter(start.get(..filled).unwrap_or_default());
    command.push(path.into());
    command.extend(arguments.iter().map(OsString::from));
    Ok(command)
}

/// What stands before the script's path; nothing for a program of the machine's own.
fn interpreter(start: &[u8]) -> Vec<OsString> {
    if start.starts_with(b"\x7fELF") {
        return Vec::new();
    }
    let line = start.strip_prefix(b"#!").map(|rest| rest.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii());
    let Some(line) = line.filter(|line| !line.is_empty()) else { return vec!["/bin/sh".into()] };
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (program, argument) = line.split_at(end);
    let argument = argument.trim_ascii();
    // All behind the program is one argument.
    [program, argument].into_iter().filter(|part| !part.is_empty()).map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_interpreter() {
        for (start, expected) in [
            ("#!/bin/bash\necho", &["/bin/bash"][..]),
            ("#! /usr/bin/env  python3 -u \r\n", &["/usr/bin/env", "python3 -u"]),
            ("#!/bin/dash", &["/bin/dash"]),
            ("#!\nx", &["/bin/sh"]),
            ("echo #!/bin/bash", &["/bin/sh"]),
            ("", &["/bin/sh"]),
            ("\x7fELF\x02", &[]),
        ] {
            assert_eq!(interpreter(start.as_bytes()), expected, "{start:?}");
        }
    }

    #[test]
    fn the_script_and_its_arguments_follow() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("script");
        std::fs::write(&path, "#!/bin/x\n").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let command = command(&file, &path, &["a b".to_owned(), String::new()]).unwrap();
        assert_eq!(command, ["/bin/x".into(), path.into_os_string(), "a b".into(), "".into()]);
    }
}
