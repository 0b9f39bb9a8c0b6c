//! Decompression of extents.

use super::super::codec;
use super::super::fields::le32;

/// An extent has at most this many bytes, compressed or not.
pub(super) const MOST_BYTES: u64 = 128 << 10;

/// Decompresses an extent into `plain_bytes` bytes; what the stream does not reach is zeros, as the kernel has it.
///
/// # Errors
/// Why it cannot be done.
pub(super) fn decompress(compression: u8, input: &[u8], plain_bytes: u64, sector_bytes: u64) -> Result<Vec<u8>, String> {
    let (Ok(length), Ok(sector)) = (usize::try_from(plain_bytes), usize::try_from(sector_bytes)) else {
        return Err(format!("{plain_bytes} bytes"));
    };
    if plain_bytes > MOST_BYTES {
        return Err(format!("it has {plain_bytes} bytes, where {MOST_BYTES} are possible"));
    }
    let mut output = vec![0; length];
    let written = match compression {
        1 => codec::zlib(input, &mut output)?,
        2 => lzo(input, &mut output, sector)?,
        _ => zstd(input, &mut output)?,
    };
    output.get_mut(written..).unwrap_or_default().fill(0);
    Ok(output)
}

/// The frame is followed by zeros up to the end of the sector.
fn zstd(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    let frame = zstd::zstd_safe::find_frame_compressed_size(input)
        .map_err(|code| format!("a frame of Zstandard: {}", zstd::zstd_safe::get_error_name(code)))?;
    codec::zstd(input.get(..frame).ok_or("a frame of Zstandard is cut short")?, output)
}

/// The length of all, then for each sector's worth of data its length and stream. No length is cut by the end of a sector: padding
/// comes before it.
fn lzo(input: &[u8], output: &mut [u8], sector_bytes: usize) -> Result<usize, String> {
    let length_at = |at| usize::try_from(le32(input, at)).unwrap_or(usize::MAX);
    let total = length_at(0).min(input.len());
    let (mut at, mut written) = (4_usize, 0_usize);
    while at < total && written < output.len() {
        let left = sector_bytes.saturating_sub(at.checked_rem(sector_bytes).unwrap_or(0));
        if left < 4 {
            at = at.saturating_add(left);
        }
        let start = at.saturating_add(4);
        at = start.saturating_add(length_at(at));
        let stream = input.get(start..at).ok_or("its LZO streams are cut short")?;
        let end = written.saturating_add(sector_bytes).min(output.len());
        let count = codec::lzo_whole(stream, output.get_mut(written..end).unwrap_or_default())?;
        written = written.saturating_add(count);
    }
    Ok(written)
}
