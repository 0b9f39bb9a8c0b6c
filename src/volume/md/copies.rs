//! Where raid10 keeps the copies of a chunk: near each other, far apart, or shifted by one row.

use super::geometry::{MOST_BYTES, Place, Plan, Refusal, check_chunk};

/// Near copies lie beside each other; far copies repeat all of it further on, turned by one member each.
#[derive(Debug)]
pub(super) struct StripedCopies {
    pub(super) chunk_bytes: u64,
    devices: usize,
    pub(super) near: usize,
    pub(super) far: usize,
    /// Far copies follow chunk by chunk ("offset") rather than in the next part of the member.
    offset: bool,
    /// Distance of the far copies on a member.
    stride_bytes: u64,
    /// Far copies turn within groups of this many members; the last group takes the rest as well.
    set: usize,
}

impl StripedCopies {
    pub(super) fn laid_out(plan: &Plan<'_>) -> Result<(Option<u64>, Self), Refusal> {
        check_chunk(plan.chunk_bytes)?;
        let (layout, devices) = (plan.layout, plan.devices);
        let (near, far) = ((layout & 255) as usize, (layout >> 8 & 255) as usize);
        if near == 0 || far == 0 || near * far > devices {
            return Err(Refusal::Damaged(format!("it keeps {near} near and {far} far copies on {devices} devices")));
        }
        if near > 1 && far > 1 {
            // No tool makes these, and Linux lays them out unlike its manual where near copies wrap around.
            return Err(Refusal::Unsupported("raid10 with near and far copies at once".to_owned()));
        }
        let set = match layout >> 17 {
            0 => devices,
            1 => devices / far,
            2 => near * far,
            _ => return Err(Refusal::Unsupported(format!("layout {layout:#x} of raid10"))),
        };
        let offset = layout & 1 << 16 != 0;
        let chunks = plan.used_bytes / plan.chunk_bytes / far as u64;
        let chunks = chunks.checked_mul(devices as u64).map(|chunks| chunks / near as u64);
        let size_bytes = chunks.and_then(|chunks| chunks.checked_mul(plan.chunk_bytes)).filter(|&size| size <= MOST_BYTES);
        let per_member = chunks.unwrap_or(0).saturating_mul((near * far) as u64).div_ceil(devices as u64);
        let stride = if offset { 1 } else { per_member / far as u64 };
        let stride_bytes = stride.saturating_mul(plan.chunk_bytes);
        Ok((size_bytes, Self { chunk_bytes: plan.chunk_bytes, devices, near, far, offset, stride_bytes, set }))
    }

    pub(super) fn place(&self, at: u64, copy: usize) -> Place {
        let (chunk, in_chunk) = (at / self.chunk_bytes, at % self.chunk_bytes);
        let (near, far) = (copy / self.far, (copy % self.far) as u64);
        let position = chunk * self.near as u64 + near as u64;
        let devices = self.devices as u64;
        let (row, role) = (position / devices, (position % devices) as usize);
        let row = if self.offset { row * self.far as u64 } else { row };
        let offset_bytes = row * self.chunk_bytes + in_chunk + far * self.stride_bytes;
        Place { role: self.turned(role, far as usize), offset_bytes, length_bytes: self.chunk_bytes - in_chunk }
    }

    /// The member with the `far`th copy of what `role` holds.
    fn turned(&self, role: usize, far: usize) -> usize {
        let sets = self.devices / self.set;
        let number = (role / self.set).min(sets - 1);
        let first = number * self.set;
        let members = if number + 1 == sets { self.devices - first } else { self.set };
        first + (role - first + far) % members
    }
}
