//! Reads the notes of fast commits, as far as their checksums are right.

use crate::guestfs::crc32c::crc32c;
use crate::guestfs::ext::fields::Fields;

const ADD_RANGE: u16 = 1;
const DEL_RANGE: u16 = 2;
const CREATE: u16 = 3;
const LINK: u16 = 4;
const UNLINK: u16 = 5;
const INODE: u16 = 6;
const PAD: u16 = 7;
const TAIL: u16 = 8;
const HEAD: u16 = 9;
/// Bytes of a note before its value: its kind and length.
const HEAD_BYTES: usize = 4;

/// What happened to a file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::guestfs::ext) enum Tag {
    /// Blocks of an inode lie elsewhere now: the 12 bytes of an extent.
    AddRange { inode: u32, extent: Vec<u8> },
    /// Blocks of an inode are gone.
    DeleteRange { inode: u32, first: u32, count: u32 },
    /// A name of an inode that is new.
    Create { parent: u32, inode: u32, name: Vec<u8> },
    /// A name of an inode that had another one.
    Link { parent: u32, inode: u32, name: Vec<u8> },
    /// A name is gone.
    Unlink { parent: u32, inode: u32, name: Vec<u8> },
    /// The bytes of an inode.
    Inode { inode: u32, raw: Vec<u8> },
}

/// All notes of complete fast commits that belong to transaction `sequence`, in their order.
pub(in crate::guestfs::ext) fn read(blocks: &[Vec<u8>], sequence: u32) -> Vec<Tag> {
    let mut reader = Reader { sequence, crc: 0, begun: false, pending: Vec::new(), complete: Vec::new() };
    for block in blocks {
        if reader.block(block).is_none() {
            break;
        }
    }
    reader.complete
}

struct Reader {
    sequence: u32,
    crc: u32,
    begun: bool,
    pending: Vec<Tag>,
    complete: Vec<Tag>,
}

impl Reader {
    /// `None` where nothing after it counts.
    fn block(&mut self, block: &[u8]) -> Option<()> {
        let mut rest = block;
        while rest.len() >= HEAD_BYTES {
            let (kind, length) = (Fields(rest).le16(0), usize::from(Fields(rest).le16(2)));
            let (note, after) = rest.split_at_checked(HEAD_BYTES.checked_add(length)?)?;
            self.note(kind, note)?;
            rest = after;
        }
        Some(())
    }

    fn note(&mut self, kind: u16, note: &[u8]) -> Option<()> {
        let value = Fields(note.get(HEAD_BYTES..)?);
        if !self.begun && kind != HEAD {
            return None;
        }
        match kind {
            HEAD => {
                // Its first field has features, of which there are none yet.
                if value.le32(0) != 0 || value.le32(4) != self.sequence {
                    return None;
                }
                self.begun = true;
            }
            TAIL => return self.tail(note, value),
            PAD => {}
            _ => self.pending.push(tag(kind, value)?),
        }
        self.crc = crc32c(self.crc, note);
        Some(())
    }

    /// The end of one fast commit: its checksum covers all up to itself.
    fn tail(&mut self, note: &[u8], value: Fields<'_>) -> Option<()> {
        let crc = crc32c(self.crc, note.get(..HEAD_BYTES + 4)?);
        if value.le32(0) != self.sequence || value.le32(4) != crc {
            return None;
        }
        self.crc = 0;
        self.complete.append(&mut self.pending);
        Some(())
    }
}

fn tag(kind: u16, value: Fields<'_>) -> Option<Tag> {
    let (first, second) = (value.le32(0), value.le32(4));
    let name = || value.0.get(8..).filter(|name| !name.is_empty()).map(<[u8]>::to_vec);
    Some(match kind {
        ADD_RANGE => Tag::AddRange { inode: first, extent: value.0.get(4..16)?.to_vec() },
        DEL_RANGE => Tag::DeleteRange { inode: first, first: second, count: value.le32(8) },
        CREATE => Tag::Create { parent: first, inode: second, name: name()? },
        LINK => Tag::Link { parent: first, inode: second, name: name()? },
        UNLINK => Tag::Unlink { parent: first, inode: second, name: name()? },
        INODE => Tag::Inode { inode: first, raw: value.0.get(4..).filter(|raw| raw.len() >= 128)?.to_vec() },
        _ => return None,
    })
}
