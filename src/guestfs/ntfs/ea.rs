//! Extended attributes of OS/2, in which WSL keeps what Linux knows of a file. Layout: [MS-FSCC] 2.4.16; names: Microsoft's documentation
//! of file permissions for WSL.

use super::bytes::{index, slice_at, u8_at, u16_at, u32_at};

/// What WSL says of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wsl {
    /// Owner.
    pub(super) uid: Option<u32>,
    /// Group.
    pub(super) gid: Option<u32>,
    /// The whole mode, with the kind.
    pub(super) mode: Option<u32>,
    /// Major and minor number.
    pub(super) device: Option<(u32, u32)>,
}

/// Finds WSL's attributes among all of a file's. What cannot be read is not there.
pub(super) fn wsl(all: &[u8]) -> Wsl {
    let mut wsl = Wsl::default();
    let mut at = 0_usize;
    while let Some((next, name, value)) = entry(all, at) {
        match name {
            b"$LXUID" => wsl.uid = u32_at(value, 0),
            b"$LXGID" => wsl.gid = u32_at(value, 0),
            b"$LXMOD" => wsl.mode = u32_at(value, 0),
            b"$LXDEV" => wsl.device = u32_at(value, 0).zip(u32_at(value, 4)),
            _ => {}
        }
        if next == 0 {
            break;
        }
        at = at.saturating_add(next);
    }
    wsl
}

/// The entry at `at`: the distance to the next one (0: none), its name and its value.
fn entry(all: &[u8], at: usize) -> Option<(usize, &[u8], &[u8])> {
    let entry = all.get(at..)?;
    let name_length = usize::from(u8_at(entry, 5)?);
    let name = slice_at(entry, 8, name_length)?;
    let value = slice_at(entry, name_length.checked_add(9)?, usize::from(u16_at(entry, 6)?))?;
    Some((index(u32_at(entry, 0)?), name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ea(next: u32, name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes = next.to_le_bytes().to_vec();
        bytes.extend([0, name.len() as u8]);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(name);
        bytes.push(0);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn wsl_says_owner_mode_and_device() {
        let mut all = ea(20, b"$LXUID", &1000_u32.to_le_bytes());
        all.extend(ea(16, b"OTHER", b"x"));
        all.extend(ea(20, b"$LXMOD", &0o20_640_u32.to_le_bytes()));
        all.extend(ea(0, b"$LXDEV", &[5, 0, 0, 0, 1, 0, 0, 0]));
        assert_eq!(wsl(&all), Wsl { uid: Some(1000), gid: None, mode: Some(0o20_640), device: Some((5, 1)) });
        for cut in 0..all.len() {
            wsl(&all[..cut]);
        }
    }
}
