//! Superblocks of metadata 1.0, 1.1 and 1.2, and the search for any superblock on a device.

use std::io;

use super::{Level, Member, Role, SECTOR_BYTES, State, superblock_old};
use crate::io::ReadAt;
use crate::units::{Extent, ExtentSet};
use crate::volume::{VolumeError, VolumeResult};

/// What every superblock begins with.
pub(super) const MAGIC: u32 = 0xa92b_4efc;
/// Bytes kept for a superblock.
pub(super) const SUPERBLOCK_BYTES: usize = 4096;
/// Bytes before the table of roles.
const FIXED_BYTES: usize = 256;
/// Most bytes of a list of bad blocks that are read; Linux writes 4096.
const MOST_BAD_BYTES: usize = 64 << 10;

/// Bits of the feature map. The bitmap and its kind (1, 128, 256) need no bit here: it is not used.
mod feature {
    pub(super) const RECOVERY_OFFSET: u32 = 2;
    pub(super) const RESHAPE: u32 = 4;
    pub(super) const BAD_BLOCKS: u32 = 8;
    pub(super) const REPLACEMENT: u32 = 16;
    pub(super) const RESHAPE_BACKWARDS: u32 = 32;
    pub(super) const NEW_OFFSET: u32 = 64;
    pub(super) const RECOVERY_BITMAP: u32 = 128;
    pub(super) const JOURNAL: u32 = 512;
    pub(super) const PARTIAL_PARITY_LOG: u32 = 1024 | 2048;
    pub(super) const RAID0_LAYOUT: u32 = 4096;
    pub(super) const KNOWN: u32 = 8191;
}

