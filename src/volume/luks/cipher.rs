//! Decryption of sectors: AES in the modes XTS and CBC, with the initial vectors of dm-crypt. Whole groups of sectors go to the
//! processor's AES units at once.

use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes192, Aes256};

use super::hash::Hash;

/// Bytes of a block of AES.
const BLOCK_BYTES: usize = 16;
/// Blocks that are decrypted at once: what fits the first cache, and a whole sector of the largest size.
const GROUP_BLOCKS: usize = 256;
/// Largest sectors of dm-crypt.
const MOST_SECTOR_BYTES: usize = GROUP_BLOCKS * BLOCK_BYTES;
/// Sectors of 512 bytes in a group.
const GROUP_SECTORS: usize = MOST_SECTOR_BYTES / 512;

type Block = Array<u8, U16>;

/// What a header says of the encryption, as `aes-xts-plain64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CipherName {
    mode: Mode,
    vectors: Vectors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Xts,
    Cbc,
}

/// How the number of a sector becomes its initial vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vectors {
    /// The low 32 bits, little-endian.
    Plain,
    /// 64 bits, little-endian.
    Plain64,
    /// 64 bits, big-endian, at the end.
    Plain64Big,
    /// Encrypted with a hash of the key.
    Encrypted(Hash),
}

impl CipherName {
    /// By its name; an error names it as a feature.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let refused = || format!("LUKS with the cipher '{name}'");
        let mut parts = name.splitn(3, '-');
        let (Some("aes"), Some(mode), Some(vectors)) = (parts.next(), parts.next(), parts.next()) else { return Err(refused()) };
        let mode = match mode {
            "xts" => Mode::Xts,
            "cbc" => Mode::Cbc,
            _ => return Err(refused()),
        };
        let vectors = match (vectors, vectors.strip_prefix("essiv:")) {
            ("plain", _) => Vectors::Plain,
            ("plain64", _) => Vectors::Plain64,
            ("plain64be", _) => Vectors::Plain64Big,
            // The hash makes a key of AES.
            (_, Some("sha256")) => Vectors::Encrypted(Hash::Sha256),
            _ => return Err(refused()),
        };
        Ok(Self { mode, vectors })
    }

    /// The cipher with its key; `None` where it has no keys of this length.
    pub(super) fn keyed(self, key: &[u8]) -> Option<Box<dyn SectorCipher>> {
        let key_bytes = if self.mode == Mode::Xts { key.len() / 2 } else { key.len() };
        let vectors = match self.vectors {
            Vectors::Plain => Numbering::Plain,
            Vectors::Plain64 => Numbering::Plain64,
            Vectors::Plain64Big => Numbering::Plain64Big,
            Vectors::Encrypted(hash) => Numbering::Encrypted(Box::new(Aes256::new_from_slice(hash.of(&[key]).as_ref()).ok()?)),
        };
        Some(match (self.mode, key_bytes) {
            (Mode::Xts, 16) if key.len() == 32 => Xts::<Aes128>::boxed(key, vectors)?,
            (Mode::Xts, 32) if key.len() == 64 => Xts::<Aes256>::boxed(key, vectors)?,
            (Mode::Cbc, 16) => Cbc::<Aes128>::boxed(key, vectors)?,
            (Mode::Cbc, 24) => Cbc::<Aes192>::boxed(key, vectors)?,
            (Mode::Cbc, 32) => Cbc::<Aes256>::boxed(key, vectors)?,
            _ => return None,
        })
    }
}

/// A cipher with its key.
pub(super) trait SectorCipher: Send + Sync {
    /// Decrypts whole sectors of `sector_bytes` (512, 1024, 2048 or 4096) in place. `number` is that of the first, in units of 512 bytes
    /// whatever the sectors' size: dm-crypt counts so.
    fn decrypt(&self, sectors: &mut [u8], sector_bytes: usize, number: u64);
}

/// Initial vectors, keyed where they need it.
enum Numbering {
    Plain,
    Plain64,
    Plain64Big,
    Encrypted(Box<Aes256>),
}

impl Numbering {
    /// Fills in the initial vectors of sectors that follow each other by `step`.
    fn fill(&self, vectors: &mut [Block], number: u64, step: u64) {
        let mut number = number;
        for vector in &mut *vectors {
            let wide = match self {
                Self::Plain => u128::from(number as u32),
                Self::Plain64 | Self::Encrypted(_) => u128::from(number),
                Self::Plain64Big => u128::from(number.swap_bytes()) << 64,
            };
            *vector = Array(wide.to_le_bytes());
            number = number.wrapping_add(step);
        }
        if let Self::Encrypted(cipher) = self {
            cipher.encrypt_blocks(vectors);
        }
    }
}

