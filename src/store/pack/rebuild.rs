//! A data pack written again under its own id: every slot keeps its address, so that maps and indexes go on meaning the same. Its key is a
//! new one, as that of every attempt to write a pack.

use super::frame;
use super::writer::PackWriter;
use crate::crypt::PackSealer;
use crate::format::pack::PackKind;
use crate::store::{StoreError, Vault};
use crate::units::{BLOCK_BYTES, Fingerprint, PackId};

/// A pack all of whose frames are written. Nothing has its name before [`RebuiltPack::finish`].
pub struct RebuiltPack {
    writer: PackWriter,
    sealer: PackSealer,
    fingerprints: Vec<Fingerprint>,
}

impl RebuiltPack {
    /// Writes `slots` blocks, each as `block` gives it with its fingerprint.
    ///
    /// # Errors
    /// [`StoreError`] of the vault's place; what `block` says.
    pub fn write<E: From<StoreError>>(
        vault: &Vault,
        pack: PackId,
        slots: u32,
        mut block: impl FnMut(u32) -> Result<([u8; BLOCK_BYTES], Fingerprint), E>,
    ) -> Result<Self, E> {
        let sealer = vault.keys().new_pack(pack, PackKind::Data).map_err(StoreError::from)?;
        let mut writer = PackWriter::new(vault, pack, PackKind::Data)?;
        let (mut fingerprints, mut raw) = (Vec::with_capacity(slots as usize), Vec::new());
        for slot in 0..slots {
            let (bytes, fingerprint) = block(slot)?;
            raw.extend_from_slice(&bytes);
            fingerprints.push(fingerprint);
            let blocks = raw.len() / BLOCK_BYTES;
            if blocks == usize::from(vault.header().frame_blocks) || slot + 1 == slots {
                let number = sealer.next_frame().map_err(StoreError::from)?;
                writer.append(&frame::store(&raw, vault.header().compression_level, number)?, blocks as u32)?;
                raw.clear();
            }
        }
        Ok(Self { writer, sealer, fingerprints })
    }

    /// Makes the pack visible and durable; its name must be free. All its slots were born in it.
    ///
    /// # Errors
    /// [`StoreError::Taken`]; [`StoreError`] of the vault's place.
    pub fn finish(self) -> Result<u64, StoreError> {
        Ok(self.writer.finish(self.sealer, self.fingerprints, Vec::new())?.pack.size_bytes)
    }
}
