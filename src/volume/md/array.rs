//! Reads of an array: cut at chunks, put together by member, computed from the rest where a member is missing or fails.

use std::io;

use super::geometry::Geometry;
use super::parity::{self, Factor};
use super::stripes::Stripe;
use crate::io::ReadAt;
use crate::units::{Extent, ExtentSet};
use crate::volume::{AnyLayer, Layer, Origin};

/// Pieces at least this long are read straight into the caller's buffer; shorter ones are gathered by member first.
const LONG_BYTES: u64 = 128 << 10;
/// Most bytes that are gathered at once.
const GATHERED_BYTES: usize = 2 << 20;
/// Most pieces of which the origins are put together at once.
const ORIGINS_AT_ONCE: usize = 4096;
/// Sizes in which what cannot be read as a whole is tried, each where the one before failed.
const RECOVERED_BYTES: [usize; 3] = [256 << 10, 4096, 512];

/// A member at its place.
pub(super) struct Slot {
    pub(super) layer: AnyLayer,
    /// Where the array's bytes begin on it.
    pub(super) data_offset_bytes: u64,
    /// How many of them are there and up to date.
    pub(super) trusted_bytes: u64,
    /// Ranges of the device that do not hold what they should.
    pub(super) bad: ExtentSet,
}

impl Slot {
    /// Whether the byte at an offset of the data can be used, and for how many bytes this goes on.
    fn usable(&self, offset_bytes: u64) -> (bool, u64) {
        let Some(left) = self.trusted_bytes.checked_sub(offset_bytes).filter(|&left| left > 0) else { return (false, u64::MAX) };
        let start = self.data_offset_bytes.saturating_add(offset_bytes);
        match self.bad.within(Extent::between(start, start.saturating_add(left))).next() {
            Some(bad) if bad.offset() == start => (false, bad.length()),
            Some(bad) => (true, bad.offset() - start),
            None => (true, left),
        }
    }

    fn is_usable(&self, offset_bytes: u64, length: usize) -> bool {
        matches!(self.usable(offset_bytes), (true, usable) if usable >= length as u64)
    }

    fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.layer.read_at(self.data_offset_bytes.saturating_add(offset_bytes), buffer)
    }
}

/// An array put together.
pub(super) struct ArrayLayer {
    pub(super) geometry: Geometry,
    /// By role.
    pub(super) slots: Vec<Option<Slot>>,
}

/// A range of the array that is on one member, or on none.
#[derive(Clone, Copy)]
struct Piece {
    /// In the array.
    at: u64,
    /// The member to read; `None` where it must be computed from others.
    role: Option<usize>,
    /// Where on that member.
    offset_bytes: u64,
    length_bytes: u64,
}

impl Piece {
    fn end(&self) -> u64 {
        self.at + self.length_bytes
    }
}

impl ReadAt for ArrayLayer {
    fn size_bytes(&self) -> u64 {
        self.geometry.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).filter(|&end| end <= self.size_bytes());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut at = offset_bytes;
        while at < end {
            let first = self.piece(at, end - at)?;
            if first.length_bytes >= LONG_BYTES || first.end() == end {
                self.read_piece(first, take(&mut buffer, first.length_bytes))?;
                at = first.end();
            } else {
                let pieces = self.gather(first, end)?;
                let gathered = pieces.last().map_or(at, Piece::end);
                self.read_gathered(at, pieces, take(&mut buffer, gathered - at))?;
                at = gathered;
            }
        }
        Ok(())
    }
}

/// The first bytes of a buffer, which then begins after them.
fn take<'a>(buffer: &mut &'a mut [u8], length_bytes: u64) -> &'a mut [u8] {
    let length = usize::try_from(length_bytes).unwrap_or(usize::MAX).min(buffer.len());
    let (head, rest) = std::mem::take(buffer).split_at_mut(length);
    *buffer = rest;
    head
}

