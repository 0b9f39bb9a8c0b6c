//! Makes volumes with the real tools.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::super::{Secret, identify, unlock};
use crate::io::{MemoryAt, ReadAt};
use crate::units::Extent;
use crate::volume::{AnyLayer, Layer, Origin, VolumeResult};

/// Bytes in front of the data that cryptsetup makes of a plain file.
pub(super) const PLAIN_BYTES: usize = 1 << 20;

/// Contents in which every 16 bytes are different.
pub(super) fn plain() -> Vec<u8> {
    (0..PLAIN_BYTES / 16).flat_map(|number| format!("{number:015}\n").into_bytes()).collect()
}

/// Runs a tool with `input`; `None`, loudly, where there is none.
pub(super) fn run(tool: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(tool);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        // To the harness's own output, past its capture, so that it is seen.
        let _ = writeln!(io::stderr(), "SKIPPED: {tool} is not installed");
        return None;
    };
    child.stdin.take().expect("piped").write_all(input).expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// A volume that cryptsetup made of [`plain`] with the passphrase "secret".
pub(super) fn encrypted(options: &[&str]) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("volume");
    let mut bytes = plain();
    // Room for the header: the data move to the back by half of what is taken away.
    bytes.resize(PLAIN_BYTES + (4 << 20), 0);
    std::fs::write(&path, &bytes).expect("written");
    let path = path.to_str().expect("text");
    let mut arguments =
        vec!["reencrypt", "--encrypt", "--reduce-device-size", "4M", "--resilience", "none", "--batch-mode", "--key-file", "-"];
    arguments.extend(options);
    arguments.push(path);
    run("cryptsetup", &arguments, b"secret")?;
    Some(std::fs::read(path).expect("readable"))
}

struct Disk(MemoryAt);

impl ReadAt for Disk {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset_bytes, buffer)
    }
}

impl Layer for Disk {
    fn origins(&self, range: Extent, visit: &mut dyn FnMut(Origin)) -> io::Result<()> {
        visit(Origin { disk: 0, range });
        Ok(())
    }
}

/// A disk in memory.
pub(super) fn disk(bytes: Vec<u8>) -> AnyLayer {
    Arc::new(Disk(MemoryAt::new(bytes)))
}

/// A passphrase.
pub(super) fn secret(text: &str) -> Secret {
    Secret::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
}

/// Opens a volume.
pub(super) fn opened(disk: &AnyLayer, passphrases: &[&str]) -> VolumeResult<AnyLayer> {
    let header = identify(disk.as_ref())?.expect("a header");
    let secrets: Vec<Secret> = passphrases.iter().map(|text| secret(text)).collect();
    unlock(disk, &header, &secrets)
}

/// The first bytes of a layer.
pub(super) fn head(layer: &AnyLayer, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    layer.read_at(0, &mut bytes).expect("readable");
    bytes
}