/// The member that `device` is, if it has a superblock: the newest array's, where several are found.
///
/// # Errors
/// Damage where the only superblock has a wrong checksum or contradicts itself; a level or feature that is not known; what the disk says.
pub fn identify(device: &dyn ReadAt) -> VolumeResult<Option<Member>> {
    let size_bytes = device.size_bytes();
    let mut best: Option<Member> = None;
    let mut problem = None;
    let places = [("1.2", Some(4096)), ("1.1", Some(0)), ("1.0", last_place(size_bytes))];
    let current = places.into_iter().filter_map(|(version, at)| parse_at(device, version, at?).transpose());
    for found in current.chain(superblock_old::find(device).transpose()) {
        match found {
            Ok(member) if best.as_ref().is_none_or(|best| best.created < member.created) => best = Some(member),
            Ok(_) => {}
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    match (best, problem) {
        (None, Some(problem)) => Err(problem),
        (best, _) => Ok(best),
    }
}

/// Where metadata 1.0 lies: at least 8 KiB before the end, on a multiple of 4 KiB.
fn last_place(size_bytes: u64) -> Option<u64> {
    Some((size_bytes / SECTOR_BYTES).checked_sub(16)? / 8 * 8 * SECTOR_BYTES)
}

/// Reads a block of a superblock's size; `None` where the device ends before.
pub(super) fn read_block(device: &dyn ReadAt, at_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    if at_bytes.checked_add(SUPERBLOCK_BYTES as u64).is_none_or(|end| end > device.size_bytes()) {
        return Ok(None);
    }
    let mut block = vec![0; SUPERBLOCK_BYTES];
    device.read_at(at_bytes, &mut block)?;
    Ok(Some(block))
}

/// Damage of the superblock at a place.
pub(super) fn damaged(version: &str, at_bytes: u64, problem: impl Into<String>) -> VolumeError {
    VolumeError::Damaged { object: format!("the RAID superblock {version} at byte {at_bytes}"), problem: problem.into() }
}

/// Little-endian fields of a superblock by their offsets; what lies outside is 0.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    /// A number of sectors in bytes, which must stay below 2^62 so that sums of a few do not overflow.
    fn sectors(&self, at: usize, what: &str, version: &str, at_bytes: u64) -> VolumeResult<u64> {
        let sectors = self.u64(at);
        sectors
            .checked_mul(SECTOR_BYTES)
            .filter(|&bytes| bytes < 1 << 62)
            .ok_or_else(|| damaged(version, at_bytes, format!("its {what} of {sectors} sectors is past the end of any device")))
    }
}

fn parse_at(device: &dyn ReadAt, version: &'static str, at_bytes: u64) -> VolumeResult<Option<Member>> {
    let Some(block) = read_block(device, at_bytes)? else { return Ok(None) };
    let fields = Fields(&block);
    // A superblock that says to be elsewhere belongs to the disk or the partition whose end this device shares.
    if fields.u32(0) != MAGIC || fields.u32(4) != 1 || fields.u64(144).checked_mul(SECTOR_BYTES) != Some(at_bytes) {
        return Ok(None);
    }
    check(&block, version, at_bytes)?;
    let features = fields.u32(8);
    let unknown = features & !feature::KNOWN;
    if unknown != 0 {
        return Err(VolumeError::Unsupported { feature: format!("RAID metadata with the feature bits {unknown:#x}") });
    }
    let level = fields.u32(72);
    let Some(level) = Level::from_number(level) else {
        return Err(VolumeError::Unsupported { feature: format!("RAID level {}", level.cast_signed()) });
    };
    let devices = u16::try_from(fields.u32(92)).ok().filter(|&devices| devices > 0 && usize::from(devices) <= most_roles());
    let devices = devices.ok_or_else(|| damaged(version, at_bytes, format!("it has {} devices", fields.u32(92))))?;
    let offset_bytes = fields.sectors(128, "data offset", version, at_bytes)?;
    let data_bytes = fields.sectors(136, "data size", version, at_bytes)?;
    let number = fields.u32(160);
    let table: Vec<Role> = (0..fields.u32(220)).map(|number| role(fields.u16(FIXED_BYTES + 2 * number as usize))).collect();
    let features = features & if level == Level::Raid0 { feature::KNOWN } else { !feature::RAID0_LAYOUT };
    Ok(Some(Member {
        array: fields.bytes(16),
        name: text(&fields.bytes::<32>(32)),
        version,
        level,
        role: usize::try_from(number).ok().and_then(|number| table.get(number)).copied().unwrap_or(Role::Spare),
        devices,
        events: fields.u64(200),
        layout: fields.u32(76),
        chunk_bytes: u64::from(fields.u32(88)) * SECTOR_BYTES,
        data: Extent::between(offset_bytes, offset_bytes + data_bytes),
        superblock: Extent::between(at_bytes, at_bytes + SUPERBLOCK_BYTES as u64),
        used_bytes: fields.sectors(80, "used size", version, at_bytes)?,
        created: fields.u64(64) & ((1 << 40) - 1),
        number,
        table,
        trusted_bytes: trusted_bytes(&fields, features),
        replacement: features & feature::REPLACEMENT != 0,
        bad: bad_blocks(device, &fields, features, at_bytes)?,
        state: state(&fields, features),
    }))
}

fn state(fields: &Fields<'_>, features: u32) -> State {
    let resync = fields.u64(208);
    State {
        unsynced_from_bytes: (resync != u64::MAX).then(|| resync.saturating_mul(SECTOR_BYTES)),
        reshaping: features & (feature::RESHAPE | feature::RESHAPE_BACKWARDS | feature::NEW_OFFSET) != 0,
        journal: features & feature::JOURNAL != 0,
        parity_log: features & feature::PARTIAL_PARITY_LOG != 0,
        raid0_layout: features & feature::RAID0_LAYOUT != 0,
    }
}

fn trusted_bytes(fields: &Fields<'_>, features: u32) -> u64 {
    match features {
        // What such a member lacks is told by the bitmap, which is not read.
        _ if features & feature::RECOVERY_BITMAP != 0 => 0,
        _ if features & feature::RECOVERY_OFFSET != 0 => fields.u64(152).saturating_mul(SECTOR_BYTES),
        _ => u64::MAX,
    }
}

fn most_roles() -> usize {
    (SUPERBLOCK_BYTES - FIXED_BYTES) / 2
}

fn role(number: u16) -> Role {
    match number {
        0xffff => Role::Spare,
        0xfffe => Role::Faulty,
        0xfffd => Role::Journal,
        place => Role::Active(place),
    }
}

/// A name from the disk without what follows its end.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

/// The checksum: the sum of the superblock's 32-bit words without the checksum itself, carries added back in.
fn check(block: &[u8], version: &str, at_bytes: u64) -> VolumeResult<()> {
    let fields = Fields(block);
    let roles = usize::try_from(fields.u32(220)).unwrap_or(usize::MAX);
    if roles > most_roles() {
        return Err(damaged(version, at_bytes, format!("its table has {roles} devices, at most {} fit", most_roles())));
    }
    let (expected, found) = (fields.u32(216), checksum(block.get(..FIXED_BYTES + 2 * roles).unwrap_or_default()));
    if expected != found {
        return Err(damaged(version, at_bytes, format!("its checksum is {expected:08x}, its contents have {found:08x}")));
    }
    Ok(())
}

/// Of a whole superblock with its roles.
pub(super) fn checksum(block: &[u8]) -> u32 {
    let (words, tail) = block.as_chunks::<4>();
    let tail = tail.first_chunk().map_or(0, |&half| u16::from_le_bytes(half));
    let sum: u64 = words.iter().map(|&word| u64::from(u32::from_le_bytes(word))).sum::<u64>() + u64::from(tail);
    let sum = sum - u64::from(Fields(block).u32(216));
    (sum as u32).wrapping_add((sum >> 32) as u32)
}

/// The ranges of the device in its list of bad blocks. An entry has its first block in the upper 54 bits and the number of blocks below.
fn bad_blocks(device: &dyn ReadAt, fields: &Fields<'_>, features: u32, at_bytes: u64) -> VolumeResult<ExtentSet> {
    let bytes = usize::from(fields.u16(186)) * 512;
    if features & feature::BAD_BLOCKS == 0 || bytes == 0 {
        return Ok(ExtentSet::new());
    }
    let shift = u32::from(fields.bytes::<1>(185)[0]);
    let start = i64::from(fields.u32(188).cast_signed()) * 512;
    let start = at_bytes.checked_add_signed(start).filter(|_| bytes <= MOST_BAD_BYTES && shift < 32);
    let start = start.ok_or_else(|| damaged("1.x", at_bytes, format!("its list of bad blocks is {bytes} bytes of unit 2^{shift}")))?;
    let mut list = vec![0; bytes];
    device.read_at(start, &mut list)?;
    let entries = list.as_chunks::<8>().0.iter().map(|&entry| u64::from_le_bytes(entry)).take_while(|&entry| entry != u64::MAX);
    let unit = SECTOR_BYTES << shift;
    let range = |entry: u64| {
        let first = (entry >> 10).saturating_mul(unit);
        Extent::between(first, first.saturating_add((entry & 1023).saturating_mul(unit)))
    };
    Ok(ExtentSet::from_unsorted(entries.map(range).collect()))
}