impl ArrayLayer {
    /// The longest piece at `at`, at most `most_bytes` long.
    fn piece(&self, at: u64, most_bytes: u64) -> io::Result<Piece> {
        let mut lost_bytes = most_bytes;
        for copy in 0..self.geometry.copies() {
            let place = self.geometry.place(at, copy).ok_or(io::ErrorKind::UnexpectedEof)?;
            lost_bytes = lost_bytes.min(place.length_bytes);
            let Some(slot) = self.slot(place.role) else { continue };
            let (is_usable, bytes) = slot.usable(place.offset_bytes);
            if is_usable {
                let length_bytes = place.length_bytes.min(bytes).min(most_bytes);
                return Ok(Piece { at, role: Some(place.role), offset_bytes: place.offset_bytes, length_bytes });
            }
            lost_bytes = lost_bytes.min(bytes);
        }
        Ok(Piece { at, role: None, offset_bytes: 0, length_bytes: lost_bytes })
    }

    fn slot(&self, role: usize) -> Option<&Slot> {
        self.slots.get(role)?.as_ref()
    }

    /// The short pieces that follow a first one.
    fn gather(&self, first: Piece, end: u64) -> io::Result<Vec<Piece>> {
        let end = end.min(first.at + GATHERED_BYTES as u64);
        let mut pieces = vec![first];
        let mut at = first.end();
        while at < end {
            let piece = self.piece(at, end - at)?;
            if piece.length_bytes >= LONG_BYTES {
                break;
            }
            pieces.push(piece);
            at = piece.end();
        }
        Ok(pieces)
    }

    fn read_piece(&self, piece: Piece, buffer: &mut [u8]) -> io::Result<()> {
        match piece.role.and_then(|role| self.slot(role)) {
            Some(slot) => match slot.read(piece.offset_bytes, buffer) {
                Ok(()) => Ok(()),
                Err(error) => self.recover(piece.at, buffer, &RECOVERED_BYTES).map_err(|_| error),
            },
            None => self.recover(piece.at, buffer, &RECOVERED_BYTES),
        }
    }

    /// Reads pieces that make up the range of `buffer` from `start` on, those that touch on a member with one read.
    fn read_gathered(&self, start: u64, mut pieces: Vec<Piece>, buffer: &mut [u8]) -> io::Result<()> {
        pieces.sort_unstable_by_key(|piece| (piece.role, piece.offset_bytes));
        let mut scratch = Vec::new();
        for run in pieces.chunk_by(touch) {
            let slot = run.first().and_then(|first| Some((first, self.slot(first.role?)?)));
            let gathered = match slot {
                Some((first, slot)) if run.len() > 1 => {
                    let bytes: u64 = run.iter().map(|piece| piece.length_bytes).sum();
                    scratch.resize(usize::try_from(bytes).unwrap_or(0), 0);
                    slot.read(first.offset_bytes, &mut scratch).is_ok()
                }
                _ => false,
            };
            let mut read = scratch.as_slice();
            for piece in run {
                let target = part(buffer, piece.at - start, piece.length_bytes)?;
                if let Some((bytes, rest)) = read.split_at_checked(target.len()).filter(|_| gathered) {
                    target.copy_from_slice(bytes);
                    read = rest;
                } else {
                    self.read_piece(*piece, target)?;
                }
            }
        }
        Ok(())
    }

    /// Fills `buffer` from whatever copy or parity there is, in pieces of the first of `sizes`, and those that fail in the next smaller.
    fn recover(&self, start: u64, buffer: &mut [u8], sizes: &[usize]) -> io::Result<()> {
        let Some((&size, smaller)) = sizes.split_first() else { return Err(lost()) };
        let mut at = start;
        for block in buffer.chunks_mut(size) {
            if self.recover_whole(at, block).is_err() {
                self.recover(at, block, smaller)?;
            }
            at += block.len() as u64;
        }
        Ok(())
    }

    /// Fills `buffer`, which is in one chunk, from one copy or one computation.
    fn recover_whole(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        for copy in 0..self.geometry.copies() {
            let place = self.geometry.place(at, copy).ok_or_else(lost)?;
            if self.read_whole(place.role, place.offset_bytes, buffer).is_ok() {
                return Ok(());
            }
        }
        match (self.geometry.stripe(at), self.geometry.place(at, 0)) {
            (Some(stripe), Some(place)) => self.rebuild(stripe, place.role, place.offset_bytes, buffer),
            _ => Err(lost()),
        }
    }

    fn read_whole(&self, role: usize, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let slot = self.slot(role).filter(|slot| slot.is_usable(offset_bytes, buffer.len())).ok_or_else(lost)?;
        slot.read(offset_bytes, buffer)
    }

