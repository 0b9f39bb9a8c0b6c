//! Decodes one compressed cluster or grain into exactly its bytes. Memory is the output's and a decoder's per thread.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress};

thread_local! {
    static DEFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    static ZLIB: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// How a cluster is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// A bare deflate stream (RFC 1951).
    Deflate,
    /// A zlib stream (RFC 1950).
    Zlib,
    /// One zstd frame (RFC 8878).
    Zstd,
}

/// Decodes `stored`, which may have anything behind the compressed bytes, into `plain`. It must give `least` bytes; what is
/// missing after that is filled with zeros.
///
/// # Errors
/// In words, what is wrong with the compressed bytes.
pub(super) fn unpack(packing: Packing, stored: &[u8], plain: &mut [u8], least: usize) -> Result<(), String> {
    let length = match packing {
        Packing::Deflate => DEFLATE.with_borrow_mut(|decoder| inflate(decoder, false, stored, plain))?,
        Packing::Zlib => ZLIB.with_borrow_mut(|decoder| inflate(decoder, true, stored, plain))?,
        Packing::Zstd => unpack_zstd(stored, plain)?,
    };
    if length < least {
        return Err(format!("it decodes to {length} bytes instead of {least}"));
    }
    plain.get_mut(length..).unwrap_or_default().fill(0);
    Ok(())
}

fn inflate(decoder: &mut Decompress, zlib: bool, stored: &[u8], plain: &mut [u8]) -> Result<usize, String> {
    decoder.reset(zlib);
    decoder.decompress(stored, plain, FlushDecompress::Finish).map_err(|error| format!("its deflate stream is damaged ({error})"))?;
    Ok(usize::try_from(decoder.total_out()).unwrap_or(usize::MAX))
}

fn unpack_zstd(stored: &[u8], plain: &mut [u8]) -> Result<usize, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("its zstd frame is damaged ({error})");
    let length = zstd::zstd_safe::find_frame_compressed_size(stored).map_err(|code| damaged(&zstd::zstd_safe::get_error_name(code)))?;
    let frame = stored.get(..length).ok_or_else(|| damaged(&"cut short"))?;
    ZSTD.with_borrow_mut(|slot| {
        let decoder = match slot {
            Some(decoder) => decoder,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(|error| damaged(&error))?),
        };
        decoder.decompress_to_buffer(frame, plain).map_err(|error| damaged(&error))
    })
}
