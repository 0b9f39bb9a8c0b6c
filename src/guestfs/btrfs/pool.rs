//! The devices of a filesystem as one address space: reading it copy by copy, and its tree blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::recent::Recent;
use super::super::{Device, GuestError, GuestResult};
use super::checksum::Checksum;
use super::chunk::{ChunkMap, Stripe};
use super::node::Node;
use super::superblock::{RootPointer, Superblock};

/// Parts of the cache of tree blocks.
const CACHE_PARTS: usize = 16;

/// A device that is there.
pub(super) struct Disk {
    pub(super) source: Device,
    /// Its place among those that were given to open.
    pub(super) index: u32,
    /// Whether it missed the last transactions, so that the others are believed first.
    pub(super) is_stale: bool,
}

/// Copies of anything, at most: four, or what parity gives.
pub(super) const MOST_COPIES: usize = 5;

/// Where bytes can be read.
enum Copy<'a> {
    Plain(&'a Disk, u64),
    /// Combined by exclusive or of these.
    Parity(Vec<Stripe>),
}

/// All devices and what lies where on them.
pub(super) struct Pool {
    pub(super) sector_bytes: u64,
    pub(super) checksum: Checksum,
    node_bytes: usize,
    metadata_uuid: [u8; 16],
    disks: BTreeMap<u64, Disk>,
    chunks: ChunkMap,
    nodes: Recent<u64, Node>,
}

impl Pool {
    /// The devices, with those chunks that the superblock names.
    pub(super) fn new(superblock: &Superblock, disks: BTreeMap<u64, Disk>, cache_bytes: usize) -> GuestResult<Self> {
        Ok(Self {
            sector_bytes: u64::from(superblock.sector_bytes),
            checksum: superblock.checksum,
            node_bytes: usize::try_from(superblock.node_bytes).unwrap_or(usize::MAX),
            metadata_uuid: superblock.metadata_uuid,
            disks,
            chunks: ChunkMap::of_superblock(&superblock.system_chunks)?,
            nodes: Recent::new(cache_bytes, CACHE_PARTS),
        })
    }

    /// Puts all chunks in the place of those of the superblock.
    pub(super) fn set_chunks(&mut self, chunks: ChunkMap) {
        self.chunks = chunks;
    }

    /// The copies of what lies at `logical`, the best first, and how many bytes of each lie in one piece.
    fn copies(&self, logical: u64) -> GuestResult<(u64, Vec<Copy<'_>>)> {
        let located = self.chunks.locate(logical)?;
        let there = |is_stale: bool| {
            located.copies().iter().filter_map(move |stripe| {
                let disk = self.disks.get(&stripe.device).filter(|disk| disk.is_stale == is_stale)?;
                Some(Copy::Plain(disk, stripe.offset_bytes))
            })
        };
        let mut copies: Vec<Copy<'_>> = there(false).chain(there(true)).collect();
        copies.extend(self.chunks.others_in_row(logical)?.map(Copy::Parity));
        Ok((located.length_bytes, copies))
    }

    fn read(&self, copy: &Copy<'_>, buffer: &mut [u8]) -> GuestResult<()> {
        match copy {
            Copy::Plain(disk, offset) => Ok(disk.source.read_at(*offset, buffer)?),
            Copy::Parity(stripes) => {
                buffer.fill(0);
                let mut part = vec![0; buffer.len()];
                for stripe in stripes {
                    let disk = self.disks.get(&stripe.device).ok_or_else(|| {
                        GuestError::unsupported(format!(
                            "btrfs raid5 or raid6 with more than one device missing (device {})",
                            stripe.device
                        ))
                    })?;
                    disk.source.read_at(stripe.offset_bytes, &mut part)?;
                    buffer.iter_mut().zip(&part).for_each(|(sum, byte)| *sum ^= byte);
                }
                Ok(())
            }
        }
    }

    /// Calls `read` with each piece of the range and its copies.
    fn each_piece(
        &self,
        mut logical: u64,
        mut buffer: &mut [u8],
        read: impl Fn(u64, &[Copy<'_>], &mut [u8]) -> GuestResult<()>,
    ) -> GuestResult<()> {
        while !buffer.is_empty() {
            let (length, copies) = self.copies(logical)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
            let (piece, rest) = std::mem::take(&mut buffer).split_at_mut(length);
            read(logical, &copies, piece)?;
            buffer = rest;
            logical = logical.saturating_add(length as u64);
        }
        Ok(())
    }

    /// Reads each piece from the first copy that can be read.
    pub(super) fn read_any(&self, logical: u64, buffer: &mut [u8]) -> GuestResult<()> {
        self.each_piece(logical, buffer, |logical, copies, piece| {
            let mut problem = None;
            for copy in copies {
                match self.read(copy, piece) {
                    Ok(()) => return Ok(()),
                    Err(error) => problem = Some(problem.unwrap_or(error)),
                }
            }
            Err(problem.unwrap_or_else(|| no_copy(logical)))
        })
    }

    /// Reads from the copies of one number, the best being 0.
    ///
    /// # Errors
    /// [`GuestError::NotFound`] where there are not that many copies; the device's.
    pub(super) fn read_copy(&self, logical: u64, buffer: &mut [u8], number: usize) -> GuestResult<()> {
        self.each_piece(logical, buffer, |logical, copies, piece| match copies.get(number) {
            Some(copy) => self.read(copy, piece),
            None => Err(GuestError::NotFound { object: format!("copy {number} of address {logical}") }),
        })
    }

    /// Device, offset on it and length of the piece at `logical`, as far as it can be read there.
    pub(super) fn place(&self, logical: u64) -> GuestResult<(u64, Option<(u32, u64)>)> {
        let (length, copies) = self.copies(logical)?;
        let place = copies.first().and_then(|copy| match copy {
            Copy::Plain(disk, offset) => Some((disk.index, *offset)),
            Copy::Parity(_) => None,
        });
        Ok((length, place))
    }

    /// A tree block, from the first copy that is what the pointer promises.
    pub(super) fn node(&self, pointer: RootPointer) -> GuestResult<Arc<Node>> {
        let RootPointer { logical, level, generation } = pointer;
        if let Some(node) = self.nodes.get(logical) {
            node.check(logical, level, generation)?;
            return Ok(node);
        }
        let mut problem = None;
        for number in 0..MOST_COPIES {
            let mut bytes = vec![0; self.node_bytes].into_boxed_slice();
            let read = match self.read_copy(logical, &mut bytes, number) {
                Err(GuestError::NotFound { .. }) => break,
                read => read,
            };
            let parsed = read.and_then(|()| {
                let damaged = |problem| GuestError::damaged(format!("tree block {logical}"), problem);
                let node = Node::parse(bytes, logical, &self.metadata_uuid, self.checksum).map_err(damaged)?;
                node.check(logical, level, generation)?;
                Ok(node)
            });
            match parsed {
                Ok(node) => {
                    let node = Arc::new(node);
                    self.nodes.put(logical, Arc::clone(&node), self.node_bytes);
                    return Ok(node);
                }
                Err(error) => problem = Some(problem.unwrap_or(error)),
            }
        }
        Err(problem.unwrap_or_else(|| no_copy(logical)))
    }
}

fn no_copy(logical: u64) -> GuestError {
    GuestError::damaged(format!("address {logical}"), "every device that has it is missing")
}
