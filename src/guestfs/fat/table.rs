//! The file allocation table: for each cluster the one that follows it.

use super::super::chain::{Chain, Link, Table};
use super::super::fields::{le16, le32};
use super::super::pages::Pages;
use super::boot::Geometry;
use crate::guestfs::GuestResult;

/// Width of the entries of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// FAT12: three bytes hold two entries.
    Bits12,
    /// FAT16.
    Bits16,
    /// FAT32: 28 bits are used.
    Bits32,
}

impl Width {
    /// Bits of an entry.
    pub(super) fn bits(self) -> u64 {
        match self {
            Self::Bits12 => 12,
            Self::Bits16 => 16,
            Self::Bits32 => 32,
        }
    }

    /// The first number that ends a chain; the one before marks a bad cluster.
    fn end(self) -> u32 {
        match self {
            Self::Bits12 => 0xff8,
            Self::Bits16 => 0xfff8,
            Self::Bits32 => 0x0fff_fff8,
        }
    }
}

/// The table of a volume, for one walk.
pub(super) struct Walk<'a> {
    table: Table<'a>,
    width: Width,
}

impl<'a> Walk<'a> {
    /// A walk that has read nothing.
    pub(super) fn new(pages: &'a Pages, geometry: &'a Geometry) -> Self {
        Self { table: Table::new(pages, &geometry.tables, geometry.table_bytes), width: geometry.width }
    }

    /// The number that the table has for a cluster.
    ///
    /// # Errors
    /// The device's, where no copy can be read there.
    pub(super) fn number(&mut self, cluster: u32) -> GuestResult<u32> {
        let bytes = self.table.around(u64::from(cluster) * self.width.bits() / 8)?;
        Ok(match self.width {
            Width::Bits12 => u32::from(le16(bytes, 0) >> (cluster % 2 * 4)) & 0xfff,
            Width::Bits16 => u32::from(le16(bytes, 0)),
            Width::Bits32 => le32(bytes, 0) & 0x0fff_ffff,
        })
    }

    /// What follows a cluster.
    ///
    /// # Errors
    /// As [`Walk::number`].
    pub(super) fn link(&mut self, cluster: u32) -> GuestResult<Link> {
        let end = self.width.end();
        Ok(match self.number(cluster)? {
            0 => Link::Free,
            number if number >= end => Link::End,
            number if number == end - 1 => Link::Bad,
            number => Link::Next(number),
        })
    }
}

/// Follows the chain from `first`, at most `most_bytes` far.
///
/// # Errors
/// The device's.
pub(super) fn chain(pages: &Pages, geometry: &Geometry, first: u32, most_bytes: u64) -> GuestResult<Chain> {
    let mut walk = Walk::new(pages, geometry);
    Chain::follow(&geometry.clusters, first, most_bytes, |cluster| walk.link(cluster))
}

/// Clusters in use, counted in the whole table.
///
/// # Errors
/// The device's.
pub(super) fn count_used(pages: &Pages, geometry: &Geometry) -> GuestResult<u64> {
    let mut walk = Walk::new(pages, geometry);
    let mut used = 0_u64;
    for cluster in (2..).take(usize::try_from(geometry.clusters.count).unwrap_or(0)) {
        used += u64::from(walk.number(cluster)? != 0);
    }
    Ok(used)
}
