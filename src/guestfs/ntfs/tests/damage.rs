//! Damaged volumes: what has a copy is read from it, what has none is said, and nothing panics or goes on without end.

use std::fs;
use std::ops::Range;

use super::image::Image;
use super::{all, contents, names, node, opened};
use crate::guestfs::testing::{Noise, Population, device, populate, survive_damage};
use crate::guestfs::{GuestError, OpenOptions, Place, identify, open};

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")) as usize
}

/// Where the table of files begins; and its mirror.
fn tables(image: &[u8]) -> (usize, usize) {
    let cluster_bytes = u16_at(image, 0x0B) * usize::from(image[0x0D]);
    (u64_at(image, 0x30) * cluster_bytes, u64_at(image, 0x38) * cluster_bytes)
}

/// Puts the last two bytes of each sector of a record or index block back (`undo`), or writes the number of the fixups there. In place.
fn fixups(block: &mut [u8], undo: bool) {
    let (array, count) = (u16_at(block, 4), u16_at(block, 6));
    for part in 1..count.min(block.len() / 512 + 1) {
        let (tail, saved) = (part * 512 - 2, array + 2 * part);
        if saved + 2 > block.len() {
            return;
        }
        if undo {
            block.copy_within(saved..saved + 2, tail);
        } else {
            block.copy_within(tail..tail + 2, saved);
            block.copy_within(array..array + 2, tail);
        }
    }
}

/// A volume with a bit of everything.
fn small() -> Option<Image> {
    let image = Image::make(16, 4096, 512)?;
    let mount = image.mount(",compression")?;
    let posix = Population { punch: false, odd_names: false, unix: false, longest_attribute: 0, acls: false, ..Population::posix() };
    populate(mount.path(), &posix.tiny());
    let packed = mount.join("packed");
    fs::create_dir(&packed).expect("a directory");
    super::image::set(&packed, "system.ntfs_attrib_be", &0x0800_u32.to_be_bytes());
    fs::write(packed.join("file"), "again and again ".repeat(20_000)).expect("room");
    super::image::set(&packed.join("file"), "user.stream", &[5; 3000]);
    for link in 0..30 {
        fs::hard_link(packed.join("file"), packed.join(format!("{link} {}", "long ".repeat(20)))).expect("a link");
    }
    drop(mount);
    Some(image)
}

/// File records and index blocks in use: where the damage goes.
fn spots(image: &[u8]) -> Vec<Range<usize>> {
    let marked = |mark: &[u8; 4], length: usize| {
        let starts = (0..image.len()).step_by(1024).filter(|&at| image[at..].starts_with(mark)).collect::<Vec<_>>();
        starts.into_iter().map(move |at| at..at + length)
    };
    let used = marked(b"FILE", 1024).map(|spot| spot.start..spot.start + 512.min(u16_at(image, spot.start + 24)));
    let mut all: Vec<Range<usize>> = used.chain(marked(b"INDX", 4096).map(|spot| spot.start..spot.start + 400)).collect();
    all.push(0..0x50);
    all
}

#[test]
fn damage_with_its_fixups_mended_ends() {
    let Some(image) = small() else { return };
    let bytes = image.bytes();
    let spots = spots(&bytes);
    assert!(spots.len() > 300);
    // Damage goes to the bytes as they are meant, so fixups are undone first and done again after.
    let blocks: Vec<Range<usize>> = (0..bytes.len())
        .step_by(1024)
        .filter_map(|at| match &bytes[at..at + 4] {
            b"FILE" => Some(at..at + 1024),
            b"INDX" => Some(at..at + 4096),
            _ => None,
        })
        .collect();
    let survival = survive_damage(&bytes, &spots, 300, &|image, touched| {
        for block in blocks.iter().filter(|block| touched.iter().any(|at| block.contains(at))) {
            let number = u16_at(&image[block.clone()], 4);
            if number + 2 <= block.len() {
                let part = &mut image[block.clone()];
                let mark = [part[number], part[number + 1]];
                for tail in (510..part.len()).step_by(512) {
                    part[tail..tail + 2].copy_from_slice(&mark);
                }
            }
        }
    });
    assert!(survival.hurt > 50, "{survival:?}");
}

