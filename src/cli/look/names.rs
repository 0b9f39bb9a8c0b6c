//! A guest's names and modes as text.

use cairn::guestfs::FileKind;

use super::super::render::safe;

/// A path of a guest on one line: bytes that are no UTF-8 as `\xff`, and nothing that acts on a terminal.
pub(crate) fn shown(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        text.push_str(&safe(chunk.valid()));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// As `ls -l` writes it: `drwxr-xr-x`, `-rwsr-xr-x`.
pub(crate) fn mode_letters(kind: FileKind, mode: u16) -> String {
    let first = match kind {
        FileKind::Regular => '-',
        FileKind::Directory => 'd',
        FileKind::Link => 'l',
        FileKind::Pipe => 'p',
        FileKind::Socket => 's',
        FileKind::CharacterDevice => 'c',
        FileKind::BlockDevice => 'b',
    };
    let bit = |bit: u16, letter: char| if mode & bit != 0 { letter } else { '-' };
    let run = |run: u16, special: u16, both: char, alone: char| match (mode & run != 0, mode & special != 0) {
        (true, true) => both,
        (false, true) => alone,
        (true, false) => 'x',
        (false, false) => '-',
    };
    let letters = [
        first,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        run(0o100, 0o4000, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        run(0o010, 0o2000, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        run(0o001, 0o1000, 't', 'T'),
    ];
    letters.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless_and_told_apart() {
        assert_eq!(shown(b"a\xff\xfeb\x1b[2J\n"), "a\\xff\\xfeb\\u{1b}[2J\\n");
        assert_eq!(shown("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
    }

    #[test]
    fn modes_are_written_as_ls_does() {
        assert_eq!(mode_letters(FileKind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode_letters(FileKind::Regular, 0o6755), "-rwsr-sr-x");
        assert_eq!(mode_letters(FileKind::Regular, 0o4644), "-rwSr--r--");
        assert_eq!(mode_letters(FileKind::Link, 0o777), "lrwxrwxrwx");
    }
}
