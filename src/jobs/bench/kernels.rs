//! Single steps, each on all processors, with no I/O.

use rayon::prelude::*;

use super::sample::Sample;
use crate::crypt::{MasterKey, VaultKeys, random};
use crate::format::pack::PackKind;
use crate::format::vault::Cipher;
use crate::jobs::JobError;
use crate::units::{BLOCK_BYTES, PackId, VaultId};

/// One step to be timed.
pub(super) struct Kernel<'a> {
    pub(super) name: &'static str,
    /// Bytes of data that one run works through.
    pub(super) bytes: u64,
    pub(super) run: Box<dyn Fn() + Sync + 'a>,
}

/// All steps. Results are given to `black_box`, so that none is left out by the compiler.
pub(super) fn all<'a>(sample: &'a Sample, level: i32) -> Result<Vec<Kernel<'a>>, JobError> {
    let keys = keys(Cipher::Aes256Gcm)?;
    let fingerprinter = keys.fingerprinter(None);
    let sealer = keys.new_pack(PackId(random()?), PackKind::Data)?;
    let compressed: Vec<Vec<u8>> = sample.frames().map(|frame| compress(frame, level)).collect();
    let (data, new) = (sample.data_bytes(), sample.new_bytes());
    let mut kernels: Vec<Kernel<'a>> = vec![
        kernel("blake3_chunks", data, || {
            sample.chunks().for_each(|chunk| {
                std::hint::black_box(blake3::hash(chunk));
            });
        }),
        kernel("blake3_blocks", data, move || {
            sample.chunks().for_each(|chunk| {
                chunk.chunks_exact(BLOCK_BYTES).for_each(|block| {
                    std::hint::black_box(fingerprinter.fingerprint(block));
                });
            });
        }),
        kernel("seal_aes256gcm", new, move || {
            sample.frames().for_each(|frame| {
                let mut bytes = frame.to_vec();
                let sealed = sealer.next_frame().and_then(|sealer| sealer.seal(&mut bytes));
                std::hint::black_box((bytes, sealed.is_ok()));
            });
        }),
        kernel("zstd_decompress", new, move || {
            compressed.par_iter().for_each(|frame| drop(std::hint::black_box(zstd::bulk::decompress(frame, 1 << 20))));
        }),
    ];
    for (name, level) in [("zstd_level_1", 1), ("zstd_level_2", 2), ("zstd_level_3", 3), ("zstd_level_6", 6)] {
        kernels.push(kernel(name, new, move || sample.frames().for_each(|frame| drop(std::hint::black_box(compress(frame, level))))));
    }
    Ok(kernels)
}

fn kernel<'a>(name: &'static str, bytes: u64, run: impl Fn() + Sync + 'a) -> Kernel<'a> {
    Kernel { name, bytes, run: Box::new(run) }
}

/// Keys of a vault that does not exist.
pub(super) fn keys(cipher: Cipher) -> Result<VaultKeys, JobError> {
    Ok(VaultKeys::new(VaultId(random()?), cipher, &MasterKey::random()?))
}

/// Compresses with a compressor kept for each thread, as the store does.
pub(super) fn compress(frame: &[u8], level: i32) -> Vec<u8> {
    crate::store::compress_frame(frame, level).unwrap_or_default()
}
