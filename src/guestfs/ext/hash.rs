//! The hashes by which ext3 and ext4 sort the names of directories: here they are only a part of how the kernel shows names that are
//! encrypted. Layout: `Documentation/filesystems/ext4/directory.rst` of Linux; the functions are those that `dx_hash` of debugfs(8) computes.

use super::fields::Fields;
use super::inode::Inode;
use super::volume::Volume;
use crate::io::ReadAt;

/// How each byte of a name is taken.
#[derive(Clone, Copy)]
enum Bytes {
    Signed,
    Unsigned,
}

impl Bytes {
    fn widen(self, byte: u8) -> u32 {
        match self {
            Self::Signed => i32::from(byte.cast_signed()).cast_unsigned(),
            Self::Unsigned => u32::from(byte),
        }
    }
}

/// How the names of one directory are hashed.
pub(super) struct NameHash {
    version: u8,
    seed: [u32; 4],
}

/// The seed where the superblock has none.
const DEFAULT_SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// What the end of a directory is, which no name may have.
const END: u32 = 0xffff_fffe;
/// Where the first block of an index says which hash it has.
const VERSION_AT: usize = 28;
const VERSIONS: u8 = 3;

impl NameHash {
    /// That of a directory; `None` where its names have none.
    pub(super) fn of(volume: &Volume, directory: &Inode) -> Option<Self> {
        let superblock = &volume.superblock;
        let is_short = directory.size_bytes <= u64::from(superblock.block_bytes) || directory.has_inline_data();
        if !superblock.has_indexes() || !(directory.is_indexed() || is_short) {
            return None;
        }
        let mut version = superblock.hash_version;
        if directory.is_indexed() {
            let mut head = [0; VERSION_AT + 1];
            volume.contents(directory, true).ok()?.read_at(0, &mut head).ok()?;
            version = Fields(&head).byte(VERSION_AT);
        }
        if version < VERSIONS && superblock.unsigned_hashes {
            version = version.saturating_add(VERSIONS);
        }
        Some(Self { version, seed: superblock.hash_seed })
    }

    /// Of a name as it is stored: the hash that names are sorted by, and the one that decides between equals.
    pub(super) fn of_name(&self, name: &[u8]) -> [u32; 2] {
        let mut state = if self.seed == [0; 4] { DEFAULT_SEED } else { self.seed };
        let bytes = if self.version < VERSIONS { Bytes::Signed } else { Bytes::Unsigned };
        let (hash, minor) = match self.version.checked_rem(VERSIONS) {
            _ if self.version >= 2 * VERSIONS => (0, 0),
            Some(0) => (legacy(bytes, name), 0),
            Some(1) => {
                pieces::<8>(bytes, name, |words| half_md4(&mut state, words));
                let [_, hash, minor, _] = state;
                (hash, minor)
            }
            _ => {
                pieces::<4>(bytes, name, |words| tea(&mut state, words));
                let [hash, minor, ..] = state;
                (hash, minor)
            }
        };
        let even = hash & !1;
        [if even == END { END.wrapping_sub(2) } else { even }, minor]
    }
}

/// The hash of the first indexes.
fn legacy(bytes: Bytes, name: &[u8]) -> u32 {
    let (mut before, mut last) = (0x37ab_e8f9_u32, 0x12a3_fe2d_u32);
    for &byte in name {
        let mut next = before.wrapping_add(last ^ bytes.widen(byte).wrapping_mul(7_152_373));
        if next & 1 << 31 != 0 {
            next = next.wrapping_sub(0x7fff_ffff);
        }
        (before, last) = (last, next);
    }
    last << 1
}

/// Calls `mix` with `N` words for each `4 * N` bytes of a name; what is missing is filled with the length of what is left.
fn pieces<const N: usize>(bytes: Bytes, name: &[u8], mut mix: impl FnMut(&[u32; N])) {
    let mut rest = name;
    while !rest.is_empty() {
        let filling = u32::from_le_bytes([rest.len() as u8; 4]);
        let mut words = [filling; N];
        let (piece, after) = rest.split_at_checked(N.saturating_mul(4)).unwrap_or((rest, &[]));
        for (word, bytes_of) in words.iter_mut().zip(piece.chunks(4)) {
            *word = bytes_of.iter().fold(filling, |word, &byte| (word << 8).wrapping_add(bytes.widen(byte)));
        }
        mix(&words);
        rest = after;
    }
}