    /// Computes what `target`, a member with data, holds at an offset.
    fn rebuild(&self, stripe: Stripe, target: usize, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut scratch = vec![0; buffer.len()];
        let mut failed = Vec::new();
        buffer.fill(0);
        for role in stripe.data().map(|(_, role)| role).filter(|&role| role != target).chain([stripe.p]) {
            match self.read_whole(role, offset_bytes, &mut scratch) {
                Ok(()) => parity::add(buffer, &scratch),
                Err(_) => failed.push(role),
            }
        }
        match (failed.as_slice(), stripe.q) {
            ([], _) => Ok(()),
            (&[other], Some(q)) => {
                let mut q_sum = vec![0; buffer.len()];
                self.read_whole(q, offset_bytes, &mut q_sum)?;
                let mut powers = [0, 0];
                for (exponent, role) in stripe.data() {
                    match role {
                        _ if role == target => powers[0] = parity::power(exponent),
                        _ if role == other => powers[1] = parity::power(exponent),
                        _ => {
                            self.read_whole(role, offset_bytes, &mut scratch)?;
                            Factor::new(parity::power(exponent)).add_scaled(&mut q_sum, &scratch);
                        }
                    }
                }
                // With the target T, the other O, and what the sums leave: T + O = P and g^t T + g^o O = Q. Without O, which is then the
                // parity itself, Q alone decides, and `powers[1]` is 0.
                Factor::new(powers[1]).add_scaled(&mut q_sum, buffer);
                Factor::new(parity::inverse(powers[0] ^ powers[1])).scale(&mut q_sum);
                buffer.copy_from_slice(&q_sum);
                Ok(())
            }
            _ => Err(lost()),
        }
    }

    /// The members that decide a piece, each as a piece of it.
    fn sources(&self, piece: Piece, into: &mut Vec<Piece>) {
        if piece.role.is_some() {
            into.push(piece);
            return;
        }
        let (Some(stripe), Some(place)) = (self.geometry.stripe(piece.at), self.geometry.place(piece.at, 0)) else { return };
        let others = (0..stripe.devices()).filter(|&role| self.slot(role).is_some());
        into.extend(others.map(|role| Piece { role: Some(role), offset_bytes: place.offset_bytes, ..piece }));
    }
}

/// Whether a piece continues another on the same member.
fn touch(one: &Piece, next: &Piece) -> bool {
    one.role.is_some() && one.role == next.role && one.offset_bytes + one.length_bytes == next.offset_bytes
}

fn part(buffer: &mut [u8], start: u64, length_bytes: u64) -> io::Result<&mut [u8]> {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(length_bytes).unwrap_or(usize::MAX));
    buffer.get_mut(start..end).ok_or_else(lost)
}

fn lost() -> io::Error {
    io::Error::other("too few members of the RAID array hold this range")
}

impl Layer for ArrayLayer {
    fn origins(&self, range: Extent, visit: &mut dyn FnMut(Origin)) -> io::Result<()> {
        let end = range.end().min(self.size_bytes());
        let mut at = range.offset();
        let mut pieces = Vec::new();
        while at < end {
            let piece = self.piece(at, end - at)?;
            self.sources(piece, &mut pieces);
            at = piece.end();
            if at < end && pieces.len() < ORIGINS_AT_ONCE {
                continue;
            }
            pieces.sort_unstable_by_key(|piece| (piece.role, piece.offset_bytes));
            for (role, extent) in merged(&pieces) {
                let Some(slot) = self.slot(role) else { continue };
                let start = slot.data_offset_bytes.saturating_add(extent.offset());
                slot.layer.origins(Extent::between(start, start.saturating_add(extent.length())), visit)?;
            }
            pieces.clear();
        }
        Ok(())
    }
}

/// The ranges of members that sorted pieces cover.
fn merged(pieces: &[Piece]) -> Vec<(usize, Extent)> {
    let mut ranges: Vec<(usize, Extent)> = Vec::new();
    for piece in pieces {
        let Some(role) = piece.role else { continue };
        let end = piece.offset_bytes + piece.length_bytes;
        match ranges.last_mut() {
            Some((last, extent)) if *last == role && piece.offset_bytes <= extent.end() => {
                *extent = Extent::between(extent.offset(), extent.end().max(end));
            }
            _ => ranges.push((role, Extent::between(piece.offset_bytes, end))),
        }
    }
    ranges
}
