//! Decompressors, each from memory to memory: the input is there whole, and no more comes out than the buffer takes.

pub(super) mod lz4;
pub(super) mod lzo;
mod output;

use std::cell::RefCell;
use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};

/// Memory for the dictionary of a stream of xz or LZMA; EROFS allows 8 MiB, squashfs 1 MiB.
const MOST_DICTIONARY_KIB: u32 = 20 << 10;

thread_local! {
    // Making these takes longer than decompressing a small block.
    static ZLIB: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    static DEFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Decompresses until the stream ends or `output` is full, and says how many bytes came out.
type Decoded = Result<usize, String>;

fn inflate(state: &RefCell<Decompress>, zlib: bool, input: &[u8], output: &mut [u8]) -> Decoded {
    let mut state = state.borrow_mut();
    state.reset(zlib);
    let status = state.decompress(input, output, FlushDecompress::Finish).map_err(|error| format!("a deflate stream: {error}"))?;
    let written = usize::try_from(state.total_out()).unwrap_or(usize::MAX);
    match status {
        Status::StreamEnd => Ok(written),
        _ if written >= output.len() => Ok(written),
        _ => Err("a deflate stream breaks off".to_owned()),
    }
}

/// A deflate stream with the header and checksum of zlib.
pub(super) fn zlib(input: &[u8], output: &mut [u8]) -> Decoded {
    ZLIB.with(|state| inflate(state, true, input, output))
}

/// A deflate stream alone.
pub(super) fn deflate(input: &[u8], output: &mut [u8]) -> Decoded {
    DEFLATE.with(|state| inflate(state, false, input, output))
}

/// One frame of Zstandard, whole.
pub(super) fn zstd(input: &[u8], output: &mut [u8]) -> Decoded {
    ZSTD.with(|state| {
        let mut state = state.borrow_mut();
        let decoder = match state.as_mut() {
            Some(decoder) => decoder,
            None => state.insert(zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?),
        };
        decoder.decompress_to_buffer(input, output).map_err(|error| format!("a frame of Zstandard: {error}"))
    })
}

/// An LZ4 block, whole.
pub(super) fn lz4_whole(input: &[u8], output: &mut [u8]) -> Decoded {
    lz4_flex::block::decompress_into(input, output).map_err(|error| format!("an LZ4 block: {error}"))
}

/// A stream of LZO1X, whole.
pub(super) fn lzo_whole(input: &[u8], output: &mut [u8]) -> Decoded {
    lzo::decompress(input, output).map_err(|error| error.to_string())
}

fn fill(mut from: impl Read, output: &mut [u8]) -> Decoded {
    let mut written = 0_usize;
    while let Some(rest) = output.get_mut(written..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(length) => written = written.saturating_add(length),
            Err(error) => return Err(format!("a stream of LZMA: {error}")),
        }
    }
    Ok(written)
}

/// A file of xz.
pub(super) fn xz(input: &[u8], output: &mut [u8]) -> Decoded {
    fill(lzma_rust2::XzReader::new_mem_limit(input, false, MOST_DICTIONARY_KIB), output)
}

/// A stream of LZMA with its header of 13 bytes (`.lzma`).
pub(super) fn lzma(input: &[u8], output: &mut [u8]) -> Decoded {
    fill(lzma_rust2::LzmaReader::new_mem_limit(input, MOST_DICTIONARY_KIB, None).map_err(|error| error.to_string())?, output)
}

/// A stream of LZMA with nothing around it, whose first byte, always 0, is replaced by the complement of its properties (MicroLZMA).
pub(super) fn micro_lzma(input: &[u8], output: &mut [u8]) -> Decoded {
    let (first, rest) = input.split_first().ok_or("a stream of LZMA breaks off")?;
    let dictionary = u32::try_from(output.len()).unwrap_or(u32::MAX).clamp(lzma_rust2::DICT_SIZE_MIN, MOST_DICTIONARY_KIB << 10);
    // Without the length, that more may follow is no error: the caller may want the beginning only.
    let stream = [0].as_slice().chain(rest);
    let reader = lzma_rust2::LzmaReader::new_with_props(stream, u64::MAX, !first, dictionary, None).map_err(|error| error.to_string())?;
    fill(reader, output)
}

/// The beginning of a frame of Zstandard, as much as `output` takes.
pub(super) fn zstd_beginning(input: &[u8], output: &mut [u8]) -> Decoded {
    let decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(|error| error.to_string())?;
    fill(decoder, output)
}
