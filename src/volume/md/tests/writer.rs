//! Writes members of arrays: superblocks field by field, data from pictures of the layouts. Shares nothing with the reader.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::super::{Array, assemble, identify};
use crate::io::ReadAt;
use crate::units::Extent;
use crate::volume::{AnyLayer, Layer, Origin, VolumeResult};

/// What an array is like. Bytes.
#[derive(Clone)]
pub(super) struct Spec {
    pub(super) version: &'static str,
    pub(super) level: i32,
    pub(super) layout: u32,
    pub(super) chunk: usize,
    /// What the array uses of each member.
    pub(super) used: usize,
    /// Rows of chunks by member: the number of the data chunk, or "P", "Q", or "-" for nothing. Repeated down the members, with numbers
    /// going on.
    pub(super) picture: &'static str,
    pub(super) devices: usize,
    pub(super) big_endian: bool,
    pub(super) events: u64,
    pub(super) features: u32,
    pub(super) resync: u64,
}

impl Spec {
    pub(super) fn new(level: i32, layout: u32, devices: usize, picture: &'static str) -> Self {
        let (chunk, used, version) = (4096, 64 * 4096, "1.2");
        let (big_endian, events, features, resync) = (false, 20, 0, u64::MAX);
        Self { version, level, layout, chunk, used, picture, devices, big_endian, events, features, resync }
    }

    fn rows(&self) -> Vec<Vec<&str>> {
        self.picture.split('/').map(|row| row.split_whitespace().collect()).collect()
    }

    /// Contents of the array that tell where they are from.
    pub(super) fn data(&self) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 56) as u8
        };
        (0..self.data_chunks() * self.chunk).map(|_| next()).collect()
    }

    /// How many different chunks of data the picture has for the used size.
    fn data_chunks(&self) -> usize {
        self.places().len()
    }

    /// Chunk number to (member, row) of each copy.
    fn places(&self) -> BTreeMap<usize, Vec<(usize, usize)>> {
        let rows = self.rows();
        let per_turn = rows.iter().flatten().filter_map(|cell| cell.parse::<usize>().ok()).max().expect("numbers") + 1;
        let mut places: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for row in 0..self.used / self.chunk / rows.len() * rows.len() {
            for (member, cell) in rows[row % rows.len()].iter().enumerate() {
                if let Ok(number) = cell.parse::<usize>() {
                    places.entry(row / rows.len() * per_turn + number).or_default().push((member, row));
                }
            }
        }
        places
    }

    /// The data areas of all members.
    pub(super) fn spread(&self, data: &[u8]) -> Vec<Vec<u8>> {
        let mut members = vec![vec![0u8; self.used]; self.devices];
        for (number, places) in self.places() {
            for (member, row) in places {
                members[member][row * self.chunk..][..self.chunk].copy_from_slice(&data[number * self.chunk..][..self.chunk]);
            }
        }
        let rows = self.rows();
        for row in 0..self.used / self.chunk {
            let cells = &rows[row % rows.len()];
            let find = |name: &str| cells.iter().position(|cell| *cell == name);
            let (p, q) = (find("P"), find("Q"));
            // Data of a stripe count from the member after the second parity, around.
            let order = (0..self.devices).map(|step| (q.map_or(0, |q| q + 1) + step) % self.devices);
            let order: Vec<usize> = order.filter(|&member| Some(member) != p && Some(member) != q).collect();
            (row * self.chunk..(row + 1) * self.chunk).for_each(|at| {
                if let Some(p) = p {
                    members[p][at] = order.iter().fold(0, |sum, &member| sum ^ members[member][at]);
                }
                if let Some(q) = q {
                    // Horner: the last datum is doubled as often as it has others before it.
                    members[q][at] = order.iter().rev().fold(0, |sum, &member| doubled(sum) ^ members[member][at]);
                }
            });
        }
        members
    }

    /// Whole members: superblock and data.
    pub(super) fn members(&self, areas: &[Vec<u8>]) -> Vec<Vec<u8>> {
        areas.iter().enumerate().map(|(role, area)| self.member(role as u16, area)).collect()
    }

    /// One member.
    pub(super) fn member(&self, role: u16, area: &[u8]) -> Vec<u8> {
        if self.version == "0.90" {
            let mut device = area.to_vec();
            device.resize(area.len().div_ceil(65536) * 65536, 0);
            device.extend(self.superblock_old(u32::from(role)));
            device.resize(device.len() + 65536 - 4096, 0);
            return device;
        }
        let (at, data_offset, size) = match self.version {
            "1.0" => (area.len() + 8192, 0, area.len() + 16384),
            "1.1" => (0, 65536, area.len() + 65536),
            _ => (4096, 65536, area.len() + 65536),
        };
        let mut device = vec![0; size];
        device[data_offset..data_offset + area.len()].copy_from_slice(area);
        let superblock = self.superblock(role, at, data_offset, area.len());
        device[at..at + superblock.len()].copy_from_slice(&superblock);
        device
    }

    fn superblock(&self, role: u16, at: usize, data_offset: usize, data_bytes: usize) -> Vec<u8> {
        let mut block = vec![0u8; 256 + 2 * 128];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &0xa92b_4efcu32.to_le_bytes());
        put(4, &1u32.to_le_bytes());
        put(8, &self.features.to_le_bytes());
        put(16, b"0123456789abcdef");
        put(32, b"host:data");
        put(64, &1_700_000_000u64.to_le_bytes());
        put(72, &self.level.to_le_bytes());
        put(76, &self.layout.to_le_bytes());
        put(80, &(self.used as u64 / 512).to_le_bytes());
        put(88, &(self.chunk as u32 / 512).to_le_bytes());
        put(92, &(self.devices as u32).to_le_bytes());
        put(128, &(data_offset as u64 / 512).to_le_bytes());
        put(136, &(data_bytes as u64 / 512).to_le_bytes());
        put(144, &(at as u64 / 512).to_le_bytes());
        put(160, &u32::from(role).to_le_bytes());
        put(168, &[role as u8 + 1; 16]);
        put(192, &1_700_000_100u64.to_le_bytes());
        put(200, &self.events.to_le_bytes());
        put(208, &self.resync.to_le_bytes());
        put(220, &128u32.to_le_bytes());
        for number in 0..128u16 {
            let role = if usize::from(number) < self.devices { number } else { 0xffff };
            put(256 + 2 * usize::from(number), &role.to_le_bytes());
        }
        seal(&mut block);
        block
    }

    fn superblock_old(&self, role: u32) -> Vec<u8> {
        let mut words = vec![0u32; 1024];
        let wide = |value: u64| if self.big_endian { [(value >> 32) as u32, value as u32] } else { [value as u32, (value >> 32) as u32] };
        words[0] = 0xa92b_4efc;
        (words[1], words[2]) = (0, 90);
        (words[5], words[13], words[14], words[15]) = (0x3031_3233, 0x3435_3637, 0x3839_6162, 0x6364_6566);
        words[6] = 1_700_000_000;
        words[7] = self.level.cast_unsigned();
        words[8] = self.used as u32 / 1024;
        (words[9], words[10], words[11]) = (self.devices as u32, self.devices as u32, 127);
        words[33] = u32::from(self.resync == u64::MAX);
        (words[34], words[35]) = (self.devices as u32, self.devices as u32);
        words[39..41].copy_from_slice(&wide(self.events));
        (words[64], words[65]) = (self.layout, self.chunk as u32);
        for number in 0..self.devices as u32 {
            words[128 + 32 * number as usize..][..5].copy_from_slice(&[number, 8, 16 * number, number, 6]);
        }
        words[992..997].copy_from_slice(&[role, 8, 16 * role, role, 6]);
        let sum: u64 = words.iter().map(|&word| u64::from(word)).sum();
        words[38] = (sum as u32).wrapping_add((sum >> 32) as u32);
        words.iter().flat_map(|word| if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() }).collect()
    }
}

