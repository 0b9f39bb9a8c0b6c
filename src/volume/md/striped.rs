//! Where raid0 keeps a chunk: striped over members that may be of different sizes.

use super::geometry::{MOST_BYTES, Place, Plan, Refusal, rounded};

/// Members of different sizes make zones: in each all members that are longer than the zones before take part.
#[derive(Debug)]
pub(super) struct Striped {
    pub(super) chunk_bytes: u64,
    zones: Vec<Zone>,
    /// Whether the chunks' numbers count from the start of the array in every zone, as Linux before 3.14 had it.
    numbers_from_start: bool,
}

#[derive(Debug)]
struct Zone {
    start_bytes: u64,
    end_bytes: u64,
    /// Where the zone begins on its members.
    member_bytes: u64,
    roles: Vec<usize>,
}

impl Striped {
    pub(super) fn laid_out(plan: &Plan<'_>) -> Result<(Option<u64>, Self), Refusal> {
        let chunk_bytes = plan.chunk_bytes;
        if chunk_bytes == 0 || !chunk_bytes.is_multiple_of(512) {
            return Err(Refusal::Damaged(format!("its chunks have {chunk_bytes} bytes")));
        }
        let sizes: Vec<u64> = plan.member_bytes.iter().map(|&bytes| rounded(bytes, chunk_bytes)).collect();
        let size_bytes = sizes.iter().try_fold(0u64, |sum, &size| sum.checked_add(size)).filter(|&size| size <= MOST_BYTES);
        let size_bytes = size_bytes.ok_or_else(|| Refusal::Damaged("its members are too large".to_owned()))?;
        let mut zones: Vec<Zone> = Vec::new();
        let (mut start_bytes, mut member_bytes) = (0, 0);
        while start_bytes < size_bytes {
            let roles: Vec<usize> = (0..sizes.len()).filter(|&role| sizes.get(role).is_some_and(|&size| size > member_bytes)).collect();
            let next = roles.iter().filter_map(|&role| sizes.get(role)).min().copied().unwrap_or(member_bytes);
            let end_bytes = start_bytes + (next - member_bytes) * roles.len() as u64;
            zones.push(Zone { start_bytes, end_bytes, member_bytes, roles });
            (start_bytes, member_bytes) = (end_bytes, next);
        }
        let numbers_from_start = match plan.layout {
            _ if zones.len() < 2 => false,
            1 if plan.raid0_layout => true,
            2 if plan.raid0_layout => false,
            _ => return Err(Refusal::Unsupported("raid0 over devices of different sizes whose layout is not recorded".to_owned())),
        };
        Ok((Some(size_bytes), Self { chunk_bytes, zones, numbers_from_start }))
    }

    pub(super) fn place(&self, at: u64) -> Option<Place> {
        let zone = self.zones.get(self.zones.partition_point(|zone| zone.end_bytes <= at))?;
        let (members, within) = (zone.roles.len() as u64, at - zone.start_bytes);
        let chunk = within / self.chunk_bytes;
        let number = if self.numbers_from_start { at / self.chunk_bytes } else { chunk };
        let role = *zone.roles.get(usize::try_from(number % members).ok()?)?;
        let in_chunk = at % self.chunk_bytes;
        let offset_bytes = zone.member_bytes + chunk / members * self.chunk_bytes + in_chunk;
        Some(Place { role, offset_bytes, length_bytes: self.chunk_bytes - in_chunk })
    }
}
