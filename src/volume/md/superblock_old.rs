//! Superblocks of metadata 0.90, in the byte order of the machine that wrote them.

use super::superblock::{MAGIC, damaged, read_block};
use super::{Level, Member, Role, State};
use crate::io::ReadAt;
use crate::units::{Extent, ExtentSet};
use crate::volume::{VolumeError, VolumeResult};

/// Superblocks lie on a multiple of this, and this many bytes are kept for one.
const RESERVED_BYTES: u64 = 64 << 10;
/// Most devices in the table, spares and faulty ones with them.
const MOST_DEVICES: u32 = 27;
/// First word of the table of devices.
const TABLE: usize = 128;
/// First word of the description of this device.
const THIS: usize = 992;
/// Words of a description of a device.
const DESCRIPTION_WORDS: usize = 32;

/// Bits of a device's state.
mod device_state {
    pub(super) const FAULTY: u32 = 1;
    pub(super) const ACTIVE: u32 = 2;
    pub(super) const SYNC: u32 = 4;
    pub(super) const JOURNAL: u32 = 1 << 18;
}

/// The 32-bit words of a superblock.
struct Words {
    words: Vec<u32>,
    big_endian: bool,
}

impl Words {
    fn new(block: &[u8], big_endian: bool) -> Self {
        let word = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        Self { words: block.as_chunks::<4>().0.iter().map(|&bytes| word(bytes)).collect(), big_endian }
    }

    /// Word by its number; 0 past the end.
    fn at(&self, number: usize) -> u32 {
        self.words.get(number).copied().unwrap_or(0)
    }

    /// A number of 64 bits, in the writer's order of words.
    fn wide(&self, number: usize) -> u64 {
        let (first, second) = (u64::from(self.at(number)), u64::from(self.at(number + 1)));
        if self.big_endian { first << 32 | second } else { second << 32 | first }
    }

    /// The sum of all words without the checksum, folded to 16 bits: kernels have written it folded in different ways.
    fn checksum(&self) -> u32 {
        fold(self.words.iter().map(|&word| u64::from(word)).sum::<u64>() - u64::from(self.at(38)))
    }
}

fn fold(mut sum: u64) -> u32 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u32
}

/// The member by a superblock of metadata 0.90, if there is one.
pub(super) fn find(device: &dyn ReadAt) -> VolumeResult<Option<Member>> {
    let Some(at_bytes) = (device.size_bytes() / RESERVED_BYTES).checked_sub(1).map(|blocks| blocks * RESERVED_BYTES) else {
        return Ok(None);
    };
    let Some(block) = read_block(device, at_bytes)? else { return Ok(None) };
    let known = [false, true].into_iter().map(|big_endian| Words::new(&block, big_endian)).find(|words| words.at(0) == MAGIC);
    let Some(words) = known.filter(|words| words.at(1) == 0) else { return Ok(None) };
    parse(&words, at_bytes).map(Some)
}

fn parse(words: &Words, at_bytes: u64) -> VolumeResult<Member> {
    let damaged = |problem: String| damaged("0.90", at_bytes, problem);
    let (expected, found) = (fold(u64::from(words.at(38))), words.checksum());
    if expected != found {
        return Err(damaged(format!("its checksum is {expected:04x}, its contents have {found:04x}")));
    }
    let minor = words.at(2);
    if !matches!(minor, 90 | 91) {
        return Err(VolumeError::Unsupported { feature: format!("RAID metadata 0.{minor}") });
    }
    let Some(level) = Level::from_number(words.at(7)) else {
        return Err(VolumeError::Unsupported { feature: format!("RAID level {}", words.at(7).cast_signed()) });
    };
    let devices = words.at(10);
    let devices = u16::try_from(devices).ok().filter(|_| (1..=MOST_DEVICES).contains(&devices));
    let devices = devices.ok_or_else(|| damaged(format!("it has {} devices", words.at(10))))?;
    let described = |start: usize| role(words.at(start + 3), words.at(start + 4));
    let number = words.at(THIS);
    let mut uuid = [0; 16];
    for (bytes, word) in uuid.as_chunks_mut::<4>().0.iter_mut().zip([5, 13, 14, 15]) {
        *bytes = words.at(word).to_be_bytes();
    }
    Ok(Member {
        array: uuid,
        name: format!("md{}", words.at(11)),
        version: "0.90",
        level,
        role: described(THIS),
        devices,
        events: words.wide(39),
        layout: words.at(64),
        chunk_bytes: u64::from(words.at(65)),
        data: Extent::between(0, at_bytes),
        superblock: Extent::between(at_bytes, at_bytes + RESERVED_BYTES),
        // Linear and raid0 use each member whole; the number is that of the smallest, or nothing.
        used_bytes: if matches!(level, Level::Linear | Level::Raid0) { 0 } else { u64::from(words.at(8)) << 10 },
        created: u64::from(words.at(6)),
        number,
        table: (0..MOST_DEVICES as usize).map(|number| described(TABLE + number * DESCRIPTION_WORDS)).collect(),
        trusted_bytes: if recovering(words.at(THIS + 4)) { 0 } else { u64::MAX },
        replacement: false,
        bad: ExtentSet::new(),
        state: state(words),
    })
}

fn state(words: &Words) -> State {
    // Clean is bit 0. Otherwise all below the checkpoint is in step, if one is recorded for this very state.
    let checkpoint = u64::from(words.at(43)) * super::SECTOR_BYTES;
    let unsynced = if words.wide(39) == words.wide(41) { checkpoint } else { 0 };
    State { unsynced_from_bytes: (words.at(33) & 1 == 0).then_some(unsynced), reshaping: words.at(2) == 91, ..State::default() }
}

/// Active, but not yet in step with the others.
fn recovering(state: u32) -> bool {
    state & (device_state::ACTIVE | device_state::SYNC | device_state::FAULTY) == device_state::ACTIVE
}

fn role(place: u32, state: u32) -> Role {
    match u16::try_from(place) {
        _ if state & device_state::FAULTY != 0 => Role::Faulty,
        _ if state & device_state::JOURNAL != 0 => Role::Journal,
        Ok(place) if state & (device_state::SYNC | device_state::ACTIVE) != 0 => Role::Active(place),
        _ => Role::Spare,
    }
}
