//! The contents of one file as a reader gives them: read in pieces, at random places, compared with the runs that it tells.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::guest::{ContentHash, Limits, PIECE_BYTES};
use super::noise::Noise;
use crate::guestfs::{FileData, FileSystem, GuestError, Node, Place};

/// Bytes at the start of a file that are kept, to compare reads at random offsets with.
const KEPT_BYTES: usize = 2 << 20;

/// The hash of a file's contents, if all of it could be read, and what is wrong with it.
pub(super) fn check_file(fs: &dyn FileSystem, node: Node, limits: &Limits, read: &AtomicUsize) -> (Option<blake3::Hash>, Vec<String>) {
    let data = match fs.open(node) {
        Ok(data) => data,
        Err(GuestError::Unsupported { .. }) if limits.file_bytes == u64::MAX => return (None, Vec::new()),
        Err(error) => return (None, vec![error.to_string()]),
    };
    let mut file = File { data: data.as_ref(), limits, problems: Vec::new(), kept: Vec::new(), hash: ContentHash::new() };
    if fs.attributes(node).is_ok_and(|found| found.size_bytes != data.size_bytes()) {
        file.problems.push("its contents are not as long as its attributes say".to_owned());
    }
    let whole = file.read_through(read);
    file.read_at_random(node.0);
    file.check_end();
    (whole.then(|| file.hash.finish(data.size_bytes())), file.problems)
}

struct File<'walk> {
    data: &'walk dyn FileData,
    limits: &'walk Limits,
    problems: Vec<String>,
    kept: Vec<u8>,
    hash: ContentHash,
}

impl File<'_> {
    /// Whether all of it was read.
    fn read_through(&mut self, read: &AtomicUsize) -> bool {
        let size = self.data.size_bytes();
        let mut buffer = vec![0; PIECE_BYTES];
        let (mut at, mut file_read) = (0, 0_u64);
        while at < size {
            if file_read >= self.limits.file_bytes || self.problems.len() > 8 {
                return false;
            }
            file_read += PIECE_BYTES as u64;
            read.fetch_add(PIECE_BYTES, Ordering::Relaxed);
            let hole = self.hole_from(at);
            if hole > PIECE_BYTES as u64 {
                self.sample_hole(at, hole);
                at = at.saturating_add(hole) / PIECE_BYTES as u64 * PIECE_BYTES as u64;
                continue;
            }
            let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
            match self.data.read_at(at, &mut buffer[..length]) {
                Ok(()) => {
                    self.hash.piece(at, &buffer[..length]);
                    self.check_runs(at, &buffer[..length]);
                    if at == self.kept.len() as u64 && self.kept.len() < KEPT_BYTES {
                        self.kept.extend_from_slice(&buffer[..length]);
                    }
                }
                Err(error) => self.problems.push(format!("at {at}: {error}")),
            }
            at += length as u64;
        }
        self.problems.is_empty()
    }

    /// How many bytes from `at` are said to be a hole.
    fn hole_from(&self, at: u64) -> u64 {
        match self.data.run_at(at) {
            Ok(run) if run.place == Place::Hole => run.length_bytes.min(self.data.size_bytes().saturating_sub(at)),
            _ => 0,
        }
    }

    fn sample_hole(&mut self, at: u64, length: u64) {
        let mut buffer = [0xff; 4096];
        for start in [at, at + length / 2 - 4096, at + length - 4096] {
            match self.data.read_at(start, &mut buffer) {
                Ok(()) if buffer.iter().all(|&byte| byte == 0) => {}
                Ok(()) => self.problems.push(format!("the hole at {at} is not zeros at {start}")),
                Err(error) => self.problems.push(format!("in the hole at {start}: {error}")),
            }
        }
    }

    /// Compares what the runs say of a piece with its bytes.
    fn check_runs(&mut self, start: u64, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let offset = start + at as u64;
            let run = match self.data.run_at(offset) {
                Ok(run) if run.length_bytes > 0 => run,
                Ok(_) => return self.problems.push(format!("the run at {offset} has no length")),
                Err(error) => return self.problems.push(format!("the run at {offset}: {error}")),
            };
            let length = usize::try_from(run.length_bytes).unwrap_or(usize::MAX).min(bytes.len() - at);
            let part = &bytes[at..at + length];
            match run.place {
                Place::Hole if part.iter().any(|&byte| byte != 0) => self.problems.push(format!("the hole at {offset} is not zeros")),
                Place::Device { device, offset_bytes } => self.check_place(device, offset_bytes, part),
                Place::Hole | Place::Computed => {}
            }
            at += length;
        }
    }

    fn check_place(&mut self, device: u32, offset_bytes: u64, part: &[u8]) {
        let Some(device) = self.limits.devices.get(device as usize) else { return };
        let mut found = vec![0; part.len()];
        match device.read_at(offset_bytes, &mut found) {
            Ok(()) if found == part => {}
            Ok(()) => self.problems.push(format!("device byte {offset_bytes} is not where it says that it lies")),
            Err(error) => self.problems.push(format!("device byte {offset_bytes}: {error}")),
        }
    }

    fn read_at_random(&mut self, seed: u64) {
        let mut noise = Noise::new(seed);
        let kept = std::mem::take(&mut self.kept);
        for _ in 0..if kept.is_empty() { 0 } else { 8 } {
            let start = noise.below(kept.len());
            let length = noise.below((kept.len() - start).min(70_000)) + 1;
            let mut found = vec![0; length];
            match self.data.read_at(start as u64, &mut found) {
                Ok(()) if found == kept[start..start + length] => {}
                Ok(()) => self.problems.push(format!("{length} bytes at {start} are others than when it is read through")),
                Err(error) => self.problems.push(format!("{length} bytes at {start}: {error}")),
            }
        }
    }

    fn check_end(&mut self) {
        let size = self.data.size_bytes();
        match self.data.read_at(size, &mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            other => self.problems.push(format!("reading past its end gives {other:?}")),
        }
        match self.data.run_at(size) {
            Ok(run) if run.length_bytes == 0 && run.place == Place::Hole => {}
            other => self.problems.push(format!("the run past its end is {other:?}")),
        }
    }
}
