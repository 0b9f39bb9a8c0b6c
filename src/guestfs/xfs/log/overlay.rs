//! What the log holds, laid over the device in sectors that are kept in memory.

use std::collections::BTreeMap;
use std::io;

use super::UNIT;
use crate::guestfs::{Device, GuestError, GuestResult};
use crate::io::ReadAt;

/// Sectors that are kept: 512 MiB, a quarter of the largest log. One that is in use holds each block many times.
const MOST_SECTORS: usize = 1 << 20;

/// The device with all sectors that the log changed in the place of older ones.
pub(in crate::guestfs::xfs) struct Overlay {
    device: Device,
    sectors: BTreeMap<u64, Box<[u8; UNIT]>>,
}

impl Overlay {
    pub(super) fn new(device: Device) -> Self {
        Self { device, sectors: BTreeMap::new() }
    }

    /// Whether any of these bytes were changed.
    pub(in crate::guestfs::xfs) fn touches(&self, at_bytes: u64, length: usize) -> bool {
        let end = at_bytes.saturating_add(length as u64).div_ceil(UNIT as u64);
        self.sectors.range(at_bytes / UNIT as u64..end).next().is_some()
    }

    /// Changes bytes.
    pub(super) fn write(&mut self, at_bytes: u64, bytes: &[u8]) -> GuestResult<()> {
        let mut at = at_bytes;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (at % UNIT as u64) as usize;
            let (head, tail) = rest.split_at(rest.len().min(UNIT - within));
            let sector = self.sector(at / UNIT as u64)?;
            for (target, source) in sector.iter_mut().skip(within).zip(head) {
                *target = *source;
            }
            at = at.saturating_add(head.len() as u64);
            rest = tail;
        }
        Ok(())
    }

    fn sector(&mut self, number: u64) -> GuestResult<&mut [u8; UNIT]> {
        if !self.sectors.contains_key(&number) {
            if self.sectors.len() >= MOST_SECTORS {
                let limit = format!("it changes more than {MOST_SECTORS} sectors; the filesystem can be read without replay");
                return Err(GuestError::limit("the log", limit));
            }
            let mut bytes = Box::new([0; UNIT]);
            let object = || format!("sector {number}, which the log changes,");
            self.device.read_at(number.saturating_mul(UNIT as u64), &mut bytes[..]).map_err(|error| GuestError::of_read(error, object))?;
            self.sectors.insert(number, bytes);
        }
        self.sectors.get_mut(&number).map(Box::as_mut).ok_or_else(|| GuestError::limit("the log", "no room"))
    }
}

impl ReadAt for Overlay {
    fn size_bytes(&self) -> u64 {
        self.device.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset_bytes, buffer)?;
        let end = offset_bytes.saturating_add(buffer.len() as u64);
        for (&number, sector) in self.sectors.range(offset_bytes / UNIT as u64..end.div_ceil(UNIT as u64)) {
            let start = number.saturating_mul(UNIT as u64);
            let source = sector.iter().skip(offset_bytes.saturating_sub(start) as usize);
            let target = buffer.iter_mut().skip(start.saturating_sub(offset_bytes) as usize);
            target.zip(source).for_each(|(target, source)| *target = *source);
        }
        Ok(())
    }
}
