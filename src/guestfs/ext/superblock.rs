//! The superblock of ext2, ext3 and ext4: geometry, features, checksums. Layout: `Documentation/filesystems/ext4/super.rst` of Linux.

use super::fields::Fields;
use crate::guestfs::crc32c::crc32c;
use crate::guestfs::fields::uuid_text;
use crate::guestfs::{GuestError, GuestResult, Identity};
use crate::io::ReadAt;

/// Where it lies, in bytes, whatever the size of blocks.
const AT: u64 = 1024;
/// Groups whose copies of it are looked for where the first one is damaged; every family but the very oldest has the first of them.
const COPIES_IN: [u64; 2] = [1, 3];
/// Blocks of a cluster, as powers of two: none, and what mke2fs makes with `bigalloc`.
const CLUSTERS: [u32; 2] = [0, 4];
const MAGIC: u16 = 0xef53;

pub(super) const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const COMPAT_DIR_INDEX: u32 = 0x20;
pub(super) const INCOMPAT_FILETYPE: u32 = 0x2;
pub(super) const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
pub(super) const INCOMPAT_EA_INODE: u32 = 0x400;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
pub(super) const INCOMPAT_LARGEDIR: u32 = 0x4000;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
pub(super) const RO_COMPAT_HUGE_FILE: u32 = 0x8;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const FLAG_UNSIGNED_HASH: u32 = 0x2;

/// Incompatible features that are understood here: filetype, needs_recovery, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode,
/// metadata_csum_seed, large_dir, inline_data, encrypt, casefold.
const UNDERSTOOD: u32 = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000;
/// Names of those that are not.
const NAMES: [(u32, &str); 3] = [(0x1, "compression"), (0x8, "journal_dev"), (0x1000, "dirdata")];

/// Features that ext3 has (blkid(8) calls everything beyond it ext4): filetype, needs_recovery, meta_bg.
const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
/// sparse_super, large_file, btree_dir.
const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;

/// What the superblock says, checked.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    /// The block that it was read from: descriptors of groups follow it.
    at_block: u64,
    /// The group of which it is the first block; 0: it is the first one, no copy.
    pub(super) copy_in_group: u16,
    pub(super) block_bytes: u32,
    pub(super) cluster_bytes: u32,
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    pub(super) inodes: u32,
    pub(super) inodes_per_group: u32,
    blocks_per_group: u32,
    first_data_block: u32,
    pub(super) inode_bytes: u16,
    descriptor_bytes: u16,
    pub(super) compat: u32,
    pub(super) incompat: u32,
    pub(super) ro_compat: u32,
    first_meta_group: u32,
    backup_groups: [u32; 2],
    pub(super) journal_inode: u32,
    /// How names in directories are hashed, if their directory does not say.
    pub(super) hash_version: u8,
    pub(super) hash_seed: [u32; 4],
    /// Bytes of names are hashed without a sign.
    pub(super) unsigned_hashes: bool,
    pub(super) unclean: bool,
    pub(super) had_errors: bool,
    /// From which the checksums of metadata continue; `None` where it has none.
    pub(super) checksum_seed: Option<u32>,
}

/// The bytes of a superblock, if they begin as one does.
fn read(device: &dyn ReadAt, at: u64) -> GuestResult<Option<[u8; 1024]>> {
    let mut bytes = [0; 1024];
    if device.size_bytes().checked_sub(bytes.len() as u64).is_none_or(|last| last < at) {
        return Ok(None);
    }
    device.read_at(at, &mut bytes)?;
    Ok((Fields(&bytes).le16(0x38) == MAGIC).then_some(bytes))
}

/// Where copies of the superblock may be, in bytes, for each size of blocks that there is.
fn places_of_copies() -> impl Iterator<Item = u64> {
    let sizes = (0..=6).flat_map(|log| CLUSTERS.map(|cluster| (1024_u64 << log, cluster)));
    COPIES_IN.into_iter().flat_map(move |group| {
        sizes.clone().map(move |(block_bytes, cluster)| {
            let blocks = (block_bytes.saturating_mul(8) << cluster).saturating_mul(group);
            blocks.saturating_add(u64::from(block_bytes == 1024 && cluster == 0)).saturating_mul(block_bytes)
        })
    })
}

/// What blkid(8) would say of it.
pub(in crate::guestfs) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    Ok(read(device, AT)?.and_then(|bytes| identity(Fields(&bytes))))
}

/// What a copy of the superblock says, where nothing else is known of a volume that is not too short for it.
pub(in crate::guestfs) fn identify_by_copy(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    let Ok((_, bytes)) = Superblock::read_copy(device) else { return Ok(None) };
    let found = identity(Fields(&bytes));
    Ok(found.filter(|found| found.size_bytes.is_some_and(|size| size <= device.size_bytes())))
}