fn doubled(byte: u8) -> u8 {
    byte << 1 ^ if byte & 128 == 0 { 0 } else { 0x1d }
}

/// Puts the checksum into a superblock of 1.x that is as long as its table says.
pub(super) fn seal(block: &mut [u8]) {
    block[216..220].fill(0);
    let sum: u64 = block.chunks(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().expect("whole words")))).sum();
    let sum = (sum as u32).wrapping_add((sum >> 32) as u32);
    block[216..220].copy_from_slice(&sum.to_le_bytes());
}

/// A disk in memory that counts reads and fails in given ranges.
pub(super) struct Device {
    pub(super) bytes: Vec<u8>,
    pub(super) disk: u32,
    pub(super) reads: AtomicUsize,
    pub(super) broken: Mutex<Vec<std::ops::Range<u64>>>,
}

impl Device {
    pub(super) fn new(bytes: Vec<u8>, disk: usize) -> Arc<Self> {
        Arc::new(Self { bytes, disk: disk as u32, reads: AtomicUsize::new(0), broken: Mutex::default() })
    }
}

impl ReadAt for Device {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let end = offset_bytes.checked_add(buffer.len() as u64).filter(|&end| end <= self.size_bytes());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if self.broken.lock().expect("lock").iter().any(|broken| broken.start < end && offset_bytes < broken.end) {
            return Err(io::Error::other("broken"));
        }
        buffer.copy_from_slice(&self.bytes[offset_bytes as usize..end as usize]);
        Ok(())
    }
}

impl Layer for Device {
    fn origins(&self, range: Extent, visit: &mut dyn FnMut(Origin)) -> io::Result<()> {
        visit(Origin { disk: self.disk, range });
        Ok(())
    }
}

/// Identifies and assembles disks; those that are `None` are not there.
pub(super) fn assembled(disks: &[Option<Arc<Device>>]) -> VolumeResult<Array> {
    let mut members = Vec::new();
    for disk in disks.iter().flatten() {
        let member = identify(disk.as_ref())?.expect("a member");
        members.push((member, Arc::clone(disk) as AnyLayer));
    }
    assemble(members)
}

/// Disks of these members.
pub(super) fn disks(members: Vec<Vec<u8>>) -> Vec<Option<Arc<Device>>> {
    members.into_iter().enumerate().map(|(disk, bytes)| Some(Device::new(bytes, disk))).collect()
}

/// All of a layer.
pub(super) fn contents(layer: &AnyLayer) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; layer.size_bytes() as usize];
    layer.read_at(0, &mut bytes)?;
    Ok(bytes)
}
