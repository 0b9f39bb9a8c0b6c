//! What is known of a volume as a whole: label, version, space, whether Windows had finished with it.

use super::boot::short_serial;
use super::bytes::index;
use super::bytes::{u8_at, u16_at, u64_at};
use super::directory::Directories;
use super::names::{letters, to_utf8};
use super::record::{Attribute, Reference, kind};
use super::volume::{Inode, Volume, system};
use crate::guestfs::{About, GuestResult};

/// Bytes of the bitmap of clusters that are read at once.
const BITMAP_PART_BYTES: u64 = 1 << 20;

/// Flags of `$VOLUME_INFORMATION`: Windows has not finished with the volume.
const DIRTY: u16 = 0x0001;

/// Puts together what is known.
pub(super) fn about(volume: &Volume, directories: &Directories, uses_copy: bool) -> About {
    let mut notes = Vec::new();
    if uses_copy {
        notes.push("the boot sector is empty, its copy at the end of the volume was used".to_owned());
    }
    notes.extend(volume.mft.notes.iter().cloned());
    match system_file(volume, system::VOLUME) {
        Ok(inode) => of_volume_file(volume, &inode, &mut notes),
        Err(error) => notes.push(format!("$Volume cannot be read: {error}")),
    }
    match log_is_clean(volume) {
        Ok(true) => {}
        Ok(false) => notes.push("$LogFile has changes of metadata that were not finished; they are not applied".to_owned()),
        Err(error) => notes.push(format!("$LogFile cannot be read: {error}")),
    }
    if is_hibernated(volume, directories).unwrap_or(false) {
        let note = "Windows is hibernated (or was shut down with Fast Startup): changes that it kept in memory are not on the volume";
        notes.push(note.to_owned());
    }
    About {
        block_bytes: volume.geometry.cluster_bytes,
        size_bytes: volume.geometry.size_bytes(),
        used_bytes: used_bytes(volume).ok().flatten(),
        notes,
    }
}

fn system_file(volume: &Volume, record: u64) -> GuestResult<Inode> {
    volume.inode(Reference { record, sequence: 0 })
}

/// The label in the attributes of `$Volume`.
pub(super) fn label(attribute: &Attribute) -> Option<String> {
    let name = to_utf8(&letters(attribute.resident()?));
    (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned())
}

fn of_volume_file(volume: &Volume, inode: &Inode, notes: &mut Vec<String>) {
    let serial = short_serial(volume.geometry.serial);
    match volume.attribute(inode, kind::VOLUME_NAME, &[]) {
        Ok(name) => {
            let name = name.as_ref().and_then(label);
            notes.push(name.map_or_else(
                || format!("its serial number is {serial}"),
                |name| format!("its label is {name:?}, its serial number {serial}"),
            ));
        }
        Err(error) => notes.push(format!("its label cannot be read: {error}")),
    }
    let information = volume.attribute(inode, kind::VOLUME_INFORMATION, &[]).ok().flatten();
    let Some(information) = information.as_ref().and_then(Attribute::resident) else { return };
    if let (Some(major), Some(minor)) = (u8_at(information, 8), u8_at(information, 9)) {
        notes.push(format!("it is NTFS {major}.{minor}"));
    }
    if u16_at(information, 10).is_some_and(|flags| flags & DIRTY != 0) {
        notes.push("Windows had not finished with it: it is marked dirty, and chkdsk would look at it".to_owned());
    }
}

/// Bytes of the clusters that `$Bitmap` says are in use.
fn used_bytes(volume: &Volume) -> GuestResult<Option<u64>> {
    let inode = system_file(volume, system::BITMAP)?;
    let Some(bitmap) = volume.contents(&inode, kind::DATA, &[], &volume.device)? else { return Ok(None) };
    let cluster_bytes = u64::from(volume.geometry.cluster_bytes);
    // Bits past the last cluster are set, but mean nothing. A volume cannot have more than its device.
    let clusters = volume.geometry.size_bytes().min(volume.device.size_bytes()).checked_div(cluster_bytes).unwrap_or(0);
    let end = clusters.div_ceil(8).min(bitmap.size_bytes());
    let mut used = 0_u64;
    let mut at = 0_u64;
    let mut part = Vec::new();
    while at < end {
        part.resize(index(end.saturating_sub(at).min(BITMAP_PART_BYTES)), 0);
        bitmap.read_at(at, &mut part)?;
        used = part.iter().fold(used, |used, byte| used.saturating_add(u64::from(byte.count_ones())));
        at = at.saturating_add(part.len() as u64);
        if let Some(last) = part.last().filter(|_| at == clusters.div_ceil(8) && !clusters.is_multiple_of(8)) {
            used = used.saturating_sub(u64::from(last.checked_shr(u32::try_from(clusters % 8).unwrap_or(0)).unwrap_or(0).count_ones()));
        }
    }
    Ok(Some(used.saturating_mul(cluster_bytes)))
}

/// Whether the log says that nothing is to be done: no client is using it, or it was closed. Of its two restart pages the one that was
/// written last counts.
fn log_is_clean(volume: &Volume) -> GuestResult<bool> {
    let inode = system_file(volume, system::LOG_FILE)?;
    let Some(log) = volume.contents(&inode, kind::DATA, &[], &volume.device)? else { return Ok(true) };
    let mut newest: Option<(u64, bool)> = None;
    for at in [0, 4096] {
        let mut page = vec![0; 4096];
        if log.size_bytes() < at + 4096 {
            break;
        }
        log.read_at(at, &mut page)?;
        let found = restart_page(&page);
        if found > newest {
            newest = found;
        }
    }
    // A log without any restart page was emptied (all bytes are 0xFF then).
    Ok(newest.is_none_or(|(_, clean)| clean))
}

/// Whether the file in which Windows keeps its memory holds one: what it says at its start.
fn is_hibernated(volume: &Volume, directories: &Directories) -> GuestResult<bool> {
    let root = system_file(volume, system::ROOT)?;
    let Some(found) = directories.find(volume, &root, b"hiberfil.sys")? else { return Ok(false) };
    let inode = volume.inode(found.reference)?;
    let Some(memory) = volume.contents(&inode, kind::DATA, &[], &volume.device)? else { return Ok(false) };
    let mut mark = [0; 4];
    if memory.size_bytes() >= 4096 {
        memory.read_at(0, &mut mark)?;
    }
    Ok(mark.eq_ignore_ascii_case(b"HIBR"))
}

/// The number of the last change that a restart page knows of, and whether it says that the log is clean.
fn restart_page(page: &[u8]) -> Option<(u64, bool)> {
    const NO_CLIENT: u16 = 0xFFFF;
    const CLEAN: u16 = 0x0002;
    if page.get(..4) != Some(b"RSTR") {
        return None;
    }
    let area = page.get(usize::from(u16_at(page, 24)?)..)?;
    Some((u64_at(area, 0)?, u16_at(area, 12)? == NO_CLIENT || u16_at(area, 14)? & CLEAN != 0))
}
