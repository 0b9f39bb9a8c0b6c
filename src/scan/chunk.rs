//! What a worker finds out about one chunk: hash, comparison with the base, blocks.

use crate::crypt::Fingerprinter;
use crate::units::{Address, BLOCK_BYTES, ChunkHash, Fingerprint};

/// What the base knows of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// There is no base, or the chunk has another length there.
    Nothing,
    /// It reads as zeros.
    Zeros,
    /// Data of this hash.
    Data(ChunkHash),
}

/// One block of a chunk that differs from the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockState {
    /// All zero.
    Zero,
    /// The vault has it.
    Stored(Address),
    /// The vault did not have it when this scan began.
    New(Fingerprint),
}

/// What a chunk turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Equal to the base.
    Unchanged,
    /// All zero, and the base knows it as anything else.
    Zero,
    /// Data that the base does not have here.
    Data {
        /// The chunk's hash.
        hash: ChunkHash,
        /// Its blocks, in order; the last one is padded with zeros where the chunk ends in mid-block.
        blocks: Vec<BlockState>,
    },
}

/// Tells which blocks the vault has already. Asked by many threads at once.
pub trait Dedup: Sync {
    /// Turns `New` into `Stored` for the blocks that the vault has.
    fn find(&self, blocks: &mut [BlockState]);
}

/// Whether all bytes are zero. Data mostly shows itself in the first bytes, so they are looked at first.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (head, rest) = bytes.split_at(bytes.len().min(64));
    head.iter().all(|&byte| byte == 0) && rest.chunks(1024).all(|part| part.iter().fold(0, |all, &byte| all | byte) == 0)
}

/// Hashes a chunk and compares it with what the base knows.
pub(super) fn examine(bytes: &[u8], known: Known, fingerprinter: &Fingerprinter, dedup: &dyn Dedup) -> Found {
    if is_zero(bytes) {
        return if known == Known::Zeros { Found::Unchanged } else { Found::Zero };
    }
    let hash = ChunkHash(*blake3::hash(bytes).as_bytes());
    if known == Known::Data(hash) {
        return Found::Unchanged;
    }
    let mut blocks: Vec<BlockState> = bytes.chunks(BLOCK_BYTES).map(|block| examine_block(block, fingerprinter)).collect();
    dedup.find(&mut blocks);
    Found::Data { hash, blocks }
}

fn examine_block(block: &[u8], fingerprinter: &Fingerprinter) -> BlockState {
    if is_zero(block) {
        return BlockState::Zero;
    }
    match <&[u8; BLOCK_BYTES]>::try_from(block) {
        Ok(whole) => BlockState::New(fingerprinter.fingerprint(whole)),
        Err(_) => BlockState::New(fingerprinter.fingerprint(&padded(block))),
    }
}

/// A block that the end of the disk cuts short, padded with zeros to its full length.
pub fn padded(block: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut whole = [0_u8; BLOCK_BYTES];
    if let Some(part) = whole.get_mut(..block.len()) {
        part.copy_from_slice(block);
    }
    whole
}
