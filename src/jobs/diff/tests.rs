//! Differences between points whose contents are known.

use super::*;
use crate::jobs::testkit::{CHUNK, Collecting, Kit, noise};
use crate::monitor::Silent;

fn ranges(kit: &Kit, from: &Manifest, to: &Manifest) -> (Vec<DiskDiff>, Vec<(String, u64, u64)>) {
    let mut ranges = Vec::new();
    let mut on_range = |disk: &MachineName, extent: Extent| ranges.push((disk.to_string(), extent.offset(), extent.length()));
    let disks = diff(&kit.vault, from, to, &mut on_range, &Silent).unwrap();
    (disks, ranges)
}

#[test]
fn changed_chunks_are_told_as_ranges_of_bytes() {
    let kit = Kit::new();
    let chunk = CHUNK as u64;
    let mut bytes = noise(1, 64 * 10);
    let first = kit.backup("web01", "2026-11-20T20:00:00Z", &[("vda", &bytes), ("vdb", &bytes)]);
    bytes[2 * CHUNK + 17] ^= 1;
    bytes[3 * CHUNK] ^= 1;
    bytes[9 * CHUNK - 1] ^= 1;
    let second = kit.backup("web01", "2026-11-21T20:00:00Z", &[("vda", &bytes), ("vdb", &noise(1, 64 * 10))]);
    let (disks, ranges) = ranges(&kit, &first, &second);
    let expected = [("vda".to_owned(), 2 * chunk, 2 * chunk), ("vda".to_owned(), 8 * chunk, chunk)];
    assert_eq!(ranges, expected);
    let told: Vec<_> = disks.iter().map(|disk| (disk.name.as_str(), disk.changed_bytes, disk.changed_ranges)).collect();
    assert_eq!(told, [("vda", 3 * chunk, 2), ("vdb", 0, 0)]);
}

#[test]
fn a_disk_that_grew_shrank_came_or_went() {
    let kit = Kit::new();
    let bytes = noise(1, 64 * 3 + 5);
    let first = kit.backup("web01", "2026-11-20T20:00:00Z", &[("vda", &bytes), ("old", &bytes[..4096])]);
    let grown = [bytes.clone(), noise(2, 100)].concat();
    let second = kit.backup("web01", "2026-11-21T20:00:00Z", &[("vda", &grown), ("new", &bytes[..8192])]);
    let (disks, there) = ranges(&kit, &first, &second);
    let sizes: Vec<_> = disks.iter().map(|disk| (disk.name.as_str(), disk.from_size_bytes, disk.to_size_bytes)).collect();
    let (small, large) = (bytes.len() as u64, grown.len() as u64);
    assert_eq!(sizes, [("vda", Some(small), Some(large)), ("old", Some(4096), None), ("new", None, Some(8192))]);
    let cut = 3 * CHUNK as u64;
    assert_eq!(there, [("vda".to_owned(), cut, large - cut), ("old".to_owned(), 0, 4096), ("new".to_owned(), 0, 8192)]);
    let (_, back) = ranges(&kit, &second, &first);
    assert_eq!(back[0], ("vda".to_owned(), cut, large - cut));
}

#[test]
fn comparing_can_be_cancelled() {
    let kit = Kit::new();
    let first = kit.backup("web01", "2026-11-20T20:00:00Z", &[("vda", &noise(1, 10))]);
    let second = kit.backup("web01", "2026-11-21T20:00:00Z", &[("vda", &noise(2, 10))]);
    let monitor = Collecting { cancel: true, ..Collecting::default() };
    let ended = diff(&kit.vault, &first, &second, &mut |_, _| (), &monitor);
    assert!(matches!(ended, Err(JobError::Cancelled)), "{ended:?}");
}
