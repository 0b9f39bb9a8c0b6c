//! Whether a place on a disk looks like the beginning of something: magic numbers only, to decide between two ways to understand a
//! table. What it really is, others find out.

use crate::io::ReadAt;

/// Magic numbers of what partitions hold: where, from the beginning, and which bytes.
const MAGICS: &[(u64, &[u8])] = &[
    (0, b"XFSB"),
    (0, b"LUKS\xba\xbe"),
    (0, b"hsqs"),
    (3, b"NTFS    "),
    (3, b"EXFAT   "),
    (54, b"FAT1"),
    (82, b"FAT32"),
    (512, b"LABELONE"),
    (1024, b"\xe2\xe1\xf5\xe0"),
    (1080, b"\x53\xef"),
    (4086, b"SWAPSPACE2"),
    (32769, b"CD001"),
    (65600, b"_BHRfS_M"),
];

/// Whether something known seems to begin at `offset_bytes`. What cannot be read is unknown.
pub(super) fn known(disk: &dyn ReadAt, offset_bytes: u64) -> bool {
    MAGICS.iter().any(|&(at, magic)| {
        let mut found = [0_u8; 16];
        let Some(found) = found.get_mut(..magic.len()) else { return false };
        let Some(at) = offset_bytes.checked_add(at) else { return false };
        disk.read_at(at, found).is_ok() && found == magic
    })
}
