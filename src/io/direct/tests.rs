//! Direct writes, where the filesystem beside the sources knows them.

use super::*;

fn file() -> (tempfile::TempDir, File) {
    // Beside the sources: the usual place of temporary files may be one that knows no direct writes.
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
    let path = directory.path().join("target");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).expect("a file");
    file.set_len(4 << 20).expect("a size");
    (directory, file)
}

#[test]
fn what_is_written_directly_is_read_as_written() {
    let (_directory, file) = file();
    let Some(direct) = DirectWriter::open(&file) else {
        #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
        {
            eprintln!("SKIPPED: {} knows no direct writes", env!("CARGO_MANIFEST_DIR"));
            return;
        }
    };
    let mut buffer = AlignedBuffer::new((1 << 20) + 100);
    buffer.bytes_mut().iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8 ^ (at >> 8) as u8);
    assert_eq!(direct.write_at(1 << 20, buffer.bytes()), 1 << 20, "all but the last 100 bytes, which are no sector");
    let mut found = vec![0; 1 << 20];
    file.read_exact_at(&mut found, 1 << 20).expect("bytes");
    assert!(found == buffer.bytes()[..1 << 20]);
}

#[test]
fn what_is_small_or_askew_is_left_to_the_caller() {
    let (_directory, file) = file();
    let Some(direct) = DirectWriter::open(&file) else { return };
    let buffer = AlignedBuffer::new(1 << 20);
    assert_eq!(direct.write_at(0, &buffer.bytes()[..LEAST_BYTES - 1]), 0);
    assert_eq!(direct.write_at(100, buffer.bytes()), 0);
    assert_eq!(direct.write_at(0, &buffer.bytes()[100..]), 0);
    assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGNMENT), 0);
    assert_eq!(buffer.bytes().len(), 1 << 20);
}
