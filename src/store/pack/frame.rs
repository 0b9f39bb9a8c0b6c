//! One frame: compress, seal, checksum; and back.

use std::cell::RefCell;

use super::buffer::SpareBuffers;
use crate::crypt::{FrameSealer, PackOpener};
use crate::format::pack::{Codec, FrameEntry};
use crate::store::StoreError;
use crate::units::PackId;

thread_local! {
    /// A compressor for each thread: its tables take longer to make than a frame takes to compress.
    static COMPRESSOR: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A frame as it is stored.
#[derive(Debug)]
pub(crate) struct StoredFrame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) raw_bytes: u32,
    pub(crate) codec: Codec,
    pub(crate) crc32: u32,
}

/// Compresses (where that saves at least a 32nd), seals and checksums a frame.
pub(crate) fn store(raw: &[u8], level: i32, sealer: FrameSealer) -> Result<StoredFrame, StoreError> {
    let compressed = compress(raw, level).map_err(StoreError::Compression)?;
    let (codec, mut bytes) =
        if compressed.len() < raw.len() - raw.len() / 32 { (Codec::Zstd, compressed) } else { (Codec::Stored, raw.to_vec()) };
    sealer.seal(&mut bytes)?;
    let crc32 = crc32fast::hash(&bytes);
    Ok(StoredFrame { bytes, raw_bytes: raw.len() as u32, codec, crc32 })
}

/// Compresses at a level with this thread's compressor.
pub(crate) fn compress(raw: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let reusable = slot.take_if(|(made_for, _)| *made_for == level);
        let mut compressor = match reusable {
            Some((_, compressor)) => compressor,
            None => zstd::bulk::Compressor::new(level)?,
        };
        let compressed = compressor.compress(raw);
        *slot = Some((level, compressor));
        compressed
    })
}

/// Checks, opens and decompresses the stored bytes of a frame, into memory from `spare`; `bytes` means nothing afterwards.
pub(crate) fn load(
    pack: PackId,
    number: u32,
    entry: &FrameEntry,
    bytes: &mut Vec<u8>,
    opener: &PackOpener,
    spare: &SpareBuffers,
) -> Result<Vec<u8>, StoreError> {
    let damaged = |reason: String| StoreError::Frame { pack, frame: number, reason };
    let crc32 = crc32fast::hash(bytes);
    if crc32 != entry.crc32 {
        return Err(damaged(format!("its checksum is {crc32:08x}, expected {:08x}", entry.crc32)));
    }
    opener.open_frame(number, bytes).map_err(|error| damaged(error.to_string()))?;
    let raw_bytes = entry.raw_bytes as usize;
    let mut raw = spare.take(raw_bytes);
    match entry.codec {
        Codec::Stored => raw.extend_from_slice(bytes),
        Codec::Zstd => {
            decompress(bytes, &mut raw).map_err(|error| damaged(format!("it does not decompress: {error}")))?;
        }
    }
    if raw.len() != raw_bytes {
        return Err(damaged(format!("it has {} bytes, expected {raw_bytes}", raw.len())));
    }
    Ok(raw)
}

/// Decompresses into the capacity of `raw`.
fn decompress(bytes: &[u8], raw: &mut Vec<u8>) -> std::io::Result<usize> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress_to_buffer(bytes, raw)
    })
}
