//! The two headers of LUKS2: a fixed part with a checksum over both parts, and text in JSON.

use super::hash::Hash;
use super::{Header, damaged, json, text};
use crate::io::ReadAt;
use crate::volume::{VolumeError, VolumeResult};

/// Bytes of the fixed part.
const FIXED_BYTES: usize = 4096;
/// What the first header begins with, and the second.
const MAGIC: [&[u8]; 2] = [b"LUKS\xba\xbe", b"SKUL\xba\xbe"];
/// Where a second header can be; each is also the size that both then have.
const SIZES: [u64; 9] = [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];
/// Where the checksum is.
const CHECKSUM: std::ops::Range<usize> = 448..512;

/// One header, whole by its checksum.
struct Copy {
    fixed: Vec<u8>,
    json: Vec<u8>,
}

impl Copy {
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        field(&self.fixed, at)
    }

    /// Counts changes: of two whole headers the higher is newer.
    fn sequence(&self) -> u64 {
        u64::from_be_bytes(self.field(16))
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// The newer of the whole headers. `is_marked`: whether the device begins like one; otherwise only a second header can show what it is.
pub(super) fn find(device: &dyn ReadAt, is_marked: bool) -> VolumeResult<Option<Header>> {
    let first = if is_marked { Some(read(device, 0, 0)) } else { None };
    if let Some(Err(VolumeError::Disk(error))) = first {
        return Err(VolumeError::Disk(error));
    }
    // A whole first header tells where the second is.
    let second = match &first {
        Some(Ok(copy)) => read(device, u64::from_be_bytes(copy.field(8)), 1).ok(),
        _ => SIZES.iter().filter(|&&at| is_second(device, at)).find_map(|&at| read(device, at, 1).ok()),
    };
    let (copy, notes) = match (first, second) {
        (Some(Ok(first)), Some(second)) if second.sequence() > first.sequence() => (second, vec![]),
        (Some(Ok(first)), _) => (first, vec![]),
        (Some(Err(_)) | None, Some(second)) => (second, vec!["its first header is damaged; the second is used".to_owned()]),
        (Some(Err(error)), None) => return Err(error),
        (None, None) => return Ok(None),
    };
    let body = json::parse(&copy.json).map_err(|problem| damaged("the LUKS2 header", problem))?;
    let (uuid, label) = (text(&copy.field::<40>(168)), text(&copy.field::<48>(24)));
    Ok(Some(Header { version: 2, uuid, label, notes, body }))
}

/// Whether something at `at` begins like a second header.
fn is_second(device: &dyn ReadAt, at: u64) -> bool {
    let mut magic = [0; 8];
    device.size_bytes() > at + FIXED_BYTES as u64 && device.read_at(at, &mut magic).is_ok() && magic.starts_with(MAGIC[1])
}

/// Reads and checks the header at `at`; `which` is 0 for the first and 1 for the second.
fn read(device: &dyn ReadAt, at: u64, which: usize) -> VolumeResult<Copy> {
    let damaged = |problem: String| damaged(&format!("the LUKS2 header at byte {at}"), problem);
    let left = device.size_bytes().saturating_sub(at);
    if left < FIXED_BYTES as u64 {
        return Err(damaged("the device ends before it".to_owned()));
    }
    let mut fixed = vec![0; FIXED_BYTES];
    device.read_at(at, &mut fixed)?;
    let size = u64::from_be_bytes(field(&fixed, 8));
    let is_marked = MAGIC.get(which).is_some_and(|magic| fixed.starts_with(magic)) && field(&fixed, 6) == [0, 2];
    if !is_marked || u64::from_be_bytes(field(&fixed, 256)) != at || !SIZES.contains(&size) || size > left {
        return Err(damaged(format!("it says to lie elsewhere or to have {size} bytes")));
    }
    // At most 4 MiB, by the list of sizes.
    let mut json = vec![0; (size as usize).saturating_sub(FIXED_BYTES)];
    device.read_at(at + FIXED_BYTES as u64, &mut json)?;
    let hash = Hash::named(&text(&field::<32>(&fixed, 72))).map_err(damaged)?;
    let expected: [u8; 64] = field(&fixed, CHECKSUM.start);
    if let Some(checksum) = fixed.get_mut(CHECKSUM) {
        checksum.fill(0);
    }
    if !expected.starts_with(hash.of(&[&fixed, &json]).as_ref()) {
        return Err(damaged("its checksum is not that of its contents".to_owned()));
    }
    Ok(Copy { fixed, json })
}
