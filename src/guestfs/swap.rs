//! Swap space, which is named and never opened: there are no files in it. The layouts are those of Linux (`union swap_header`) and of
//! the marks that its ways of hibernating put in the place of swap's own.

use super::fields::{array, le32};
use super::{Device, FileSystem, GuestError, GuestResult, Identity, OpenOptions};
use crate::io::ReadAt;

/// Sizes of pages on machines that run Linux; the mark is in the last ten bytes of the first page.
const PAGE_SIZES: [u64; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];

/// Marks of swap, with a header (`SWAPSPACE2`) and without.
const SWAP: [&[u8; 10]; 2] = [b"SWAPSPACE2", b"SWAP-SPACE"];

/// Marks of a system that sleeps in it: of Linux, its older ways, and uswsusp.
const ASLEEP: [&[u8; 10]; 4] = [b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001"];

/// Says whether a volume is swap space.
pub(super) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    for page_bytes in PAGE_SIZES.into_iter().filter(|page| *page <= device.size_bytes()) {
        let mut mark = [0; 10];
        device.read_at(page_bytes.saturating_sub(10), &mut mark).map_err(GuestError::Device)?;
        let kind = match () {
            () if SWAP.contains(&&mark) => "swap",
            () if ASLEEP.contains(&&mark) => "swsuspend",
            () => continue,
        };
        let mut header = [0; 44];
        device.read_at(1024, &mut header).map_err(GuestError::Device)?;
        return Ok(Some(identity(kind, &header, page_bytes, mark == *b"SWAP-SPACE")));
    }
    Ok(None)
}

/// The header after the first KiB: version, number of the last page, bad pages, UUID and label.
fn identity(kind: &'static str, header: &[u8], page_bytes: u64, bare: bool) -> Identity {
    let pages = u64::from(le32(header, 4)).saturating_add(1);
    let plain = Identity { kind, label: None, uuid: None, size_bytes: None, member: None };
    if bare || le32(header, 0) != 1 {
        return plain;
    }
    let uuid: [u8; 16] = array(header, 12);
    let label: [u8; 16] = array(header, 28);
    let used = label.iter().position(|&byte| byte == 0).unwrap_or(label.len());
    let label = String::from_utf8_lossy(label.get(..used).unwrap_or_default()).into_owned();
    Identity {
        label: (!label.is_empty()).then_some(label),
        uuid: (uuid != [0; 16]).then(|| written(uuid)),
        size_bytes: Some(pages.saturating_mul(page_bytes)),
        ..plain
    }
}

fn written(uuid: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(uuid));
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Refuses, saying what it is.
pub(super) fn open(devices: &[Device], _: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let identity = devices.first().map(|device| identify(device.as_ref())).transpose()?.flatten();
    Err(GuestError::unsupported(match identity.map(|identity| identity.kind) {
        Some("swsuspend") => "swap space in which a machine hibernates (there are no files in it)",
        _ => "swap space (there are no files in it)",
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::guestfs::testing::{device, run, text};
    use crate::io::MemoryAt;

    fn refused(device: Device) -> String {
        let Err(error) = crate::guestfs::open(&[device], &OpenOptions::default()) else { panic!("it was opened") };
        error.to_string()
    }

    #[test]
    fn swap_of_the_real_tool_is_named_and_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("swap");
        for page in ["4096", "65536"] {
            std::fs::write(&path, vec![0; 1 << 20]).expect("a file");
            let uuid = "12345678-9abc-def0-1234-56789abcdef0";
            if run("mkswap", &["-p", page, "-L", "My swap", "-U", uuid, text(&path)]).is_none() {
                return;
            }
            let device = device(&path);
            let identity = crate::guestfs::identify(device.as_ref()).expect("read").expect("known");
            let label = Some("My swap".to_owned());
            assert_eq!(identity, Identity { kind: "swap", label, uuid: Some(uuid.into()), size_bytes: Some(1 << 20), member: None });
            assert!(refused(device).starts_with("swap space (there are no files in it) cannot be read"));

            let mut bytes = std::fs::read(&path).expect("reads");
            let end: usize = page.parse().expect("a number");
            bytes[end - 10..end].copy_from_slice(b"S1SUSPEND\0");
            let asleep: Device = Arc::new(MemoryAt::new(bytes));
            let identity = crate::guestfs::identify(asleep.as_ref()).expect("read").expect("known");
            assert_eq!((identity.kind, identity.uuid.as_deref()), ("swsuspend", Some(uuid)));
            assert!(refused(asleep).contains("a machine hibernates"));
        }
    }

    #[test]
    fn old_swap_and_short_volumes() {
        let mut bytes = vec![0xff; 8192];
        bytes[4086..4096].copy_from_slice(b"SWAP-SPACE");
        let found = identify(&MemoryAt::new(bytes.clone())).expect("read").expect("known");
        assert_eq!((found.kind, found.uuid, found.size_bytes), ("swap", None, None));
        assert_eq!(identify(&MemoryAt::new(bytes[..4000].to_vec())).expect("read"), None);
    }
}