#[test]
fn the_first_records_and_the_boot_sector_have_copies() {
    let Some(image) = small() else { return };
    let expected = names(opened(&image.path()).as_ref(), opened(&image.path()).root());
    let sound = image.bytes();
    let (table, _) = tables(&sound);
    let mut damaged = sound.clone();
    damaged[table..table + 1024].fill(0x55);
    damaged[table + 3 * 1024..table + 4 * 1024].fill(0);
    damaged[..512].fill(0);
    let damaged = Image::of(&damaged);
    let fs = opened(&damaged.path());
    assert_eq!(names(fs.as_ref(), fs.root()), expected);
    let notes = fs.about().notes.join("; ");
    for part in ["$MFTMirr", "boot sector is empty", "Data \u{17e}"] {
        assert!(notes.contains(part), "{notes}");
    }
    let identity = identify(device(&image.path()).as_ref()).expect("readable").expect("NTFS");
    assert_eq!((identity.kind, identity.label.as_deref()), ("ntfs", Some("Data \u{17e}")));
    assert_eq!(identity.uuid.map(|uuid| uuid.len()), Some(16));
    // Both gone: damage that is named.
    let mut gone = sound.clone();
    let (table, mirror) = tables(&sound);
    gone[table..table + 4].fill(0);
    gone[mirror..mirror + 4].fill(0);
    let error = open(&[device(&Image::of(&gone).path())], &OpenOptions::default()).map(|_| ()).expect_err("no table");
    assert!(matches!(&error, GuestError::Damaged { object, .. } if object == "file record 0"), "{error}");
}

#[test]
fn a_damaged_index_block_hides_only_its_own_names() {
    let Some(image) = small() else { return };
    let fs = opened(&image.path());
    let all_names = names(fs.as_ref(), node(fs.as_ref(), "wide"));
    let mut bytes = image.bytes();
    let needle: Vec<u8> = "name-00100".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let block = (0..bytes.len())
        .step_by(4096)
        .find(|&at| bytes[at..].starts_with(b"INDX") && bytes[at..at + 4096].windows(needle.len()).any(|part| part == needle));
    let block = block.expect("a block with this name");
    bytes[block + 1022] ^= 0xFF;
    let torn = Image::of(&bytes);
    let fs = opened(&torn.path());
    let mut left = Vec::new();
    let result = fs.entries(node(fs.as_ref(), "wide"), &mut |entry| {
        left.push(String::from_utf8(entry.name).expect("UTF-8"));
        std::ops::ControlFlow::Continue(())
    });
    let error = result.expect_err("the block is torn").to_string();
    assert!(error.contains("torn") && error.contains("block"), "{error}");
    assert!(left.len() > all_names.len() / 3 && left.len() < all_names.len(), "{} of {}", left.len(), all_names.len());
    assert!(left.iter().all(|name| all_names.contains(name)));
}

/// Changes an unnamed attribute of a file's record in the table, whose fixups are undone meanwhile.
fn patch(bytes: &mut [u8], record: u64, kind: u8, change: &dyn Fn(&mut [u8])) {
    let start = tables(bytes).0 + record as usize * 1024;
    let block = &mut bytes[start..start + 1024];
    fixups(block, true);
    let mut at = u16_at(block, 20);
    while block[at] != kind {
        assert_ne!(block[at], 0xFF, "the attribute is there");
        at += u16_at(block, at + 4);
    }
    change(&mut block[at..]);
    fixups(block, false);
}

