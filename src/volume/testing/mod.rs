//! What tests of volumes share: disks that count their reads or are damaged, tools, groups of LVM, origins as plain numbers.

pub(crate) mod lvm;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::AnyLayer;
use crate::io::ReadAt;
use crate::units::Extent;

/// A disk in memory that counts how often it is read.
pub(crate) struct Counted {
    bytes: Vec<u8>,
    reads: AtomicUsize,
}

impl Counted {
    /// A disk with these bytes.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, reads: AtomicUsize::new(0) }
    }

    /// Reads until now.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl ReadAt for Counted {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let start = usize::try_from(offset_bytes).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The origins of a range as (disk, start, end).
pub(crate) fn origins(layer: &AnyLayer, start: u64, end: u64) -> Vec<(u32, u64, u64)> {
    let mut found = Vec::new();
    let visit = &mut |origin: super::Origin| found.push((origin.disk, origin.range.offset(), origin.range.end()));
    layer.origins(Extent::between(start, end), visit).expect("origins");
    found
}

/// Runs a tool that makes or shows images; `None`, said loudly, where the machine does not have it.
///
/// # Panics
/// Where it fails.
pub(crate) fn run(tool: &str, arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Option<String> {
    let mut command = Command::new(tool);
    command.args(arguments).envs(variables.iter().copied()).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            skipped(&format!("{tool} is not installed"));
            return None;
        }
        Err(error) => panic!("{tool}: {error}"),
    };
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the tool reads");
    let output = child.wait_with_output().expect("the tool ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{tool} {arguments:?}: {said}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Says that a test did not run.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {why}");
}

/// Rounds of a corruption test: `few`, or 10,000 where CAIRN_LONG_TESTS is set.
pub(crate) fn rounds(few: u64) -> u64 {
    if std::env::var_os("CAIRN_LONG_TESTS").is_some() { 10_000 } else { few }
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// A disk with some bytes changed, without a copy of it.
pub(crate) struct Patched {
    base: Arc<Vec<u8>>,
    changed: BTreeMap<u64, u8>,
}

impl Patched {
    /// Nothing is changed yet.
    pub(crate) fn new(base: &Arc<Vec<u8>>) -> Self {
        Self { base: Arc::clone(base), changed: BTreeMap::new() }
    }

    /// Puts other bytes at a place inside of it.
    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        self.changed.extend((at..).zip(bytes.iter().copied()));
    }

    /// Changes up to eight bytes in or shortly after what is listed.
    pub(crate) fn damage(&mut self, places: &[u64], dice: &mut Dice) {
        for _ in 0..=dice.below(8) {
            let near = places[usize::try_from(dice.below(places.len() as u64)).expect("small")];
            let at = (near + dice.below(8)).min(self.base.len() as u64 - 1);
            // Few kinds of numbers do harm: none, one more, all bits, anything.
            let byte = match dice.below(4) {
                0 => 0,
                1 => self.base[usize::try_from(at).expect("small")].wrapping_add(1),
                2 => 0xff,
                _ => u8::try_from(dice.below(256)).expect("a byte"),
            };
            self.put(at, &[byte]);
        }
    }
}

impl ReadAt for Patched {
    fn size_bytes(&self) -> u64 {
        self.base.len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset_bytes).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.base.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        for (at, byte) in self.changed.range(offset_bytes..end as u64) {
            buffer[usize::try_from(at - offset_bytes).expect("inside")] = *byte;
        }
        Ok(())
    }
}

/// Where an image has anything but zeros.
pub(crate) fn nonzero(image: &[u8]) -> Vec<u64> {
    (0..).zip(image).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect()
}
