//! The superblock: three copies on each device, of which the kernel reads the first.

use super::super::fields::{array, byte, le16, le32, le64, uuid_text};
use super::super::{GuestError, GuestResult, Identity, Member};
use super::checksum::Checksum;
use crate::io::ReadAt;

/// Bytes of a superblock.
pub(super) const SUPER_BYTES: usize = 4096;

/// Where the copies lie.
pub(super) const COPIES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];

const MAGIC: &[u8] = b"_BHRfS_M";
const LABEL_BYTES: usize = 256;
const SYSTEM_CHUNKS_BYTES: usize = 2048;

/// What makes a filesystem other than its readers expect: the names are those of the kernel in `/sys/fs/btrfs/features`.
const INCOMPATIBLE: [(u64, &str, bool); 17] = [
    (1, "mixed_backref", true),
    (1 << 1, "default_subvol", true),
    (1 << 2, "mixed_groups", true),
    (1 << 3, "compress_lzo", true),
    (1 << 4, "compress_zstd", true),
    (1 << 5, "big_metadata", true),
    (1 << 6, "extended_iref", true),
    (1 << 7, "raid56", true),
    (1 << 8, "skinny_metadata", true),
    (1 << 9, "no_holes", true),
    (1 << 10, "metadata_uuid", true),
    (1 << 11, "raid1c34", true),
    (1 << 12, "zoned", false),
    (1 << 13, "extent_tree_v2", false),
    (1 << 14, "raid_stripe_tree", false),
    (1 << 15, "encrypt", false),
    (1 << 16, "simple_quota", true),
];
const METADATA_UUID: u64 = 1 << 10;

/// States in which the contents are not what they should be.
const STATES: [(u64, &str); 7] = [
    (1 << 33, "a btrfs metadata dump, which has no data"),
    (1 << 34, "a btrfs metadata dump, which has no data"),
    (1 << 35, "btrfs in the middle of a change of its UUID"),
    (1 << 36, "btrfs in the middle of a change of its UUID"),
    (1 << 38, "btrfs in the middle of a conversion to a block group tree"),
    (1 << 39, "btrfs in the middle of a change of its checksums"),
    (1 << 40, "btrfs in the middle of a change of its checksums"),
];

/// Where a tree begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RootPointer {
    /// Address of the topmost block.
    pub(super) logical: u64,
    /// Its level.
    pub(super) level: u8,
    /// The transaction in which it was written.
    pub(super) generation: u64,
}

/// What a superblock says.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) pool: [u8; 16],
    /// The UUID that tree blocks bear.
    pub(super) metadata_uuid: [u8; 16],
    pub(super) generation: u64,
    pub(super) root_tree: RootPointer,
    pub(super) chunk_tree: RootPointer,
    /// The tree of log trees, if something was synced since the last commit.
    pub(super) log_tree: Option<RootPointer>,
    pub(super) total_bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) devices: u64,
    pub(super) sector_bytes: u32,
    pub(super) node_bytes: u32,
    pub(super) checksum: Checksum,
    pub(super) device: u64,
    label: Vec<u8>,
    /// Chunks that are needed to find the chunk tree.
    pub(super) system_chunks: Vec<u8>,
    flags: u64,
    incompatible: u64,
}

/// Whether a superblock of btrfs lies here, and its place is where it says.
fn is_superblock(bytes: &[u8], offset_bytes: u64) -> bool {
    bytes.get(0x40..0x48) == Some(MAGIC) && le64(bytes, 0x30) == offset_bytes
}

fn read_copy(device: &dyn ReadAt, offset_bytes: u64) -> GuestResult<Option<Vec<u8>>> {
    let end = offset_bytes.saturating_add(SUPER_BYTES as u64);
    if end > device.size_bytes() {
        return Ok(None);
    }
    let mut bytes = vec![0; SUPER_BYTES];
    device.read_at(offset_bytes, &mut bytes)?;
    Ok(is_superblock(&bytes, offset_bytes).then_some(bytes))
}

impl Superblock {
    /// The first copy if it is sound; else the newest sound one of the others, and `true`.
    ///
    /// # Errors
    /// Damage where there is none that is sound.
    pub(super) fn read(device: &dyn ReadAt) -> GuestResult<(Self, bool)> {
        let mut problem = GuestError::damaged("the superblock", "no copy of it has its magic number");
        let mut newest: Option<Self> = None;
        for (at, &offset) in COPIES.iter().enumerate() {
            match read_copy(device, offset).and_then(|copy| copy.as_deref().map(Self::parse).transpose()) {
                Ok(Some(found)) if at == 0 => return Ok((found, false)),
                Ok(Some(found)) if newest.as_ref().is_none_or(|best| best.generation < found.generation) => newest = Some(found),
                Ok(_) => {}
                Err(error) if at == 0 => problem = error,
                Err(_) => {}
            }
        }
        newest.map(|found| (found, true)).ok_or(problem)
    }