#[test]
fn names_to_which_the_tree_no_longer_leads_are_found_by_the_bitmap() {
    let Some(image) = Image::make(16, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    // Few and short names: the root of their tree stays in the first record.
    fs::create_dir(mount.join("wide")).expect("a directory");
    for number in 0..120 {
        fs::write(mount.join(&format!("wide/n{number:03}")), "").expect("room");
    }
    drop(mount);
    let sound = opened(&image.path());
    let wide = node(sound.as_ref(), "wide");
    let mut expected = names(sound.as_ref(), wide);
    let mut bytes = image.bytes();
    patch(&mut bytes, wide.0 & 0xFFFF_FFFF, 0x90, &|root| {
        // The first entry of the root leads to a block: now to none.
        let header = u16_at(root, 20) + 16;
        let entry = header + u16_at(root, header);
        assert_eq!(root[entry + 12] & 1, 1, "it has a block below it");
        let child = entry + u16_at(root, entry + 8) - 8;
        root[child..child + 8].copy_from_slice(&9999_u64.to_le_bytes());
    });
    let cut = Image::of(&bytes);
    let fs = opened(&cut.path());
    let mut found = Vec::new();
    let result = fs.entries(wide, &mut |entry| {
        found.push(String::from_utf8(entry.name).expect("UTF-8"));
        std::ops::ControlFlow::Continue(())
    });
    let error = result.expect_err("the tree is cut").to_string();
    assert!(error.contains("block 9999"), "{error}");
    assert_ne!(found, expected, "in another order");
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let first = expected.first().expect("names");
    assert!(fs.lookup(wide, first.as_bytes()).expect("a name that is still in a block").is_some());
}

#[test]
fn what_was_never_written_is_zeros_and_what_windows_encrypted_is_refused() {
    let Some(image) = Image::make(16, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    let expected = Noise::new(8).bytes(50_000);
    fs::write(mount.join("file"), &expected).expect("room");
    fs::write(mount.join("secret"), &expected).expect("room");
    drop(mount);
    let sound = opened(&image.path());
    let (file, secret) = (node(sound.as_ref(), "file"), node(sound.as_ref(), "secret"));
    let mut bytes = image.bytes();
    patch(&mut bytes, file.0 & 0xFFFF_FFFF, 0x80, &|data| data[56..64].copy_from_slice(&10_001_u64.to_le_bytes()));
    patch(&mut bytes, secret.0 & 0xFFFF_FFFF, 0x80, &|data| data[13] |= 0x40);
    let patched = Image::of(&bytes);
    let fs = opened(&patched.path());
    let read = contents(fs.as_ref(), file);
    assert!(read[..10_001] == expected[..10_001] && read[10_001..].iter().all(|&byte| byte == 0) && read.len() == 50_000);
    let run = fs.open(file).expect("a file").run_at(10_001).expect("a run");
    assert_eq!((run.place, run.length_bytes), (Place::Hole, 39_999));
    match all(fs.open(secret)) {
        Err(GuestError::Unsupported { feature }) => assert!(feature.contains("EFS"), "{feature}"),
        other => panic!("{:?}", other.map(|bytes| bytes.len())),
    }
    assert_eq!(fs.attributes(secret).expect("attributes").size_bytes, 50_000);
}

#[test]
fn a_file_whose_runs_are_partly_lost_is_readable_elsewhere() {
    let Some(image) = Image::make(16, 4096, 512) else { return };
    let Some(mount) = image.mount("") else { return };
    fs::write(mount.join("file"), vec![7; 40_960]).expect("room");
    drop(mount);
    let found = node(opened(&image.path()).as_ref(), "file");
    let mut bytes = image.bytes();
    // One run of 10 clusters becomes one of 6.
    patch(&mut bytes, found.0 & 0xFFFF_FFFF, 0x80, &|data| {
        let runs = u16_at(data, 32);
        assert_eq!(data[runs + 1], 10);
        data[runs + 1] = 6;
        data[24] = 5;
    });
    let cut = Image::of(&bytes);
    let fs = opened(&cut.path());
    let data = fs.open(found).expect("a file");
    let mut part = vec![0; 6 * 4096];
    data.read_at(0, &mut part).expect("what is left");
    assert!(part.iter().all(|&byte| byte == 7));
    data.read_at(6 * 4096, &mut [0; 16]).expect_err("zeros would be wrong");
}

#[test]
fn dirty_volumes_and_bitlocker_are_said() {
    let Some(image) = Image::make(16, 4096, 512) else { return };
    let clean = opened(&image.path()).about().clone();
    assert!(!clean.notes.iter().any(|note| note.contains("dirty") || note.contains("$LogFile")), "{:?}", clean.notes);
    assert!(clean.notes.iter().any(|note| note.contains("NTFS 3.1")), "{:?}", clean.notes);
    assert_eq!((clean.block_bytes, clean.size_bytes), (4096, (16 << 20) - 512));
    let used = clean.used_bytes.expect("counted");
    assert!(used > 1 << 20 && used < 8 << 20, "{used}");
    let mut bytes = image.bytes();
    patch(&mut bytes, 3, 0x70, &|information| {
        let value = u16_at(information, 20);
        information[value + 10] |= 1;
    });
    let dirty = opened(&Image::of(&bytes).path()).about().notes.join("; ");
    assert!(dirty.contains("dirty"), "{dirty}");
    bytes[3..11].copy_from_slice(b"-FVE-FS-");
    let locked = Image::of(&bytes);
    let kind = identify(device(&locked.path()).as_ref()).expect("readable").map(|identity| identity.kind);
    assert_eq!(kind, Some("BitLocker"));
    match open(&[device(&locked.path())], &OpenOptions::default()).map(|_| ()) {
        Err(GuestError::Unsupported { feature }) => assert_eq!(feature, "BitLocker encryption"),
        other => panic!("{other:?}"),
    }
}