fn identity(fields: Fields<'_>) -> Option<Identity> {
    let (compat, incompat, ro_compat) = (fields.le32(0x5c), fields.le32(0x60), fields.le32(0x64));
    // Two bytes of magic are few: what no mke2fs makes is something else.
    let is_journal = incompat & INCOMPAT_JOURNAL_DEV != 0;
    let has_groups = fields.le32(0) != 0 && fields.le32(0x28) != 0 && fields.le32(0x20) != 0;
    if fields.le32(0x18) > 6 || !(has_groups || is_journal) {
        return None;
    }
    let kind = if is_journal {
        "jbd"
    } else if incompat & !EXT3_INCOMPAT != 0 || ro_compat & !EXT3_RO_COMPAT != 0 {
        "ext4"
    } else if compat & COMPAT_HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    let label = fields.bytes(0x78, 16).split(|&byte| byte == 0).next().unwrap_or_default();
    let high = if incompat & INCOMPAT_64BIT != 0 { u64::from(fields.le32(0x150)) << 32 } else { 0 };
    Some(Identity {
        kind,
        label: (!label.is_empty()).then(|| String::from_utf8_lossy(label).into_owned()),
        uuid: uuid_text(fields.id(0x68)),
        size_bytes: (u64::from(fields.le32(4)) | high).checked_mul(1024 << fields.le32(0x18)),
        member: None,
    })
}

impl Superblock {
    /// Reads and checks it; where it is damaged, a copy of it.
    pub(super) fn read(device: &dyn ReadAt) -> GuestResult<Self> {
        match Self::read_from(device, AT) {
            Err(error @ GuestError::Damaged { .. }) => Self::read_copy(device).map(|(superblock, _)| superblock).map_err(|_| error),
            read => read.map(|(superblock, _)| superblock),
        }
    }

    /// The first copy that is sound, with its bytes.
    fn read_copy(device: &dyn ReadAt) -> GuestResult<(Self, [u8; 1024])> {
        let mut copies = places_of_copies().filter_map(|at| {
            let (superblock, bytes) = Self::read_from(device, at).ok()?;
            let is_there =
                superblock.copy_in_group != 0 && superblock.group_start(u32::from(superblock.copy_in_group)) == Some(superblock.at_block);
            is_there.then_some((superblock, bytes))
        });
        copies.next().ok_or_else(|| GuestError::damaged("the superblock", "no copy of it was found either"))
    }

    fn read_from(device: &dyn ReadAt, at: u64) -> GuestResult<(Self, [u8; 1024])> {
        let damaged = |problem: String| GuestError::damaged("the superblock", problem);
        let bytes = read(device, at)?.ok_or_else(|| damaged("its magic number is missing".to_owned()))?;
        let fields = Fields(&bytes);
        let mut superblock = Self::parse(fields);
        if superblock.ro_compat & RO_COMPAT_METADATA_CSUM != 0 {
            let (expected, found) = (crc32c(!0, fields.bytes(0, 1020)), fields.le32(1020));
            if expected != found {
                return Err(damaged(format!("its checksum is {found:08x}, not {expected:08x}")));
            }
        }
        superblock.check_features()?;
        superblock.check_geometry(fields.le32(0x18)).map_err(damaged)?;
        superblock.at_block = at / u64::from(superblock.block_bytes);
        if at == AT {
            superblock.copy_in_group = 0;
        }
        Ok((superblock, bytes))
    }

    fn parse(fields: Fields<'_>) -> Self {
        let incompat = fields.le32(0x60);
        let ro_compat = fields.le32(0x64);
        let wide = incompat & INCOMPAT_64BIT != 0;
        let halves = |low, high| if wide { fields.le64_halves(low, high) } else { u64::from(fields.le32(low)) };
        let revised = fields.le32(0x4c) > 0;
        let seed = if incompat & INCOMPAT_CSUM_SEED != 0 { fields.le32(0x270) } else { crc32c(!0, &fields.id(0x68)) };
        Self {
            at_block: 0,
            copy_in_group: fields.le16(0x5a),
            block_bytes: 1024_u32.checked_shl(fields.le32(0x18)).unwrap_or(0),
            cluster_bytes: 1024_u32.checked_shl(fields.le32(0x1c)).unwrap_or(0),
            blocks: halves(4, 0x150),
            free_blocks: halves(0xc, 0x158),
            inodes: fields.le32(0),
            inodes_per_group: fields.le32(0x28),
            blocks_per_group: fields.le32(0x20),
            first_data_block: fields.le32(0x14),
            inode_bytes: if revised { fields.le16(0x58) } else { 128 },
            descriptor_bytes: if wide { fields.le16(0xfe) } else { 32 },
            compat: fields.le32(0x5c),
            incompat,
            ro_compat,
            first_meta_group: fields.le32(0x104),
            backup_groups: [fields.le32(0x24c), fields.le32(0x250)],
            journal_inode: fields.le32(0xe0),
            hash_version: fields.byte(0xfc),
            hash_seed: [0xec, 0xf0, 0xf4, 0xf8].map(|at| fields.le32(at)),
            unsigned_hashes: fields.le32(0x160) & FLAG_UNSIGNED_HASH != 0,
            unclean: fields.le16(0x3a) & 1 == 0,
            had_errors: fields.le16(0x3a) & 2 != 0,
            checksum_seed: (ro_compat & RO_COMPAT_METADATA_CSUM != 0).then_some(seed),
        }
    }

