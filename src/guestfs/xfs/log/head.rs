//! Which part of the log counts. Each unit begins with the number of the cycle in which it was written, so that the head is where that
//! number falls; the last record before it tells the tail. Records that were on their way when the power failed may be there in part.
//!
//! The steps are those of `xlog_find_tail` in `fs/xfs/xfs_log_recover.c` of Linux, so that the same record is taken for the last.

use super::record::{Broken, Head, MAGIC};
use super::{IN_FLIGHT, Log, MOST_RECORD_BYTES, UNIT, damaged};
use crate::guestfs::GuestResult;
use crate::guestfs::fields::{be32, byte};

/// Units that records on their way can take, and those of one record.
const IN_FLIGHT_UNITS: u32 = IN_FLIGHT * MOST_RECORD_BYTES / UNIT as u32;
const RECORD_UNITS: u32 = MOST_RECORD_BYTES / UNIT as u32;
/// The flag of an operation that tells that the filesystem was unmounted.
const UNMOUNTED: u8 = 0x20;

/// The records from `tail` up to `head` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guestfs::xfs) struct Range {
    pub(in crate::guestfs::xfs) tail: u32,
    pub(in crate::guestfs::xfs) head: u32,
}

/// Whether there is something to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guestfs::xfs) enum State {
    Clean,
    Dirty(Range),
}

impl Log {
    /// What is to be replayed.
    pub(in crate::guestfs::xfs) fn state(&self) -> GuestResult<State> {
        let Some(head) = self.find_head()? else { return Ok(State::Clean) };
        let last = self.last_header(head, head)?.ok_or_else(|| damaged("it has no record"))?;
        let first_look = self.head(last)?.map_err(Broken::into_error)?;
        if self.is_unmounted(head, last, &first_look)? {
            return Ok(State::Clean);
        }
        let (head, last) = self.without_torn(head, last, first_look.tail)?;
        let record = self.head(last)?.map_err(Broken::into_error)?;
        if self.is_unmounted(head, last, &record)? || record.tail == head {
            return Ok(State::Clean);
        }
        if record.tail >= self.units {
            return Err(damaged(format!("its tail {} lies past its end", record.tail)));
        }
        let tail = if self.is_header(record.tail)? { Some(record.tail) } else { self.next_header(record.tail, head)? };
        let tail = tail.ok_or_else(|| damaged("there is no record between its tail and its head"))?;
        Ok(State::Dirty(Range { tail, head }))
    }

    fn cycle(&self, unit: u32) -> GuestResult<u32> {
        let bytes = self.unit(unit)?;
        Ok(if be32(&bytes, 0) == MAGIC { be32(&bytes, 4) } else { be32(&bytes, 0) })
    }

    fn is_header(&self, unit: u32) -> GuestResult<bool> {
        Ok(be32(&self.unit(unit)?, 0) == MAGIC)
    }

    /// The first unit that is not of the newest records; `None` where nothing was ever written.
    fn find_head(&self) -> GuestResult<Option<u32>> {
        let (first, last) = (self.cycle(0)?, self.cycle(self.units - 1)?);
        if first == 0 {
            return Ok(None);
        }
        // The cycle that the units after the head have; those before it have the next.
        let (head, old) = match last {
            0 => (self.first_of_cycle(0)?, 0),
            _ if first == last => (self.units, last - 1),
            _ => (self.first_of_cycle(last)?, last),
        };
        let head = self.without_gaps(head, old)?;
        let head = self.at_record_end(head)?;
        Ok(Some(if head == self.units { 0 } else { head }))
    }

    /// Where units of this cycle begin, if all after one are of it and none before.
    fn first_of_cycle(&self, cycle: u32) -> GuestResult<u32> {
        let (mut before, mut at) = (0, self.units - 1);
        while at - before > 1 {
            let middle = before + (at - before) / 2;
            if self.cycle(middle)? == cycle { at = middle } else { before = middle }
        }
        Ok(at)
    }

