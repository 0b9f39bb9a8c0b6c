//! Files that Windows compresses with its overlay filter. No tool on Linux makes one, but their stream is a resource of a WIM archive as
//! it is, which wimlib makes; the rest of the file is made through ntfs-3g.

use std::fs;
use std::path::Path;

use super::image::{Image, set};
use super::{contents, names, node, opened};
use crate::guestfs::testing::{Noise, run, text};
use crate::guestfs::{FileSystem, Place};

/// Contents with all that the codecs know: text, noise, zeros, long repeats, calls of x86, 3 * 32 KiB and a bit.
fn source(seed: u64, length: usize) -> Vec<u8> {
    let mut noise = Noise::new(seed);
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match noise.below(6) {
            0 => bytes.extend(noise.bytes(3_000)),
            1 => bytes.resize(bytes.len() + 5_000, 7),
            2 => (0..200).for_each(|at| bytes.extend(format!("line {at} of text {}\n", noise.below(100)).into_bytes())),
            3 => {
                // Calls, to near and to negative places.
                for _ in 0..400 {
                    bytes.push(0xE8);
                    bytes.extend((noise.below(1 << 20) as i32 - (1 << 19)).to_le_bytes());
                    bytes.extend(noise.bytes(2));
                }
            }
            4 => {
                let from = noise.below(bytes.len() + 1);
                let again = bytes[from..].iter().take(9_000).copied().collect::<Vec<u8>>();
                bytes.extend(again);
            }
            _ => (0..2_000_u32).for_each(|at| bytes.push(((at * at) >> 3) as u8)),
        }
    }
    bytes.truncate(length);
    bytes
}

/// The compressed resource of the largest file in a WIM archive. Layout: Microsoft's "Windows Imaging File Format".
fn resource(wim: &[u8], size_bytes: usize) -> Vec<u8> {
    let u64_at = |at: usize| u64::from_le_bytes(wim[at..at + 8].try_into().expect("8 bytes"));
    let place = |at: usize| (u64_at(at) & 0x00FF_FFFF_FFFF_FFFF, u64_at(at + 8), u64_at(at + 16));
    let (table_bytes, table, _) = place(48);
    let found = (0..table_bytes as usize / 50).map(|entry| place(table as usize + entry * 50)).find(|place| place.2 == size_bytes as u64);
    let (packed, at, _) = found.expect("the file is in the archive");
    wim[at as usize..(at + packed) as usize].to_vec()
}

/// Compresses a file as a resource of a WIM archive; `None` without wimlib.
fn compress(directory: &Path, bytes: &[u8], compression: &str, chunk_bytes: u32) -> Option<Vec<u8>> {
    let tree = directory.join("tree");
    fs::create_dir_all(&tree).expect("a directory");
    fs::write(tree.join("file"), bytes).expect("a file");
    let (wim, compression, chunk) =
        (directory.join("made.wim"), format!("--compress={compression}"), format!("--chunk-size={chunk_bytes}"));
    let _ = fs::remove_file(&wim);
    run("wimlib-imagex", &["capture", text(&tree), text(&wim), &compression, &chunk])?;
    Some(resource(&fs::read(&wim).expect("an archive"), bytes.len()))
}

fn check(fs: &dyn FileSystem, name: &str, expected: &[u8]) {
    let found = node(fs, name);
    let data = fs.open(found).expect("it opens");
    assert!(contents(fs, found) == expected, "{name}");
    assert_eq!(data.run_at(0).expect("a run").place, Place::Computed);
    let mut noise = Noise::new(1);
    for _ in 0..50 {
        let start = noise.below(expected.len());
        let length = 1 + noise.below((expected.len() - start).min(100_000));
        let mut part = vec![0; length];
        data.read_at(start as u64, &mut part).expect("it reads");
        assert!(part == expected[start..start + length], "{name}: {length} bytes at {start}");
    }
}

#[test]
fn all_algorithms_of_the_overlay_filter() {
    let Some(image) = Image::make(64, 4096, 512) else { return };
    let Some(mount) = image.mount(",streams_interface=windows") else { return };
    let scratch = tempfile::tempdir().expect("a place");
    let mut files = Vec::new();
    for (algorithm, compression, chunk_bytes) in
        [(0_u32, "XPRESS", 4096), (1, "LZX:100", 32768), (1, "LZX:20", 32768), (2, "XPRESS:80", 8192), (3, "XPRESS", 16384)]
    {
        for length in [1_300_003, 3 * 32768, 9_000] {
            let name = format!("{}-{algorithm}-{length}", compression.replace(':', "-"));
            let expected = source(u64::from(algorithm) + length as u64, length);
            let Some(packed) = compress(scratch.path(), &expected, compression, chunk_bytes) else { return };
            let path = mount.join(&name);
            fs::File::create(&path).and_then(|file| file.set_len(length as u64)).expect("a sparse file");
            fs::write(mount.join(&format!("{name}:WofCompressedData")), &packed).expect("a stream");
            let mut point = 0x8000_0017_u32.to_le_bytes().to_vec();
            for number in [16, 1, 2, 1, algorithm] {
                point.extend(number.to_le_bytes());
            }
            set(&path, "system.ntfs_reparse_data", &point);
            files.push((name, expected, packed.len()));
        }
    }
    drop(mount);
    let fs = opened(&image.path());
    assert_eq!(names(fs.as_ref(), fs.root()).len(), files.len());
    for (name, expected, packed_bytes) in &files {
        check(fs.as_ref(), name, expected);
        let found = node(fs.as_ref(), name);
        let attributes = fs.attributes(found).expect("attributes");
        assert_eq!(attributes.size_bytes, expected.len() as u64);
        assert!(attributes.allocated_bytes < *packed_bytes as u64 + 8192, "{attributes:?}");
        let extended = fs.extended_attributes(found).expect("attributes");
        assert!(!extended.iter().any(|(name, _)| name.windows(3).any(|part| part == b"Wof")), "the stream is no attribute");
    }
}
