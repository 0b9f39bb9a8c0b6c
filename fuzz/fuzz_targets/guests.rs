//! Filesystems of guests: changes to images that their own tools made. One binary for all readers, since building takes longer than
//! fuzzing: CAIRN_FUZZ_BASES names the folder of `fuzz/bases` to change, and with it the reader.
#![no_main]

use std::sync::LazyLock;

use cairn_fuzz::guest::{Base, Page, as_it_is, assemble, bases, walk};
use cairn_fuzz::mend;
use libfuzzer_sys::fuzz_target;

/// The folder that the environment names, its images, and how their checksums are made right.
static TARGET: LazyLock<(Vec<&'static Base>, fn(&mut Page))> = LazyLock::new(|| {
    let name = std::env::var("CAIRN_FUZZ_BASES").unwrap_or_else(|_| "fs_ext".to_owned());
    let mend = match name.as_str() {
        "fs_xfs" => mend::xfs,
        "fs_btrfs" => mend::btrfs,
        "fs_erofs" => mend::erofs,
        _ => as_it_is,
    };
    (bases(&name), mend)
});

fuzz_target!(|input: &[u8]| {
    let (bases, mend) = &*TARGET;
    if let Some(image) = assemble(bases, input, *mend) {
        walk(image);
    }
});