/// MD4 with half of its rounds (RFC 1320 has the functions and constants).
fn half_md4(state: &mut [u32; 4], words: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [u32; 4], [usize; 8]); 3] = [
        (|x, y, z| z ^ (x & (y ^ z)), 0, [3, 7, 11, 19], [0, 1, 2, 3, 4, 5, 6, 7]),
        (|x, y, z| (x & y).wrapping_add((x ^ y) & z), 0x5a82_7999, [3, 5, 9, 13], [1, 3, 5, 7, 0, 2, 4, 6]),
        (|x, y, z| x ^ y ^ z, 0x6ed9_eba1, [3, 9, 11, 15], [3, 7, 2, 6, 1, 5, 0, 4]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, turns, order) in ROUNDS {
        for (at, turn) in order.into_iter().zip(turns.into_iter().cycle()) {
            let word = words.get(at).copied().unwrap_or_default();
            let mixed = a.wrapping_add(mix(b, c, d)).wrapping_add(word).wrapping_add(constant).rotate_left(turn);
            (a, b, c, d) = (d, mixed, b, c);
        }
    }
    for (word, added) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(added);
    }
}

/// The Tiny Encryption Algorithm, 16 rounds, the words of the name as its key.
fn tea(state: &mut [u32; 4], &[key0, key1, key2, key3]: &[u32; 4]) {
    let [first, second, ..] = *state;
    let (mut left, mut right, mut sum) = (first, second, 0_u32);
    let half = |other: u32, sum: u32, low: u32, high: u32| {
        (other << 4).wrapping_add(low) ^ other.wrapping_add(sum) ^ (other >> 5).wrapping_add(high)
    };
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        left = left.wrapping_add(half(right, sum, key0, key1));
        right = right.wrapping_add(half(left, sum, key2, key3));
    }
    for (word, added) in state.iter_mut().zip([left, right]) {
        *word = word.wrapping_add(added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guestfs::testing::run;

    /// What debugfs prints: `Hash of NAME is 0x.. (minor 0x..)`.
    fn told(arguments: &str, name: &str) -> Option<[u32; 2]> {
        let said = run("debugfs", &["-R", &format!("dx_hash {arguments} {name}")])?;
        let number = |after: &str| {
            let digits = said.split(after).nth(1)?.trim_start_matches("0x");
            let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            u32::from_str_radix(&digits[..end], 16).ok()
        };
        Some([number(" is ")?, number("minor ")?])
    }

    #[test]
    fn hashes_are_those_of_debugfs() {
        let seed = "01234567-89ab-cdef-0123-456789abcdef";
        let words = [0x6745_2301, 0xefcd_ab89, 0x6745_2301, 0xefcd_ab89];
        for (version, name_of) in [(0, "legacy"), (1, "half_md4"), (2, "tea")] {
            for length in [1, 3, 4, 15, 16, 17, 31, 32, 33, 64, 100, 255] {
                let name: String = (0..length).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
                for (arguments, seed) in [(String::new(), [0; 4]), (format!("-s {seed}"), words)] {
                    let Some(expected) = told(&format!("-h {name_of} {arguments}"), &name) else { return };
                    assert_eq!(NameHash { version, seed }.of_name(name.as_bytes()), expected, "{name_of} {arguments} {name}");
                }
            }
        }
    }

    #[test]
    fn bytes_above_127_have_a_sign_or_none() {
        for version in 0..3 {
            let of = |version, name: &[u8]| NameHash { version, seed: [0; 4] }.of_name(name);
            assert_ne!(of(version, b"\xe4\xf6\xfc"), of(version + VERSIONS, b"\xe4\xf6\xfc"));
            assert_eq!(of(version, b"plain"), of(version + VERSIONS, b"plain"));
        }
    }
}