    fn parse(bytes: &[u8]) -> GuestResult<Self> {
        let checksum = Checksum::of(le16(bytes, 0xc4))?;
        if !checksum.matches_block(bytes) {
            return Err(GuestError::damaged("the superblock", "its checksum does not match"));
        }
        let generation = le64(bytes, 0x48);
        let pool = array(bytes, 0x20);
        let incompatible = le64(bytes, 0xbc);
        let log_root = le64(bytes, 0x60);
        let log_tree = RootPointer { logical: log_root, level: byte(bytes, 0xc8), generation: generation.saturating_add(1) };
        let system_chunks = usize::try_from(le32(bytes, 0xa0)).unwrap_or(usize::MAX).min(SYSTEM_CHUNKS_BYTES);
        let found = Self {
            pool,
            metadata_uuid: if incompatible & METADATA_UUID == 0 { pool } else { array(bytes, 0x23b) },
            generation,
            root_tree: RootPointer { logical: le64(bytes, 0x50), level: byte(bytes, 0xc6), generation },
            chunk_tree: RootPointer { logical: le64(bytes, 0x58), level: byte(bytes, 0xc7), generation: le64(bytes, 0xa4) },
            log_tree: (log_root != 0).then_some(log_tree),
            total_bytes: le64(bytes, 0x70),
            used_bytes: le64(bytes, 0x78),
            devices: le64(bytes, 0x88),
            sector_bytes: le32(bytes, 0x90),
            node_bytes: le32(bytes, 0x94),
            checksum,
            device: le64(bytes, 0xc9),
            label: bytes.get(0x12b..0x12b_usize.saturating_add(LABEL_BYTES)).unwrap_or_default().to_vec(),
            system_chunks: bytes.get(0x32b..0x32b_usize.saturating_add(system_chunks)).unwrap_or_default().to_vec(),
            flags: le64(bytes, 0x38),
            incompatible,
        };
        found.check()?;
        Ok(found)
    }

    /// Refuses sizes that no kernel makes.
    fn check(&self) -> GuestResult<()> {
        let (node, sector) = (self.node_bytes, self.sector_bytes);
        if !(4096..=65536).contains(&node) || !node.is_power_of_two() {
            return Err(GuestError::damaged("the superblock", format!("tree blocks of {node} bytes, where 4096 to 65536 are possible")));
        }
        if !(4096..=65536).contains(&sector) || !sector.is_power_of_two() || sector > node {
            return Err(GuestError::damaged("the superblock", format!("sectors of {sector} bytes, where 4096 to {node} are possible")));
        }
        Ok(())
    }

    /// Refuses, by name, what cannot be read.
    pub(super) fn check_features(&self) -> GuestResult<()> {
        if let Some((_, state)) = STATES.iter().find(|(flag, _)| self.flags & flag != 0) {
            return Err(GuestError::unsupported(*state));
        }
        let known = INCOMPATIBLE.iter().fold(0, |known, (flag, ..)| known | flag);
        let mut missing: Vec<String> = INCOMPATIBLE
            .iter()
            .filter(|(flag, _, is_read)| self.incompatible & flag != 0 && !is_read)
            .map(|(_, name, _)| format!("'{name}'"))
            .collect();
        if self.incompatible & !known != 0 {
            missing.push(format!("{:#x}, which is unknown here", self.incompatible & !known));
        }
        if missing.is_empty() { Ok(()) } else { Err(GuestError::unsupported(format!("btrfs feature {}", missing.join(" and ")))) }
    }
}

/// What a device holds, if its first superblock is one of btrfs.
pub(super) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    let Some(first) = read_copy(device, COPIES[0])? else { return Ok(None) };
    // A first copy that is damaged still says what this was; another copy then says the rest.
    let Ok(found) = Superblock::parse(&first).or_else(|_| Superblock::read(device).map(|(found, _)| found)) else {
        return Ok(Some(Identity { kind: "btrfs", label: None, uuid: None, size_bytes: None, member: None }));
    };
    let label = found.label.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(Some(Identity {
        kind: "btrfs",
        label: (!label.is_empty()).then(|| String::from_utf8_lossy(label).into_owned()),
        uuid: uuid_text(found.pool),
        size_bytes: Some(found.total_bytes),
        member: Some(Member { pool: found.pool, device: found.device, devices: found.devices }),
    }))
}
