//! Chunks: which bytes of which devices stand for an address of the filesystem, in every profile.

use std::num::NonZeroU64;

use super::super::fields::{le16, le64};
use super::super::{GuestError, GuestResult};
use super::layout::{Key, kind, object};

const STRIPES_AT: usize = 48;
const STRIPE_BYTES: usize = 32;

/// Chunks and stripes that are kept: of 1 GiB each, a filesystem of 256 TiB, which takes 40 MiB.
const MOST_STRIPES: usize = 1 << 20;

/// Copies of the bytes of an address, at most (raid1c4).
const MOST_COPIES: usize = 4;

const RAID0: u64 = 1 << 3;
const MIRRORED: u64 = (1 << 4) | (1 << 5) | (1 << 9) | (1 << 10);
const RAID10: u64 = 1 << 6;
const RAID5: u64 = 1 << 7;
const RAID6: u64 = 1 << 8;
const PROFILES: u64 = RAID0 | MIRRORED | RAID10 | RAID5 | RAID6;
const KNOWN: u64 = 7 | PROFILES;

/// A place on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stripe {
    /// The number of the device in the filesystem.
    pub(super) device: u64,
    /// Bytes from its start.
    pub(super) offset_bytes: u64,
}

/// Where bytes that follow each other lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    /// How many bytes lie in one piece, at least 1.
    pub(super) length_bytes: u64,
    places: [Stripe; MOST_COPIES],
    copies: usize,
}

impl Located {
    /// The copies.
    pub(super) fn copies(&self) -> &[Stripe] {
        self.places.get(..self.copies).unwrap_or_default()
    }
}

#[derive(Clone, Debug)]
struct Chunk {
    logical: u64,
    length_bytes: u64,
    stripe_bytes: NonZeroU64,
    profile: u64,
    copies: u64,
    stripes: Vec<Stripe>,
}

impl Chunk {
    fn parse(logical: u64, bytes: &[u8]) -> GuestResult<Self> {
        let object = || format!("chunk {logical}");
        let count = usize::from(le16(bytes, 44));
        let (length_bytes, stripe_bytes, kind) = (le64(bytes, 0), le64(bytes, 16), le64(bytes, 24));
        let stripes: Vec<Stripe> = bytes
            .get(STRIPES_AT..)
            .unwrap_or_default()
            .chunks_exact(STRIPE_BYTES)
            .take(count)
            .map(|stripe| Stripe { device: le64(stripe, 0), offset_bytes: le64(stripe, 8) })
            .collect();
        if count == 0 || stripes.len() != count {
            return Err(GuestError::damaged(object(), format!("{count} stripes in an item of {} bytes", bytes.len())));
        }
        if kind & !KNOWN != 0 {
            return Err(GuestError::unsupported(format!("a btrfs chunk of type {kind:#x}")));
        }
        let profile = kind & PROFILES;
        let sub_stripes = u64::from(le16(bytes, 46));
        let copies = match profile {
            0 | RAID0 | RAID5 | RAID6 => 1,
            RAID10 if sub_stripes > 0 && (count as u64).is_multiple_of(sub_stripes) => sub_stripes,
            _ if profile & MIRRORED == profile => count as u64,
            _ => return Err(GuestError::damaged(object(), format!("profile {profile:#x} with {sub_stripes} sub-stripes"))),
        };
        let parities = Self::parities_of(profile);
        let ends = logical.checked_add(length_bytes).is_some();
        let whole = NonZeroU64::new(stripe_bytes).filter(|bytes| bytes.is_power_of_two() && bytes.get() >= 512);
        let Some(stripe_bytes) = whole.filter(|_| ends && length_bytes > 0 && count as u64 > parities) else {
            return Err(GuestError::damaged(object(), format!("{length_bytes} bytes in {count} stripes of {stripe_bytes} bytes")));
        };
        Ok(Self { logical, length_bytes, stripe_bytes, profile, copies, stripes })
    }

    fn parities_of(profile: u64) -> u64 {
        match profile {
            RAID5 => 1,
            RAID6 => 2,
            _ => 0,
        }
    }

    /// The stripe of that number (counted round), `down` bytes from its start.
    fn place(&self, number: u64, down: u64) -> Stripe {
        let count = (self.stripes.len() as u64).max(1);
        let index = usize::try_from(number.checked_rem(count).unwrap_or(0)).unwrap_or(0);
        let stripe = self.stripes.get(index).copied().unwrap_or_default();
        Stripe { device: stripe.device, offset_bytes: stripe.offset_bytes.saturating_add(down) }
    }