    fn check_features(&self) -> GuestResult<()> {
        if self.incompat & INCOMPAT_JOURNAL_DEV != 0 {
            return Err(GuestError::unsupported("an external journal of ext4, which is no filesystem of its own,"));
        }
        let unknown = self.incompat & !UNDERSTOOD;
        if unknown == 0 {
            return Ok(());
        }
        let named: Vec<String> = (0..32)
            .map(|bit| 1_u32 << bit)
            .filter(|bit| unknown & bit != 0)
            .map(|bit| NAMES.iter().find(|(known, _)| *known == bit).map_or(format!("incompat {bit:#x}"), |(_, name)| (*name).to_owned()))
            .collect();
        Err(GuestError::unsupported(format!("ext4 feature '{}'", named.join("', '"))))
    }

    /// Whether every later computation with these numbers makes sense.
    fn check_geometry(&self, log_block: u32) -> Result<(), String> {
        if log_block > 6 {
            return Err(format!("blocks of 2^{log_block} KiB are larger than 64 KiB"));
        }
        let inode = u32::from(self.inode_bytes);
        if inode < 128 || !inode.is_power_of_two() || inode > self.block_bytes {
            return Err(format!("inodes have {inode} bytes in blocks of {}", self.block_bytes));
        }
        let descriptor = u32::from(self.descriptor_bytes);
        if descriptor < 32 || !descriptor.is_power_of_two() || descriptor > self.block_bytes {
            return Err(format!("group descriptors have {descriptor} bytes in blocks of {}", self.block_bytes));
        }
        if self.inodes_per_group == 0 || self.blocks_per_group == 0 || self.inodes == 0 {
            return Err("groups have no blocks or no inodes".to_owned());
        }
        if self.blocks.checked_mul(u64::from(self.block_bytes)).is_none() {
            return Err(format!("{} blocks of {} bytes are more than can be", self.blocks, self.block_bytes));
        }
        Ok(())
    }

    /// Where the descriptor of a group lies, in bytes, and how long it is.
    pub(super) fn descriptor_place(&self, group: u32) -> Option<(u64, usize)> {
        let per_block = self.block_bytes.checked_div(u32::from(self.descriptor_bytes))?;
        let nth = group.checked_div(per_block)?;
        let block = if self.incompat & INCOMPAT_META_BG == 0 || nth < self.first_meta_group {
            self.at_block.checked_add(1)?.checked_add(u64::from(nth))?
        } else {
            // Each block of descriptors lies at the start of the first group that it describes, after the superblock if there is one.
            let first_group = nth.checked_mul(per_block)?;
            let mut skipped = u64::from(self.has_superblock(first_group));
            if self.block_bytes == 1024 && nth == 0 && self.first_data_block == 0 {
                skipped = skipped.checked_add(1)?;
            }
            self.group_start(first_group)?.checked_add(skipped)?
        };
        let within = u64::from(group.checked_rem(per_block)?).checked_mul(u64::from(self.descriptor_bytes))?;
        Some((block.checked_mul(u64::from(self.block_bytes))?.checked_add(within)?, usize::from(self.descriptor_bytes)))
    }

    /// The first block of a group.
    fn group_start(&self, group: u32) -> Option<u64> {
        u64::from(group).checked_mul(u64::from(self.blocks_per_group))?.checked_add(u64::from(self.first_data_block))
    }

    /// Whether a group begins with a copy of the superblock.
    fn has_superblock(&self, group: u32) -> bool {
        let power_of = |base: u32| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        if group == 0 {
            return true;
        }
        if self.compat & COMPAT_SPARSE_SUPER2 != 0 {
            return self.backup_groups.contains(&group);
        }
        self.ro_compat & RO_COMPAT_SPARSE_SUPER == 0 || group == 1 || [3, 5, 7].into_iter().any(power_of)
    }

    /// Whether directories may have indexes of hashes.
    pub(super) fn has_indexes(&self) -> bool {
        self.compat & COMPAT_DIR_INDEX != 0
    }

    pub(super) fn has(&self, incompat: u32) -> bool {
        self.incompat & incompat != 0
    }
}