    /// The first unit of a cycle among `count` from `start` on.
    fn find_cycle(&self, start: u32, count: u32, cycle: u32) -> GuestResult<Option<u32>> {
        for unit in start..start.saturating_add(count) {
            if self.cycle(unit)? == cycle {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    /// Records on their way can be written in any order: the head is the first unit of the old cycle.
    fn without_gaps(&self, head: u32, old: u32) -> GuestResult<u32> {
        let count = IN_FLIGHT_UNITS.min(self.units);
        if head >= count || old == 0 {
            let count = count.min(head);
            return Ok(self.find_cycle(head - count, count, old)?.unwrap_or(head));
        }
        let before_end = count - head;
        if let Some(found) = self.find_cycle(self.units - before_end, before_end, old.wrapping_sub(1))? {
            return Ok(found);
        }
        Ok(self.find_cycle(0, head, old)?.unwrap_or(head))
    }

    /// The head, unless it lies within a record: then where this begins.
    fn at_record_end(&self, head: u32) -> GuestResult<u32> {
        let start = head.saturating_sub(RECORD_UNITS);
        for unit in (start..head).rev() {
            if self.is_header(unit)? {
                return Ok(if self.units_of(unit)? == Some(head - unit) { head } else { unit });
            }
        }
        if start > 0 {
            return Err(damaged(format!("no record begins before its head {head}")));
        }
        let wanted = RECORD_UNITS.saturating_sub(head).min(self.units - head);
        for unit in (self.units - wanted..self.units).rev() {
            if self.is_header(unit)? {
                return Ok(if self.units_of(unit)? == Some(self.units - unit + head) { head } else { unit });
            }
        }
        Err(damaged(format!("no record begins before its head {head}")))
    }

    fn units_of(&self, unit: u32) -> GuestResult<Option<u32>> {
        Ok(self.head(unit)?.ok().map(|head| head.units()))
    }

    /// The last record that begins before `head`, not before `tail` (all round, where they are equal).
    fn last_header(&self, head: u32, tail: u32) -> GuestResult<Option<u32>> {
        let count = if head == tail { self.units } else { self.distance(tail, head) };
        for back in 1..=count {
            let unit = self.after(head, self.units - back);
            if self.is_header(unit)? {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    /// The first record that begins after `unit`, before `head`.
    pub(super) fn next_header(&self, unit: u32, head: u32) -> GuestResult<Option<u32>> {
        for forward in 1..self.distance(unit, head) {
            let unit = self.after(unit, forward);
            if self.is_header(unit)? {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    /// Whether the last record says that the filesystem was unmounted, and nothing else.
    fn is_unmounted(&self, head: u32, last: u32, record: &Head) -> GuestResult<bool> {
        if record.operations != 1 || self.after(last, record.units()) != head {
            return Ok(false);
        }
        // The first four bytes are a cycle number, the flags come after: number, length, client, flags.
        Ok(byte(&self.unit(self.after(last, record.head_units()))?, 9) & UNMOUNTED != 0)
    }

    /// Head and last record, the newest ones left out from the first that is not whole.
    fn without_torn(&self, head: u32, last: u32, tail: u32) -> GuestResult<(u32, u32)> {
        let tail = if tail < self.units { tail } else { head };
        let mut first = last;
        for _ in 1..IN_FLIGHT {
            if first == tail {
                break;
            }
            let Some(before) = self.last_header(first, tail)? else { break };
            first = before;
        }
        let Some(broken) = self.walk(Range { tail: first, head }, &mut |_| Ok(()))? else { return Ok((head, last)) };
        match self.last_header(broken.unit, tail)? {
            Some(last) if broken.unit != tail => Ok((broken.unit, last)),
            _ => Err(broken.into()),
        }
    }
}

impl Broken {
    fn into_error(self) -> crate::guestfs::GuestError {
        self.into()
    }
}