/// Calls `with` for each group of sectors, as blocks, with their initial vectors.
fn in_groups(
    sectors: &mut [u8],
    sector_bytes: usize,
    number: u64,
    numbering: &Numbering,
    mut with: impl FnMut(&mut [Block], &mut [Block]),
) {
    let sector_bytes = sector_bytes.clamp(BLOCK_BYTES, MOST_SECTOR_BYTES);
    let step = sector_bytes as u64 / 512;
    let mut number = number;
    for group in sectors.chunks_mut(MOST_SECTOR_BYTES / sector_bytes * sector_bytes) {
        let mut vectors = [Block::default(); GROUP_SECTORS];
        let count = group.len().div_ceil(sector_bytes).min(GROUP_SECTORS);
        let (vectors, _) = vectors.split_at_mut(count);
        numbering.fill(vectors, number, step);
        with(Block::slice_as_chunks_mut(group).0, vectors);
        number = number.wrapping_add(step.wrapping_mul(count as u64));
    }
}

fn number_of(block: &Block) -> u128 {
    u128::from_le_bytes(block.0)
}

fn add(blocks: &mut [Block], others: &[Block]) {
    for (block, other) in blocks.iter_mut().zip(others) {
        *block = Array((number_of(block) ^ number_of(other)).to_le_bytes());
    }
}

/// XEX with tweaked blocks, IEEE 1619. Sectors are whole blocks, so nothing is stolen.
struct Xts<C> {
    data: C,
    tweak: C,
    numbering: Numbering,
}

/// Next tweak: doubled in the field of 2^128 elements with the polynomial x^128 + x^7 + x^2 + x + 1.
fn doubled(tweak: u128) -> u128 {
    (tweak << 1) ^ ((tweak >> 127) * 0x87)
}

trait Aes: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync + 'static {}

impl<C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync + 'static> Aes for C {}

impl<C: Aes> Xts<C> {
    fn boxed(key: &[u8], numbering: Numbering) -> Option<Box<dyn SectorCipher>> {
        let (data, tweak) = key.split_at_checked(key.len() / 2)?;
        Some(Box::new(Self { data: C::new_from_slice(data).ok()?, tweak: C::new_from_slice(tweak).ok()?, numbering }))
    }
}

impl<C: Aes> SectorCipher for Xts<C> {
    fn decrypt(&self, sectors: &mut [u8], sector_bytes: usize, number: u64) {
        in_groups(sectors, sector_bytes, number, &self.numbering, |blocks, vectors| {
            self.tweak.encrypt_blocks(vectors);
            let mut tweaks = [Block::default(); GROUP_BLOCKS];
            let (tweaks, _) = tweaks.split_at_mut(blocks.len().min(GROUP_BLOCKS));
            for (sector, vector) in tweaks.chunks_mut(sector_bytes / BLOCK_BYTES).zip(&*vectors) {
                let mut tweak = number_of(vector);
                for block in sector {
                    *block = Array(tweak.to_le_bytes());
                    tweak = doubled(tweak);
                }
            }
            add(blocks, tweaks);
            self.data.decrypt_blocks(blocks);
            add(blocks, tweaks);
        });
    }
}

/// Cipher block chaining: each block is added to the encrypted one before it.
struct Cbc<C> {
    data: C,
    numbering: Numbering,
}

impl<C: Aes> Cbc<C> {
    fn boxed(key: &[u8], numbering: Numbering) -> Option<Box<dyn SectorCipher>> {
        Some(Box::new(Self { data: C::new_from_slice(key).ok()?, numbering }))
    }
}

impl<C: Aes> SectorCipher for Cbc<C> {
    fn decrypt(&self, sectors: &mut [u8], sector_bytes: usize, number: u64) {
        in_groups(sectors, sector_bytes, number, &self.numbering, |blocks, vectors| {
            let mut before = [Block::default(); GROUP_BLOCKS];
            let (before, _) = before.split_at_mut(blocks.len().min(GROUP_BLOCKS));
            let per_sector = sector_bytes / BLOCK_BYTES;
            for ((before, sector), vector) in before.chunks_mut(per_sector).zip(blocks.chunks(per_sector)).zip(&*vectors) {
                for (before, block) in before.iter_mut().zip([vector].into_iter().chain(sector)) {
                    *before = *block;
                }
            }
            self.data.decrypt_blocks(blocks);
            add(blocks, before);
        });
    }
}