    /// Row and column of the stripe that holds `within` (bytes from the chunk's start), counted over the columns that hold data, and
    /// the bytes from the stripe's start.
    fn cell(&self, within: u64) -> (u64, u64, u64) {
        let columns = match self.profile {
            RAID10 => (self.stripes.len() as u64).checked_div(self.copies),
            profile => (self.stripes.len() as u64).checked_sub(Self::parities_of(profile)),
        };
        let columns = columns.and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN);
        let number = within / self.stripe_bytes;
        (number / columns, number % columns, within % self.stripe_bytes)
    }

    fn locate(&self, logical: u64) -> Located {
        let within = logical.saturating_sub(self.logical);
        let left = self.length_bytes.saturating_sub(within);
        let mut places = [Stripe::default(); MOST_COPIES];
        let copies = usize::try_from(self.copies).unwrap_or(1).min(MOST_COPIES);
        if self.profile & !MIRRORED == 0 {
            for (number, place) in places.iter_mut().take(copies).enumerate() {
                *place = self.place(number as u64, within);
            }
            return Located { length_bytes: left, places, copies };
        }
        let (row, column, down) = self.cell(within);
        let below = row.saturating_mul(self.stripe_bytes.get()).saturating_add(down);
        let first = match self.profile {
            RAID10 => column.saturating_mul(self.copies),
            RAID5 | RAID6 => column.saturating_add(row),
            _ => column,
        };
        for (number, place) in places.iter_mut().take(copies).enumerate() {
            *place = self.place(first.saturating_add(number as u64), below);
        }
        Located { length_bytes: left.min(self.stripe_bytes.get().saturating_sub(down)), places, copies }
    }

    /// The places whose bytes, combined by exclusive or, are those of `logical`: the rest of the data in its row, and the parity.
    fn others_in_row(&self, logical: u64) -> Option<Vec<Stripe>> {
        let parities = Self::parities_of(self.profile);
        if parities == 0 {
            return None;
        }
        let data = (self.stripes.len() as u64).checked_sub(parities)?;
        let (row, column, down) = self.cell(logical.saturating_sub(self.logical));
        let below = row.saturating_mul(self.stripe_bytes.get()).saturating_add(down);
        // The first parity stands in the column after the last of data; a second one, of another kind, after it is not used.
        let columns = (0..=data).filter(|&other| other != column);
        Some(columns.map(|other| self.place(other.saturating_add(row), below)).collect())
    }
}

/// All chunks, in the order of their addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct ChunkMap {
    chunks: Vec<Chunk>,
    stripes: usize,
}

impl ChunkMap {
    /// The chunks of the superblock: pairs of a key and an item.
    pub(super) fn of_superblock(mut bytes: &[u8]) -> GuestResult<Self> {
        let mut map = Self::default();
        while let Some((head, rest)) = bytes.split_at_checked(Key::SIZE) {
            let key = Key::at(head, 0);
            let size = usize::from(le16(rest, 44)).saturating_mul(STRIPE_BYTES).saturating_add(STRIPES_AT);
            let Some((item, rest)) = rest.split_at_checked(size).filter(|_| key.kind == kind::CHUNK_ITEM) else {
                return Err(GuestError::damaged("the superblock", "its list of chunks ends within a chunk or has something else"));
            };
            map.add(key, item)?;
            bytes = rest;
        }
        Ok(map)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Adds a chunk that lies behind those that are there.
    pub(super) fn add(&mut self, key: Key, bytes: &[u8]) -> GuestResult<()> {
        if key.objectid != object::FIRST_CHUNK_TREE {
            return Err(GuestError::damaged("the chunk tree", format!("a chunk of object {}", key.objectid)));
        }
        let chunk = Chunk::parse(key.offset, bytes)?;
        self.stripes = self.stripes.saturating_add(chunk.stripes.len());
        if self.stripes > MOST_STRIPES {
            return Err(GuestError::limit("the chunk tree", format!("more than {MOST_STRIPES} stripes")));
        }
        let end = |chunk: &Chunk| chunk.logical.saturating_add(chunk.length_bytes);
        if self.chunks.last().is_some_and(|last| end(last) > chunk.logical) {
            return Err(GuestError::damaged(format!("chunk {}", chunk.logical), "it overlaps the one before"));
        }
        self.chunks.push(chunk);
        Ok(())
    }

    fn find(&self, logical: u64) -> GuestResult<&Chunk> {
        let after = self.chunks.partition_point(|chunk| chunk.logical <= logical);
        after
            .checked_sub(1)
            .and_then(|at| self.chunks.get(at))
            .filter(|chunk| logical.saturating_sub(chunk.logical) < chunk.length_bytes)
            .ok_or_else(|| GuestError::damaged(format!("address {logical}"), "it lies in no chunk"))
    }

    /// Where the bytes from `logical` on lie.
    pub(super) fn locate(&self, logical: u64) -> GuestResult<Located> {
        self.find(logical).map(|chunk| chunk.locate(logical))
    }

    /// What the bytes of `logical` can be made from where they cannot be read (raid5, raid6).
    pub(super) fn others_in_row(&self, logical: u64) -> GuestResult<Option<Vec<Stripe>>> {
        self.find(logical).map(|chunk| chunk.others_in_row(logical))
    }
}
